// The data directory of one server: made, checked and locked.
#pragma once

#include <memory>
#include <string>

#include <arrow/result.h>

namespace flightbridge::segment {

// Holds the lock file of a data directory until it is destroyed. A forked child's copy holds
// nothing.
class DataDirLock {
 public:
  // Makes the directory (mode 0700) where it is missing. PERMISSION_DENIED or FAILED_PRECONDITION
  // name the directory and the reason, or the process that uses it already.
  static arrow::Result<std::unique_ptr<DataDirLock>> Take(const std::string& data_dir);
  ~DataDirLock();
  DataDirLock(const DataDirLock&) = delete;
  DataDirLock& operator=(const DataDirLock&) = delete;

 private:
  DataDirLock(int fd, int pid) : fd_(fd), pid_(pid) {}

  int fd_;
  int pid_;
};

}  // namespace flightbridge::segment
