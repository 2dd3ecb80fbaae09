#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "common/format.h"
#include "flightbridge/error.h"
#include "segment/chunk.h"
#include "segment/residency.h"
#include "segment/segment.h"
#include "segment/segment_files.h"

namespace flightbridge::segment {
namespace {

using Clock = std::chrono::steady_clock;

// How often a waiting allocation asks whether it is to go on. Room that this server frees wakes it
// at once; room that others make on the disk is found by trying.
constexpr std::chrono::milliseconds kWaitStep{100};

int64_t DiskLimit(const SegmentStoreOptions& options) {
  if (options.data_dir.empty()) return 0;
  return options.spill_limit_bytes < 0 ? Budget::kUnlimited : options.spill_limit_bytes;
}

}  // namespace

// Locks: `mutex_` guards the chunks and their free runs, and is never held across I/O that can
// wait; Residency has its own, taken alone; Resident::loading() comes before both.
class SegmentStoreImpl : public SegmentStore {
 public:
  explicit SegmentStoreImpl(SegmentStoreOptions options)
      : options_(std::move(options)),
        memory_(options_.memory_limit_bytes),
        disk_(DiskLimit(options_)),
        residency_(&memory_) {}

  // Finds the files of earlier runs, so that no new one takes the name of an old one.
  arrow::Status OpenDirectory() {
    if (in_memory()) return {};
    files_.emplace(options_.data_dir);
    return files_->Open();
  }

  arrow::Result<std::shared_ptr<Segment>> New(int64_t min_bytes, int64_t want_bytes,
                                              const Patience& patience) override {
    if (forked()) {
      return Error(Code::kFailedPrecondition,
                   "this is a forked child of the server's process: it cannot store data");
    }
    const int64_t min = RoundUp(std::max<int64_t>(min_bytes, 1), PageBytes());
    const int64_t want = std::max(min, RoundUp(want_bytes, PageBytes()));
    if (min > memory_.limit_bytes() || (!in_memory() && min > disk_.limit_bytes())) {
      return NeverFits(min);
    }
    const auto deadline = Clock::now() + patience.limit;
    while (true) {
      uint64_t seen;
      {
        std::lock_guard lock(mutex_);
        seen = frees_;
      }
      auto made = TryNew(min, want);
      if (made.ok() || CodeOf(made.status()) != Code::kResourceExhausted) return made;
      if (GivesUp()) continue;
      const auto now = Clock::now();
      if (now >= deadline) return made;
      if (patience.interrupted) ARROW_RETURN_NOT_OK(patience.interrupted());
      std::unique_lock lock(mutex_);
      room_.wait_until(lock, std::min(deadline, now + kWaitStep),
                       [&] { return stopping_ || frees_ != seen; });
      if (stopping_) {
        return Error(Code::kUnavailable, "the server is stopping, and ", made.status().message());
      }
    }
  }

  void StopWaiting() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
  }

  arrow::Result<std::shared_ptr<Segment>> Reopen(const SegmentRef& ref) override {
    std::lock_guard lock(mutex_);
    auto at = std::find_if(chunks_.begin(), chunks_.end(),
                           [&](const auto& chunk) { return chunk->id() == ref.chunk; });
    if (at == chunks_.end()) {
      ARROW_ASSIGN_OR_RAISE(auto chunk, files_->OpenFile(ref.chunk));
      at = chunks_.insert(chunks_.end(), std::move(chunk));
    }
    const std::shared_ptr<Chunk> chunk = *at;
    const int64_t room = chunk->size() - ref.offset;
    const int64_t capacity = ref.used > room ? 0 : RoundUp(ref.used, PageBytes());
    if (ref.offset < 0 || ref.offset % PageBytes() != 0 || ref.used < 0 || ref.used > room ||
        capacity > room) {
      return Error(Code::kDataLoss, "segment file '", chunk->path(), "' has ", chunk->size(),
                   " bytes and should hold ", ref.used, " at offset ", ref.offset);
    }
    if (capacity > 0 && !chunk->free.TakeRange(ref.offset, capacity)) {
      return Error(Code::kDataLoss, "segment file '", chunk->path(), "' holds two segments at ",
                   ref.offset);
    }
    disk_.Force(capacity);
    auto resident = residency_.Track(chunk, ref.offset, capacity, /*resident=*/false);
    auto segment = std::make_shared<Segment>(shared_from_this(), chunk, ref.offset, capacity,
                                             std::move(resident));
    segment->used_ = ref.used;
    return segment;
  }

  arrow::Status RemoveUnclaimed() override {
    if (in_memory()) return {};
    std::lock_guard lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(const auto ids, files_->Ids());
    for (const uint64_t id : ids) {
      const bool claimed = std::any_of(chunks_.begin(), chunks_.end(),
                                       [&](const auto& chunk) { return chunk->id() == id; });
      if (!claimed) files_->Remove(id);
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
    Shed([] { return false; });
  }

  bool ReserveMemory(int64_t bytes) override {
    if (memory_.TryReserve(bytes)) return true;
    std::lock_guard lock(mutex_);
    Shed([&] { return memory_.room_bytes() >= bytes; });
    return memory_.TryReserve(bytes);
  }

  void ReleaseMemory(int64_t bytes) override {
    memory_.Release(bytes);
    TellWaiting();
  }

  arrow::Status ReserveDisk(int64_t bytes) override {
    if (disk_.TryReserve(bytes)) return {};
    {
      std::lock_guard lock(mutex_);
      Shed([&] { return disk_.room_bytes() >= bytes; });
    }
    return disk_.TryReserve(bytes) ? arrow::Status::OK() : Exhausted(disk_, bytes);
  }

  void ReleaseDisk(int64_t bytes) override {
    disk_.Release(bytes);
    TellWaiting();
  }

  void OnShortage(std::function<bool(bool memory)> give_up) override {
    std::unique_lock lock(shortage_mutex_);
    give_up_ = std::move(give_up);
  }

  const Budget& budget() const override { return memory_; }
  const Budget& disk_budget() const override { return disk_; }

 private:
  struct Room {
    std::shared_ptr<Chunk> chunk;
    Extent extent;
  };

  bool in_memory() const { return options_.data_dir.empty(); }
  // A forked child shares the pages with its parent: it must not give any of them away.
  bool forked() const { return getpid() != pid_; }
  // Kept warm at most: recycled pages of a file are on disk and in the way of its readers, too.
  int64_t most_pooled() const { return memory_.limit_bytes() / (in_memory() ? 2 : 8); }

  arrow::Status NeverFits(int64_t bytes) const {
    const bool memory = bytes > memory_.limit_bytes();
    return Error(Code::kResourceExhausted, "a message of ", FormatBytes(bytes),
                 " can never fit into ", memory ? "--memory-limit " : "--spill-limit ",
                 FormatBytes(memory ? memory_.limit_bytes() : disk_.limit_bytes()),
                 ": send smaller batches, or raise it");
  }

  arrow::Status Exhausted(const Budget& scarce, int64_t bytes) const {
    return Error(Code::kResourceExhausted, in_memory() ? "memory limit of " : "spill limit of ",
                 FormatBytes(scarce.limit_bytes()), " is reached (",
                 FormatBytes(scarce.used_bytes()), " in use, ", FormatBytes(bytes),
                 " more needed): ",
                 in_memory() ? "raise --memory-limit, use --data-dir" : "raise --spill-limit",
                 ", or drop a feed");
  }

  // Whether somebody gave up bytes that do not belong to segments.
  bool GivesUp() {
    std::shared_lock lock(shortage_mutex_);
    return give_up_ && give_up_(in_memory());
  }

  void TellWaiting() {
    {
      std::lock_guard lock(mutex_);
      ++frees_;
    }
    room_.notify_all();
  }

  arrow::Result<std::shared_ptr<Segment>> TryNew(int64_t min, int64_t want) {
    std::optional<Room> room = TakeWarm(min, want);
    if (!room.has_value()) {
      ARROW_ASSIGN_OR_RAISE(const int64_t bytes, Reserve(min, want));
      auto cold = TakeCold(bytes);
      if (!cold.ok()) {
        Unreserve(bytes);
        return cold.status();
      }
      room = cold.MoveValueUnsafe();
      if (auto status = room->chunk->Populate(room->extent.offset, bytes); !status.ok()) {
        std::lock_guard lock(mutex_);
        Unreserve(bytes);
        Drop(room->chunk, room->extent.offset, bytes);
        return status;
      }
    }
    const auto [offset, length, warm] = room->extent;
    auto resident = in_memory() ? nullptr : residency_.Track(room->chunk, offset, length, true);
    return std::make_shared<Segment>(shared_from_this(), std::move(room->chunk), offset, length,
                                     std::move(resident));
  }

  // A warm run of a fair size beats a cold one of the full size.
  std::optional<Room> TakeWarm(int64_t min, int64_t want) {
    std::lock_guard lock(mutex_);
    if (memory_.pooled_bytes() < min) return std::nullopt;
    for (const auto& chunk : chunks_) {
      if (chunk->free.warm_bytes() < min) continue;
      if (const auto taken = chunk->free.Take(std::max(min, want / 4), want, true)) {
        if (!chunk->whole()) {
          chunk->free.Add(*taken);
          continue;
        }
        memory_.Unpool(taken->length);
        if (!in_memory()) disk_.Unpool(taken->length);
        return Room{chunk, *taken};
      }
    }
    return std::nullopt;
  }

  arrow::Result<Room> TakeCold(int64_t bytes) {
    std::lock_guard lock(mutex_);
    for (const auto& chunk : chunks_) {
      const auto taken = chunk->free.Take(bytes, bytes, false);
      if (!taken) continue;
      if (chunk->whole()) return Room{chunk, *taken};
      chunk->free.Add(*taken);
    }
    const int64_t size = std::max(bytes, RoundUp(options_.segment_bytes, PageBytes()));
    auto made = in_memory() ? Chunk::InMemory(next_chunk_++, size) : files_->Create(size);
    ARROW_ASSIGN_OR_RAISE(auto chunk, std::move(made));
    chunks_.push_back(chunk);
    const Extent taken = *chunk->free.Take(bytes, bytes, false);
    return Room{std::move(chunk), taken};
  }

  // Counts from `want` down to `min` bytes, whatever there is room for.
  arrow::Result<int64_t> Reserve(int64_t min, int64_t want) {
    Budget& scarce = in_memory() ? memory_ : disk_;
    const auto try_all = [&]() -> int64_t {
      for (int64_t bytes = want;; bytes = std::max(min, RoundUp(bytes / 2, PageBytes()))) {
        if (scarce.TryReserve(bytes)) return bytes;
        if (bytes == min) return 0;
      }
    };
    int64_t bytes = scarce.TryReserve(want) ? want : 0;
    if (bytes == 0) {
      std::lock_guard lock(mutex_);
      Shed([&] { return scarce.room_bytes() >= want; });
      bytes = try_all();
    }
    if (bytes == 0) return Exhausted(scarce, min);
    if (!in_memory()) MakeRoom(bytes);
    return bytes;
  }

  void Unreserve(int64_t bytes) {
    memory_.Release(bytes);
    if (!in_memory()) disk_.Release(bytes);
  }

  // With a data directory: counts memory for pages about to be touched, letting others go. Blocks
  // on the disk: this is what holds writers back to its speed.
  void MakeRoom(int64_t bytes) {
    while (!memory_.TryReserve(bytes)) {
      if (memory_.pooled_bytes() > 0) {
        std::lock_guard lock(mutex_);
        Shed([&] { return memory_.room_bytes() >= bytes; });
      } else if (!residency_.EvictOne()) {
        memory_.Force(bytes);  // all of it is on its way out, under other threads' hands
        return;
      }
    }
  }

  // Under mutex_: gives up pooled pages until it is enough or none is left.
  template <typename Enough>
  void Shed(Enough&& enough) {
    for (auto at = chunks_.begin(); at != chunks_.end();) {
      const std::shared_ptr<Chunk> chunk = *at;
      while (chunk->free.warm_bytes() > 0) {
        if (enough()) return;
        const auto taken = chunk->free.Take(1, chunk->size(), true);
        memory_.Unpool(taken->length);
        if (!in_memory()) disk_.Unpool(taken->length);
        Unreserve(taken->length);
        chunk->Discard(taken->offset, taken->length);
        chunk->free.Add({taken->offset, taken->length, false});
      }
      if (!chunk->free.all_free()) {
        ++at;
        continue;
      }
      if (!in_memory()) files_->Remove(chunk->id());
      at = chunks_.erase(at);
    }
  }

  void Cut(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length, int64_t keep,
           Resident* resident) override {
    if (forked()) return;
    const bool counted = resident == nullptr || residency_.Shrink(resident, keep);
    GiveBack(chunk, offset + keep, length - keep, counted);
  }

  void Free(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length,
            Resident* resident) override {
    if (forked()) return;
    const bool counted = resident == nullptr || residency_.Forget(resident);
    GiveBack(chunk, offset, length, counted);
  }

  // `counted`: the pages are in memory.
  void GiveBack(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length, bool counted) {
    if (length == 0) return;
    {
      std::lock_guard lock(mutex_);
      if (retired_) return;
      if (counted && memory_.pooled_bytes() + length <= most_pooled()) {
        memory_.Pool(length);
        if (!in_memory()) disk_.Pool(length);
        chunk->free.Add({offset, length, true});
        // A file that holds nothing is not kept for the sake of its warm pages.
        if (!in_memory() && chunk->free.all_free()) Remove(chunk);
      } else {
        if (counted) memory_.Release(length);
        if (!in_memory()) disk_.Release(length);
        Drop(chunk, offset, length);
      }
      ++frees_;
    }
    room_.notify_all();
  }

  // Under mutex_: gives pages that are counted nowhere back to the system.
  void Drop(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length) {
    chunk->Discard(offset, length);
    chunk->free.Add({offset, length, false});
    if (!chunk->free.all_free() || (in_memory() && chunk->free.warm_bytes() > 0)) return;
    Remove(chunk);
  }

  // Under mutex_: a chunk that is all free. `chunk` may be the one in chunks_, and is gone then.
  void Remove(const std::shared_ptr<Chunk>& chunk) {
    const int64_t warm = chunk->free.warm_bytes();
    memory_.Unpool(warm);
    memory_.Release(warm);
    if (!in_memory()) {
      disk_.Unpool(warm);
      disk_.Release(warm);
      files_->Remove(chunk->id());
    }
    std::erase_if(chunks_, [gone = chunk.get()](const auto& each) { return each.get() == gone; });
  }

  arrow::Status Load(Chunk* chunk, int64_t offset, Resident* resident) override {
    const std::lock_guard loading(resident->loading());
    if (resident->Use()) return {};  // another thread was first
    const int64_t length = residency_.LengthOf(resident);
    MakeRoom(length);
    const auto status = chunk->Load(offset, length);
    if (!status.ok() || !residency_.Enter(resident, length)) memory_.Release(length);
    return status;
  }

  const SegmentStoreOptions options_;
  const pid_t pid_ = getpid();
  Budget memory_;
  Budget disk_;
  Residency residency_;
  std::mutex mutex_;
  std::condition_variable room_;  // frees_ or stopping_ changed
  uint64_t frees_ = 0;
  bool stopping_ = false;
  std::optional<SegmentFiles> files_;  // with a data directory
  std::vector<std::shared_ptr<Chunk>> chunks_;
  uint64_t next_chunk_ = 1;  // in memory
  bool retired_ = false;
  std::shared_mutex shortage_mutex_;  // exclusive to change what it guards; before mutex_
  std::function<bool(bool)> give_up_;
};

arrow::Result<std::shared_ptr<SegmentStore>> SegmentStore::Open(
    const SegmentStoreOptions& options) {
  if (options.memory_limit_bytes <= 0) {
    return Error(Code::kInvalidArgument, "memory limit is ", options.memory_limit_bytes,
                 " bytes: --memory-limit must be more than zero");
  }
  if (options.data_dir.empty() && options.spill_limit_bytes > 0) {
    return Error(Code::kInvalidArgument, "--spill-limit is ",
                 FormatBytes(options.spill_limit_bytes),
                 " and there is nowhere to spill to: give a --data-dir too");
  }
  auto store = std::make_shared<SegmentStoreImpl>(options);
  ARROW_RETURN_NOT_OK(store->OpenDirectory());
  return store;
}

}  // namespace flightbridge::segment
