// The segment files of a data directory: their names, their making and their end. Private to
// segment/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/chunk.h"

namespace flightbridge::segment {

// Not thread-safe.
class SegmentFiles {
 public:
  explicit SegmentFiles(const std::string& data_dir)
      : data_dir_(data_dir), directory_(data_dir + "/segments") {}

  // Makes the directory (mode 0700) where it is missing, and learns which files are there.
  arrow::Status Open();
  // A new file; its name outlives a power cut.
  arrow::Result<std::shared_ptr<Chunk>> Create(int64_t size);
  // A file of an earlier run.
  arrow::Result<std::shared_ptr<Chunk>> OpenFile(uint64_t id) const;
  // Every file there is.
  arrow::Result<std::vector<uint64_t>> Ids() const;
  void Remove(uint64_t id) const;

 private:
  std::string PathOf(uint64_t id) const;

  const std::string data_dir_;
  const std::string directory_;
  uint64_t next_ = 1;
};

}  // namespace flightbridge::segment
