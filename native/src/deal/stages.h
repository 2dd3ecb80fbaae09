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

// One stage for each bucket. A write ends at a multiple of stage_bytes() in the file: whole blocks
// take the system half the time. Append() is thread-safe and blocks on the disk.
class Stages {
 public:
  // The least that is written at once where `limit`, of all stages together, allows for it.
  static constexpr int64_t kBlock = 64 << 10;

  // `starts`: where in the space each bucket begins, and where the last one ends.
  Stages(std::shared_ptr<Space> space, std::span<const int64_t> starts, int64_t limit);

  int64_t stage_bytes() const { return stage_bytes_; }
  // Adds bytes to a bucket, in one piece. RESOURCE_EXHAUSTED where the disk is full.
  arrow::Status Append(int64_t bucket, std::span<const uint8_t> bytes);
  // Behind the last Append(): writes what is left, and gives the memory back.
  arrow::Status Finish();
  // After that: of the whole bucket, as it lies on disk.
  uint32_t crc32c(int64_t bucket) const { return stages_[bucket].crc32c; }

 private:
  using Block = std::unique_ptr<uint8_t[]>;
  struct Stage {
    std::mutex mutex;
    Block bytes;
    int64_t used = 0;
    int64_t at = 0;       // in the space, where `bytes` go
    int64_t end = 0;      // of the bucket
    uint32_t crc32c = 0;  // of all that came
  };

  struct Full {
    Block bytes;
    int64_t size = 0;
    int64_t at = 0;  // in the space
  };

  // Up to the next multiple of stage_bytes(), or to the end of the bucket.
  int64_t RoomOf(const Stage& stage) const;
  Block TakeBlock();
  void GiveBlock(Block block);

  const std::shared_ptr<Space> space_;
  const int64_t stage_bytes_;
  std::vector<Stage> stages_;
  std::mutex spare_mutex_;  // after any stage's
  std::vector<Block> spare_;
};

}  // namespace flightbridge::deal
