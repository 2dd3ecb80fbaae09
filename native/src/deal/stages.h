// Where packed rows gather before they are written to a bucket on disk, so that many short appends
// by several threads become few long writes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <arrow/status.h>

#include "deal/space.h"

namespace flightbridge::deal {

// Memory in blocks of one size. All of it goes back to the system at once, which pieces of a heap
// that several threads share would not. Thread-safe.
class Blocks {
 public:
  explicit Blocks(int64_t block_bytes) : block_bytes_(block_bytes) {}
  ~Blocks();
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  int64_t block_bytes() const { return block_bytes_; }
  // Throws std::bad_alloc.
  uint8_t* Take();
  void Give(uint8_t* block);
  // All that there are, taken or not.
  void Free();

 private:
  const int64_t block_bytes_;
  std::mutex mutex_;
  std::vector<uint8_t*> spare_;
  std::vector<void*> maps_;  // of kAtOnce blocks each
};

// One stage for each bucket. A write ends at a multiple of stage_bytes() in the file: whole blocks
// take the system half the time. Append() is thread-safe and blocks on the disk.
//
// A bucket lies where it was said to, or in extents that are taken from the space as they fill: so
// long that reading them is not seeking, so short that the ends that stay empty are little.
class Stages {
 public:
  // The least that is written at once where `limit`, of all stages together, allows for it.
  static constexpr int64_t kBlock = 64 << 10;

  // Makes a space at least that large. RESOURCE_EXHAUSTED where the disk is full.
  using Grow = std::function<arrow::Status(int64_t)>;

  // `starts`: where in the space each bucket begins, and where the last one ends.
  Stages(std::shared_ptr<Space> space, std::span<const int64_t> starts, int64_t limit);
  // Of so many buckets of about `bucket_bytes`.
  Stages(std::shared_ptr<Space> space, int64_t buckets, int64_t bucket_bytes, int64_t limit,
         Grow grow);

  int64_t stage_bytes() const { return blocks_.block_bytes(); }
  // Adds bytes to a bucket, in one piece. RESOURCE_EXHAUSTED where the disk is full.
  arrow::Status Append(int64_t bucket, std::span<const uint8_t> bytes);
  // Behind the last Append(): writes what is left, and gives the memory and the end of the space
  // back.
  arrow::Status Finish();
  // After that: where the bytes of a bucket lie, in the order in which they came, and their
  // checksum.
  const std::vector<Extent>& extents(int64_t bucket) const { return stages_[bucket].extents; }
  uint32_t crc32c(int64_t bucket) const { return stages_[bucket].crc32c; }

 private:
  struct Stage {
    std::mutex mutex;
    uint8_t* bytes = nullptr;
    int64_t used = 0;
    int64_t at = 0;       // in the space, where `bytes` go
    int64_t end = 0;      // of the last extent
    uint32_t crc32c = 0;  // of all that came
    std::vector<Extent> extents;
  };

  struct Full {
    uint8_t* bytes = nullptr;
    int64_t size = 0;
    int64_t at = 0;  // in the space
  };

  // Up to the next multiple of stage_bytes(), or to the end of the extent.
  int64_t RoomOf(const Stage& stage) const;
  arrow::Status TakeExtent(Stage* stage);

  const std::shared_ptr<Space> space_;
  const Grow grow_;           // none: every bucket has its only extent from the beginning
  int64_t extent_bytes_ = 0;  // a multiple of stage_bytes()
  std::mutex growing_;        // of what follows; after a stage's
  int64_t taken_ = 0;         // of the space
  Blocks blocks_;
  std::vector<Stage> stages_;
};

}  // namespace flightbridge::deal
