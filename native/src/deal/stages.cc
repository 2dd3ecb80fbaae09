#include "deal/stages.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/segment.h"

namespace flightbridge::deal {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kAtOnce = 16;  // blocks that are asked of the system
// Of a bucket, about: half of one stays empty in each.
constexpr int64_t kExtents = 16;
constexpr int64_t kLargestExtent = 1 << 20;
// What a space grows by at most, beyond what is needed.
constexpr int64_t kGrowBy = 16 << 20;

int64_t StageBytes(int64_t buckets, int64_t limit) {
  const auto each = static_cast<uint64_t>(std::clamp(limit / buckets, kPage, 4 * Stages::kBlock));
  return static_cast<int64_t>(std::bit_floor(each));
}

}  // namespace

Blocks::~Blocks() { Free(); }

uint8_t* Blocks::Take() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) {
    void* const map = mmap(nullptr, kAtOnce * block_bytes_, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    maps_.push_back(map);
    for (int64_t i = 0; i < kAtOnce; ++i) {
      spare_.push_back(static_cast<uint8_t*>(map) + i * block_bytes_);
    }
  }
  uint8_t* const block = spare_.back();
  spare_.pop_back();
  return block;
}

void Blocks::Give(uint8_t* block) {
  const std::lock_guard lock(mutex_);
  spare_.push_back(block);
}

void Blocks::Free() {
  const std::lock_guard lock(mutex_);
  for (void* map : maps_) munmap(map, kAtOnce * block_bytes_);
  maps_.clear();
  spare_.clear();
}

Stages::Stages(std::shared_ptr<Space> space, std::span<const int64_t> starts, int64_t limit)
    : space_(std::move(space)),
      blocks_(StageBytes(std::ssize(starts) - 1, limit)),
      stages_(starts.size() - 1) {
  for (size_t b = 0; b < stages_.size(); ++b) {
    stages_[b].at = starts[b];
    stages_[b].end = starts[b + 1];
    stages_[b].extents.push_back({starts[b], starts[b + 1] - starts[b]});
  }
}

Stages::Stages(std::shared_ptr<Space> space, int64_t buckets, int64_t bucket_bytes, int64_t limit,
               Grow grow)
    : space_(std::move(space)),
      grow_(std::move(grow)),
      blocks_(StageBytes(buckets, limit)),
      stages_(buckets) {
  extent_bytes_ = segment::RoundUp(
      std::clamp(bucket_bytes / kExtents, stage_bytes(), std::max(stage_bytes(), kLargestExtent)),
      stage_bytes());
}

arrow::Status Stages::TakeExtent(Stage* stage) {
  const std::lock_guard lock(growing_);
  const int64_t end = taken_ + extent_bytes_;
  if (end > space_->bytes()) {
    const int64_t more = std::clamp(end / 16, extent_bytes_, kGrowBy);
    // With some more for those that follow, where there is room for them.
    if (!space_->Resize(end + more).ok()) ARROW_RETURN_NOT_OK(grow_(end));
  }
  stage->at = taken_;
  stage->end = end;
  stage->extents.push_back({taken_, extent_bytes_});
  taken_ = end;
  return {};
}

int64_t Stages::RoomOf(const Stage& stage) const {
  return std::min(stage.end - stage.at, stage_bytes() - stage.at % stage_bytes());
}

arrow::Status Stages::Append(int64_t bucket, std::span<const uint8_t> bytes) {
  std::vector<Full> full;
  {
    // All of it under one lock: what others append must not come between two halves of a row.
    const std::lock_guard lock(stages_[bucket].mutex);
    Stage& stage = stages_[bucket];
    while (!bytes.empty()) {
      if (stage.at == stage.end) {
        if (!grow_) {
          return Error(Code::kInternal, "bucket ", bucket,
                       " of a full shuffle has more bytes than were counted");
        }
        ARROW_RETURN_NOT_OK(TakeExtent(&stage));
      }
      const int64_t room = RoomOf(stage);
      if (stage.bytes == nullptr) stage.bytes = blocks_.Take();
      const auto taken = std::min<size_t>(bytes.size(), room - stage.used);
      stage.crc32c =
          segment::CopyCrc32c(stage.crc32c, stage.bytes + stage.used, bytes.data(), taken);
      stage.used += static_cast<int64_t>(taken);
      bytes = bytes.subspan(taken);
      if (stage.used < room) break;
      full.push_back({std::exchange(stage.bytes, nullptr), stage.used, stage.at});
      stage.at += std::exchange(stage.used, 0);
    }
  }
  // Others go on with this bucket meanwhile, in another block.
  for (const Full& block : full) {
    ARROW_RETURN_NOT_OK(space_->Write(block.bytes, block.size, block.at));
    blocks_.Give(block.bytes);
  }
  return {};
}

arrow::Status Stages::Finish() {
  for (size_t b = 0; b < stages_.size(); ++b) {
    Stage& stage = stages_[b];
    if (stage.used > 0) ARROW_RETURN_NOT_OK(space_->Write(stage.bytes, stage.used, stage.at));
    stage.bytes = nullptr;
    stage.at += std::exchange(stage.used, 0);
    if (stage.at == stage.end) continue;
    if (grow_) {
      stage.extents.back().bytes -= stage.end - stage.at;
      continue;
    }
    return Error(Code::kInternal, "bucket ", b, " of a full shuffle lacks ", stage.end - stage.at,
                 " of the bytes that were counted");
  }
  blocks_.Free();
  return grow_ ? space_->Resize(taken_) : arrow::Status::OK();
}

}  // namespace flightbridge::deal
