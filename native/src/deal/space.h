// Where the rows of a dealt epoch lie: memory, or a file of the data directory without a name,
// which the system removes with the last descriptor, however the server ends.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/segment.h"

namespace flightbridge::deal {

// A run of bytes in a space.
struct Extent {
  int64_t at = 0;
  int64_t bytes = 0;
};

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

  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  bool in_memory() const { return data_ != nullptr; }
  // The bytes themselves; nullptr on disk.
  uint8_t* data() const { return data_; }
  // On disk. RESOURCE_EXHAUSTED where it is full, DATA_LOSS where it cannot be read.
  arrow::Status Write(const uint8_t* from, int64_t bytes, int64_t offset) const;
  arrow::Status Read(uint8_t* to, int64_t bytes, int64_t offset) const;
  // On disk: makes it so large, or so small; no two at once. RESOURCE_EXHAUSTED as OnDisk().
  arrow::Status Resize(int64_t bytes);
  // On disk. Says that it will be read soon, without waiting.
  void ReadAhead(int64_t bytes, int64_t offset) const;

 private:
  arrow::Status Claim(int64_t begin, int64_t end) const;
  Space(std::shared_ptr<segment::SegmentStore> store, int64_t bytes)
      : store_(std::move(store)), bytes_(bytes) {}

  const std::shared_ptr<segment::SegmentStore> store_;
  std::atomic<int64_t> bytes_;
  std::string data_dir_;
  uint8_t* data_ = nullptr;
  int fd_ = -1;
};

}  // namespace flightbridge::deal
