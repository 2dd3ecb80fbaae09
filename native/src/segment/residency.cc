#include "segment/residency.h"

#include <utility>

namespace flightbridge::segment {

std::shared_ptr<Resident> Residency::Track(std::shared_ptr<Chunk> chunk, int64_t offset,
                                           int64_t length, bool resident) {
  auto segment = std::make_shared<Resident>();
  segment->chunk_ = std::move(chunk);
  segment->offset_ = offset;
  segment->length_ = length;
  if (!resident) {
    segment->loads_.store(1, std::memory_order_release);
    return segment;
  }
  std::lock_guard lock(mutex_);
  segment->position_ = clock_.insert(clock_.end(), segment.get());
  segment->resident_.store(true, std::memory_order_release);
  return segment;
}

bool Residency::Enter(Resident* segment, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (segment->resident_.load(std::memory_order_relaxed) || segment->length_ != bytes) return false;
  segment->position_ = clock_.insert(clock_.end(), segment);
  segment->loads_.fetch_add(1, std::memory_order_release);
  segment->resident_.store(true, std::memory_order_release);
  return true;
}

bool Residency::Shrink(Resident* segment, int64_t length) {
  std::lock_guard lock(mutex_);
  segment->length_ = length;
  return segment->resident_.load(std::memory_order_relaxed);
}

bool Residency::Forget(Resident* segment) {
  std::lock_guard lock(mutex_);
  if (!segment->resident_.exchange(false, std::memory_order_relaxed)) return false;
  clock_.erase(segment->position_);
  return true;
}

int64_t Residency::LengthOf(const Resident* segment) const {
  std::lock_guard lock(mutex_);
  return segment->length_;
}

bool Residency::EvictOne() {
  std::shared_ptr<Chunk> chunk;
  int64_t offset = 0;
  int64_t length = 0;
  {
    std::lock_guard lock(mutex_);
    // In the second round there is no further chance.
    const size_t round = clock_.size();
    for (size_t left = 2 * round; left > 0 && chunk == nullptr; --left) {
      Resident* const segment = clock_.front();
      if (left > round && segment->used_.exchange(false, std::memory_order_relaxed)) {
        clock_.splice(clock_.end(), clock_, clock_.begin());
        continue;
      }
      clock_.pop_front();
      segment->resident_.store(false, std::memory_order_release);
      chunk = segment->chunk_;
      offset = segment->offset_;
      length = segment->length_;
    }
  }
  if (chunk == nullptr) return false;
  chunk->Evict(offset, length);
  memory_->Release(length);
  return true;
}

}  // namespace flightbridge::segment
