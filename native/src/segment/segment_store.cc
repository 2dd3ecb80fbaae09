#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <mutex>
#include <vector>

#include "flightbridge/error.h"
#include "segment/chunk.h"
#include "segment/journal.h"
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

  // Finds the files of earlier runs, so that no new one takes the name of an old one.
  arrow::Status OpenDirectory() {
    if (in_memory()) return {};
    std::error_code error;
    std::filesystem::create_directory(Directory(), error);
    if (!error) {
      std::filesystem::permissions(Directory(), std::filesystem::perms::owner_all, error);
    }
    if (error) {
      return Error(Code::kPermissionDenied, "cannot use '", Directory(), "': ", error.message(),
                   " (errno ", error.value(), ")");
    }
    ARROW_RETURN_NOT_OK(SyncDirectory(options_.data_dir));
    ARROW_ASSIGN_OR_RAISE(const auto ids, ChunkIds());
    for (const uint64_t id : ids) next_chunk_ = std::max(next_chunk_, id + 1);
    return {};
  }

  arrow::Result<std::shared_ptr<Segment>> New(int64_t min_bytes, int64_t want_bytes) override {
    if (forked()) {
      return Error(Code::kFailedPrecondition,
                   "this is a forked child of the server's process: it cannot store data");
    }
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
        Release(chunk, extent.offset, extent.length);
        return status;
      }
    }
    return std::make_shared<Segment>(shared_from_this(), std::move(chunk), extent.offset,
                                     extent.length);
  }

  arrow::Result<std::shared_ptr<Segment>> Reopen(const SegmentRef& ref) override {
    std::lock_guard lock(mutex_);
    auto at = std::find_if(chunks_.begin(), chunks_.end(),
                           [&](const auto& chunk) { return chunk->id() == ref.chunk; });
    if (at == chunks_.end()) {
      ARROW_ASSIGN_OR_RAISE(auto chunk, Chunk::OpenFile(ref.chunk, PathOf(ref.chunk)));
      at = chunks_.insert(chunks_.end(), std::move(chunk));
    }
    const std::shared_ptr<Chunk> chunk = *at;
    const int64_t capacity = RoundUp(ref.used, PageBytes());
    if (ref.offset < 0 || ref.offset % PageBytes() != 0 || ref.used < 0 ||
        ref.offset > chunk->size() || capacity > chunk->size() - ref.offset) {
      return Error(Code::kDataLoss, "segment file '", chunk->path(), "' has ", chunk->size(),
                   " bytes and should hold ", ref.used, " at offset ", ref.offset);
    }
    if (capacity > 0 && !chunk->free.TakeRange(ref.offset, capacity)) {
      return Error(Code::kDataLoss, "segment file '", chunk->path(), "' holds two segments at ",
                   ref.offset);
    }
    auto segment = std::make_shared<Segment>(shared_from_this(), chunk, ref.offset, capacity);
    segment->used_ = ref.used;
    return segment;
  }

  arrow::Status RemoveUnclaimed() override {
    if (in_memory()) return {};
    std::lock_guard lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(const auto ids, ChunkIds());
    for (const uint64_t id : ids) {
      const bool claimed = std::any_of(chunks_.begin(), chunks_.end(),
                                       [&](const auto& chunk) { return chunk->id() == id; });
      if (!claimed) unlink(PathOf(id).c_str());
    }
    for (const auto& chunk : chunks_) {
      for (const auto& [offset, run] : chunk->free.runs()) chunk->Discard(offset, run.length);
    }
    return {};
  }

  void Retire() override {
    std::lock_guard lock(mutex_);
    retired_ = !in_memory();
  }

  void ReleasePool() override {
    std::lock_guard lock(mutex_);
    Shed(budget_.limit_bytes());
  }

  const Budget& budget() const override { return budget_; }

 private:
  bool in_memory() const { return options_.data_dir.empty(); }
  // A forked child shares the pages with its parent: it must not give any of them away.
  bool forked() const { return getpid() != pid_; }
  std::string Directory() const { return options_.data_dir + "/segments"; }

  std::string PathOf(uint64_t id) const {
    std::string digits = std::to_string(id);
    if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
    return Directory() + "/" + digits + ".seg";
  }

  arrow::Result<std::vector<uint64_t>> ChunkIds() const {
    std::vector<uint64_t> ids;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(Directory(), error)) {
      const std::string name = entry.path().filename().string();
      uint64_t id = 0;
      const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), id);
      if (failed == std::errc() && std::string_view(end) == ".seg") ids.push_back(id);
    }
    if (error) {
      return Error(Code::kInternal, "cannot list '", Directory(), "': ", error.message());
    }
    return ids;
  }

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
    auto made = NewChunk(std::max(bytes, RoundUp(options_.segment_bytes, PageBytes())));
    if (!made.ok()) {
      if (in_memory()) budget_.Release(bytes);
      return made.status();
    }
    *chunk = made.MoveValueUnsafe();
    *extent = *(*chunk)->free.Take(bytes, bytes, false);
    chunks_.push_back(*chunk);
    return {};
  }

  arrow::Result<std::shared_ptr<Chunk>> NewChunk(int64_t size) {
    const uint64_t id = next_chunk_++;
    if (in_memory()) return Chunk::InMemory(id, size);
    ARROW_ASSIGN_OR_RAISE(auto chunk, Chunk::CreateFile(id, PathOf(id), size));
    ARROW_RETURN_NOT_OK(SyncDirectory(Directory()));
    return chunk;
  }

  // Reserves from `want` down to `min` bytes, whatever there is. The disk sets its own limit.
  arrow::Result<int64_t> Reserve(int64_t min, int64_t want) {
    if (!in_memory() || budget_.TryReserve(want)) return want;
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
        budget_.Unpool(taken->length);
        chunk.Discard(taken->offset, taken->length);
        budget_.Release(taken->length);
        chunk.free.Add({taken->offset, taken->length, false});
      }
      at = chunk.free.all_free() ? chunks_.erase(at) : at + 1;
    }
  }

  void Free(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length) override {
    if (forked()) return;
    std::lock_guard lock(mutex_);
    if (retired_) return;
    if (in_memory() && budget_.pooled_bytes() + length <= budget_.limit_bytes() / 2) {
      budget_.Pool(length);
      chunk->free.Add({offset, length, true});
    } else {
      Release(chunk, offset, length);
    }
  }

  // Under mutex_: gives the pages of a segment back to the system.
  void Release(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length) {
    chunk->Discard(offset, length);
    if (in_memory()) budget_.Release(length);
    chunk->free.Add({offset, length, false});
    if (!chunk->free.all_free() || chunk->free.warm_bytes() > 0) return;
    if (!in_memory()) unlink(chunk->path().c_str());
    std::erase(chunks_, chunk);
  }

  const SegmentStoreOptions options_;
  const pid_t pid_ = getpid();
  Budget budget_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Chunk>> chunks_;
  uint64_t next_chunk_ = 1;
  bool retired_ = false;
};

arrow::Result<std::shared_ptr<SegmentStore>> SegmentStore::Open(
    const SegmentStoreOptions& options) {
  if (options.memory_limit_bytes <= 0) {
    return Error(Code::kInvalidArgument, "memory limit is ", options.memory_limit_bytes,
                 " bytes: --memory-limit must be more than zero");
  }
  auto store = std::make_shared<SegmentStoreImpl>(options);
  ARROW_RETURN_NOT_OK(store->OpenDirectory());
  return store;
}

}  // namespace flightbridge::segment
