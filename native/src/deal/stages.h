// Where packed rows gather before they are written to a bucket on disk, so that many short appends
// by several threads become few long writes.
#pragma once

#include <cstdint>
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
class Stages {
 public:
  // The least that is written at once where `limit`, of all stages together, allows for it.
  static constexpr int64_t kBlock = 64 << 10;

  // `starts`: where in the space each bucket begins, and where the last one ends.
  Stages(std::shared_ptr<Space> space, std::span<const int64_t> starts, int64_t limit);

  int64_t stage_bytes() const { return blocks_.block_bytes(); }
  // Adds bytes to a bucket, in one piece. RESOURCE_EXHAUSTED where the disk is full.
  arrow::Status Append(int64_t bucket, std::span<const uint8_t> bytes);
  // Behind the last Append(): writes what is left, and gives the memory back.
  arrow::Status Finish();
  // After that: of the whole bucket, as it lies on disk.
  uint32_t crc32c(int64_t bucket) const { return stages_[bucket].crc32c; }

 private:
  struct Stage {
    std::mutex mutex;
    uint8_t* bytes = nullptr;
    int64_t used = 0;
    int64_t at = 0;       // in the space, where `bytes` go
    int64_t end = 0;      // of the bucket
    uint32_t crc32c = 0;  // of all that came
  };

  struct Full {
    uint8_t* bytes = nullptr;
    int64_t size = 0;
    int64_t at = 0;  // in the space
  };

  // Up to the next multiple of stage_bytes(), or to the end of the bucket.
  int64_t RoomOf(const Stage& stage) const;

  const std::shared_ptr<Space> space_;
  Blocks blocks_;
  std::vector<Stage> stages_;
};

}  // namespace flightbridge::deal
