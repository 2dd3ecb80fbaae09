#include "deal/stages.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::deal {
namespace {

constexpr int64_t kPage = 4096;

int64_t StageBytes(int64_t buckets, int64_t limit) {
  const auto each = static_cast<uint64_t>(std::clamp(limit / buckets, kPage, 4 * Stages::kBlock));
  return static_cast<int64_t>(std::bit_floor(each));
}

}  // namespace

Stages::Stages(std::shared_ptr<Space> space, std::span<const int64_t> starts, int64_t limit)
    : space_(std::move(space)),
      stage_bytes_(StageBytes(std::ssize(starts) - 1, limit)),
      stages_(starts.size() - 1) {
  for (size_t b = 0; b < stages_.size(); ++b) {
    stages_[b].at = starts[b];
    stages_[b].end = starts[b + 1];
  }
}

int64_t Stages::RoomOf(const Stage& stage) const {
  return std::min(stage.end - stage.at, stage_bytes_ - stage.at % stage_bytes_);
}

arrow::Status Stages::Append(int64_t bucket, std::span<const uint8_t> bytes) {
  std::vector<Full> full;
  {
    // All of it under one lock: what others append must not come between two halves of a row.
    const std::lock_guard lock(stages_[bucket].mutex);
    Stage& stage = stages_[bucket];
    while (!bytes.empty()) {
      const int64_t room = RoomOf(stage);
      if (room == 0) {
        return Error(Code::kInternal, "bucket ", bucket,
                     " of a full shuffle has more bytes than were counted");
      }
      if (stage.bytes == nullptr) stage.bytes = TakeBlock();
      const auto taken = std::min<size_t>(bytes.size(), room - stage.used);
      stage.crc32c =
          segment::CopyCrc32c(stage.crc32c, stage.bytes.get() + stage.used, bytes.data(), taken);
      stage.used += static_cast<int64_t>(taken);
      bytes = bytes.subspan(taken);
      if (stage.used < room) break;
      full.push_back({std::move(stage.bytes), stage.used, stage.at});
      stage.at += std::exchange(stage.used, 0);
    }
  }
  // Others go on with this bucket meanwhile, in another block.
  for (Full& block : full) {
    ARROW_RETURN_NOT_OK(space_->Write(block.bytes.get(), block.size, block.at));
    GiveBlock(std::move(block.bytes));
  }
  return {};
}

arrow::Status Stages::Finish() {
  for (size_t b = 0; b < stages_.size(); ++b) {
    Stage& stage = stages_[b];
    if (stage.used > 0) ARROW_RETURN_NOT_OK(space_->Write(stage.bytes.get(), stage.used, stage.at));
    stage.bytes = nullptr;
    stage.at += std::exchange(stage.used, 0);
    if (stage.at == stage.end) continue;
    return Error(Code::kInternal, "bucket ", b, " of a full shuffle lacks ", stage.end - stage.at,
                 " of the bytes that were counted");
  }
  spare_.clear();
  return {};
}

Stages::Block Stages::TakeBlock() {
  {
    const std::lock_guard lock(spare_mutex_);
    if (!spare_.empty()) {
      Block block = std::move(spare_.back());
      spare_.pop_back();
      return block;
    }
  }
  return std::make_unique_for_overwrite<uint8_t[]>(stage_bytes_);
}

void Stages::GiveBlock(Block block) {
  const std::lock_guard lock(spare_mutex_);
  spare_.push_back(std::move(block));
}

}  // namespace flightbridge::deal
