#include "batch/slab.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "batch/pinning.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kSmallStep = 64 << 10;

struct Counters {
  std::atomic<int64_t> slabs{0}, bytes{0}, cuda{0}, mlocked{0}, mapped{0}, unpinned{0}, recycled{0};
};

Counters& Count() {
  static Counters counters;
  return counters;
}

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Maps `bytes` at a multiple of `alignment`, giving back what the kernel placed around it.
void* MapAligned(int64_t bytes, int64_t alignment) {
  const int64_t slack = alignment > 4096 ? alignment : 0;
  void* raw =
      mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  if (slack == 0) return raw;
  auto* begin = static_cast<uint8_t*>(raw);
  const auto address = reinterpret_cast<uintptr_t>(raw);
  const int64_t before = (alignment - address % alignment) % alignment;
  if (before > 0) munmap(begin, before);
  if (slack - before > 0) munmap(begin + before + bytes, slack - before);
  return begin + before;
}

}  // namespace

arrow::Result<std::unique_ptr<Slab>> Slab::Map(int64_t bytes) {
  const bool huge = bytes >= kHugePage;
  const int64_t capacity = RoundUp(std::max<int64_t>(bytes, 1), huge ? kHugePage : kSmallStep);
  void* data = MapAligned(capacity, huge ? kHugePage : 4096);
  if (data == nullptr) {
    return Error(Code::kResourceExhausted, "no memory for a batch of ", bytes, " bytes (",
                 std::strerror(errno), "): lower batch_size, or read fewer columns");
  }
  if (huge) madvise(data, capacity, MADV_HUGEPAGE);
  // The first touch of a page costs forty times the copy into it; pay before the first batch.
  for (int64_t at = 0; at < capacity; at += 4096) static_cast<volatile uint8_t*>(data)[at] = 0;
  return std::unique_ptr<Slab>(new Slab(static_cast<uint8_t*>(data), capacity));
}

Slab::Slab(uint8_t* data, int64_t capacity)
    : data_(data), capacity_(capacity), pinning_(Pin(data, capacity)) {
  Counters& count = Count();
  ++count.slabs;
  ++count.mapped;
  count.bytes += capacity_;
  if (pinning_ == Pinning::kCuda) ++count.cuda;
  if (pinning_ == Pinning::kMlock) ++count.mlocked;
  if (pinning_ == Pinning::kNone) ++count.unpinned;
}

Slab::~Slab() {
  Unpin(data_, capacity_, pinning_);
  munmap(data_, capacity_);
  Counters& count = Count();
  --count.slabs;
  count.bytes -= capacity_;
  if (pinning_ == Pinning::kCuda) --count.cuda;
  if (pinning_ == Pinning::kMlock) --count.mlocked;
}

arrow::Result<std::unique_ptr<Slab>> SlabPool::Get(int64_t bytes) {
  int64_t wanted = 0;
  {
    const std::lock_guard lock(mutex_);
    // Room to spare, so that batches of strings of about equal size share slabs.
    if (bytes > wanted_) wanted_ = wanted_ == 0 ? bytes : bytes + bytes / 4;
    wanted = wanted_;
    while (!idle_.empty()) {
      std::unique_ptr<Slab> slab = std::move(idle_.back());
      idle_.pop_back();
      if (slab->capacity() < bytes) continue;
      ++Count().recycled;
      return slab;
    }
  }
  return Slab::Map(wanted);
}

void SlabPool::Put(std::unique_ptr<Slab> slab) {
  const std::lock_guard lock(mutex_);
  if (slab->capacity() >= wanted_ && idle_.size() < max_idle_) idle_.push_back(std::move(slab));
}

SlabStats GetSlabStats() {
  const Counters& count = Count();
  SlabStats stats;
  stats.slabs = count.slabs;
  stats.bytes = count.bytes;
  stats.cuda = count.cuda;
  stats.mlocked = count.mlocked;
  stats.mapped = count.mapped;
  stats.unpinned = count.unpinned;
  stats.recycled = count.recycled;
  return stats;
}

}  // namespace flightbridge::batch
