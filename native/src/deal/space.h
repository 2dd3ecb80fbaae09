// Where the rows of a dealt epoch lie: memory, or a file of the data directory without a name,
// which the system removes with the last descriptor, however the server ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/segment.h"

namespace flightbridge::deal {

// Counted in the budgets of the store for as long as it lives. Thread-safe where no two write the
// same bytes.
class Space {
 public:
  // nullptr where the memory limit leaves no room.
  static std::shared_ptr<Space> InMemory(std::shared_ptr<segment::SegmentStore> store,
                                         int64_t bytes);
  // RESOURCE_EXHAUSTED says whether the spill limit or the disk itself is full.
  static arrow::Result<std::shared_ptr<Space>> OnDisk(std::shared_ptr<segment::SegmentStore> store,
                                                      const std::string& data_dir, int64_t bytes);
  ~Space();
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  int64_t bytes() const { return bytes_; }
  bool in_memory() const { return data_ != nullptr; }
  // The bytes themselves; nullptr on disk.
  uint8_t* data() const { return data_; }
  // On disk. RESOURCE_EXHAUSTED where it is full, DATA_LOSS where it cannot be read.
  arrow::Status Write(const uint8_t* from, int64_t bytes, int64_t offset) const;
  arrow::Status Read(uint8_t* to, int64_t bytes, int64_t offset) const;
  // On disk. Says that it will be read soon, without waiting.
  void ReadAhead(int64_t bytes, int64_t offset) const;

 private:
  Space(std::shared_ptr<segment::SegmentStore> store, int64_t bytes)
      : store_(std::move(store)), bytes_(bytes) {}

  const std::shared_ptr<segment::SegmentStore> store_;
  const int64_t bytes_;
  uint8_t* data_ = nullptr;
  int fd_ = -1;
};

}  // namespace flightbridge::deal
