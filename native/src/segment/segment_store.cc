#include <algorithm>
#include <mutex>
#include <vector>

#include "flightbridge/error.h"
#include "segment/chunk.h"
#include "segment/segment.h"

namespace flightbridge::segment {
namespace {

// A view into a segment that keeps it alive.
class SegmentBuffer : public arrow::Buffer {
 public:
  SegmentBuffer(std::shared_ptr<const Segment> segment, int64_t offset, int64_t length)
      : arrow::Buffer(segment->data() + offset, length), segment_(std::move(segment)) {}

 private:
  std::shared_ptr<const Segment> segment_;
};

}  // namespace

Segment::Segment(std::shared_ptr<SegmentStore> store, std::shared_ptr<Chunk> chunk, int64_t offset,
                 int64_t capacity)
    : store_(std::move(store)),
      chunk_(std::move(chunk)),
      offset_(offset),
      capacity_(capacity),
      data_(chunk_->data() + offset) {}

Segment::~Segment() {
  if (capacity_ > 0) store_->Free(chunk_, offset_, capacity_);
}

SegmentRef Segment::ref() const { return {chunk_->id(), offset_, used_}; }

uint8_t* Segment::Allocate(int64_t bytes) {
  const int64_t offset = RoundUp(used_);
  if (bytes < 0 || offset > capacity_ || bytes > capacity_ - offset) return nullptr;
  used_ = offset + bytes;
  return data_ + offset;
}

std::shared_ptr<arrow::Buffer> Segment::Slice(int64_t offset, int64_t length) {
  return std::make_shared<SegmentBuffer>(shared_from_this(), offset, length);
}

void Segment::Trim() {
  const int64_t keep = RoundUp(used_, PageBytes());
  if (keep >= capacity_) return;
  const int64_t spare = capacity_ - keep;
  capacity_ = keep;
  store_->Free(chunk_, offset_ + keep, spare);
}

arrow::Status Segment::Sync() { return chunk_->Sync(offset_, used_); }

class SegmentStoreImpl : public SegmentStore {
 public:
  explicit SegmentStoreImpl(SegmentStoreOptions options)
      : options_(std::move(options)), budget_(options_.memory_limit_bytes) {}

  arrow::Result<std::shared_ptr<Segment>> New(int64_t min_bytes, int64_t want_bytes) override {
    const int64_t min = RoundUp(std::max<int64_t>(min_bytes, 1), PageBytes());
    const int64_t want = std::max(min, RoundUp(want_bytes, PageBytes()));
    std::shared_ptr<Chunk> chunk;
    Extent extent;
    {
      std::lock_guard lock(mutex_);
      ARROW_RETURN_NOT_OK(Take(min, want, &chunk, &extent));
    }
    if (!extent.warm) {
      if (auto status = chunk->Populate(extent.offset, extent.length); !status.ok()) {
        std::lock_guard lock(mutex_);
        chunk->Discard(extent.offset, extent.length);
        GiveBack(chunk, {extent.offset, extent.length, false});
        budget_.Release(extent.length);
        return status;
      }
    }
    return std::make_shared<Segment>(shared_from_this(), std::move(chunk), extent.offset,
                                     extent.length);
  }

  arrow::Result<std::shared_ptr<Segment>> Reopen(const SegmentRef& ref) override {
    return Error(Code::kInternal, "segment ", ref.chunk, " is not in a data directory");
  }

  arrow::Status RemoveUnclaimed() override { return {}; }

  void ReleasePool() override {
    std::lock_guard lock(mutex_);
    Shed(budget_.limit_bytes());
  }

  const Budget& budget() const override { return budget_; }

 private:
  // Under mutex_: finds room, counts it, takes it.
  arrow::Status Take(int64_t min, int64_t want, std::shared_ptr<Chunk>* chunk, Extent* extent) {
    // A warm run of a fair size beats a cold one of the full size.
    if (budget_.pooled_bytes() >= min) {
      for (const auto& candidate : chunks_) {
        if (candidate->free.warm_bytes() < min) continue;
        if (auto taken = candidate->free.Take(std::max(min, want / 4), want, true)) {
          budget_.Unpool(taken->length);
          *chunk = candidate;
          *extent = *taken;
          return {};
        }
      }
    }
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, Reserve(min, want));
    for (const auto& candidate : chunks_) {
      if (auto taken = candidate->free.Take(bytes, bytes, false)) {
        *chunk = candidate;
        *extent = *taken;
        return {};
      }
    }
    auto made = Chunk::InMemory(next_chunk_++, std::max(bytes, options_.segment_bytes));
    if (!made.ok()) {
      budget_.Release(bytes);
      return made.status();
    }
    *chunk = made.MoveValueUnsafe();
    *extent = *(*chunk)->free.Take(bytes, bytes, false);
    chunks_.push_back(*chunk);
    return {};
  }

  // Reserves from `want` down to `min` bytes, whatever there is.
  arrow::Result<int64_t> Reserve(int64_t min, int64_t want) {
    if (budget_.TryReserve(want)) return want;
    Shed(want);
    for (int64_t bytes = want;; bytes = std::max(min, RoundUp(bytes / 2, PageBytes()))) {
      if (budget_.TryReserve(bytes)) return bytes;
      if (bytes == min) break;
    }
    return Error(Code::kResourceExhausted, "memory limit of ", budget_.limit_bytes(),
                 " bytes is reached (", budget_.used_bytes(), " bytes in use, ", min,
                 " more needed)");
  }

  // Under mutex_: gives up pooled pages until `bytes` could be reserved or none is left.
  void Shed(int64_t bytes) {
    for (auto at = chunks_.begin(); at != chunks_.end();) {
      Chunk& chunk = **at;
      while (chunk.free.warm_bytes() > 0) {
        if (budget_.limit_bytes() - budget_.held_bytes() >= bytes) return;
        const auto taken = chunk.free.Take(1, chunk.size(), true);
        chunk.Discard(taken->offset, taken->length);
        chunk.free.Add({taken->offset, taken->length, false});
        budget_.Unpool(taken->length);
        budget_.Release(taken->length);
      }
      at = chunk.free.all_free() ? chunks_.erase(at) : at + 1;
    }
  }

  void Free(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length) override {
    std::lock_guard lock(mutex_);
    const bool keep = budget_.pooled_bytes() + length <= budget_.limit_bytes() / 2;
    if (keep) {
      budget_.Pool(length);
    } else {
      chunk->Discard(offset, length);
      budget_.Release(length);
    }
    GiveBack(chunk, {offset, length, keep});
  }

  void GiveBack(const std::shared_ptr<Chunk>& chunk, const Extent& extent) {
    chunk->free.Add(extent);
    if (chunk->free.all_free() && chunk->free.warm_bytes() == 0) std::erase(chunks_, chunk);
  }

  const SegmentStoreOptions options_;
  Budget budget_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  uint64_t next_chunk_ = 1;
};

arrow::Result<std::shared_ptr<SegmentStore>> SegmentStore::Open(
    const SegmentStoreOptions& options) {
  if (options.memory_limit_bytes <= 0) {
    return Error(Code::kInvalidArgument, "memory limit is ", options.memory_limit_bytes,
                 " bytes: --memory-limit must be more than zero");
  }
  return std::make_shared<SegmentStoreImpl>(options);
}

}  // namespace flightbridge::segment
