// A byte budget of a server: its memory, or its disk. Counts every byte held, in use or pooled.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace flightbridge::segment {

// Thread-safe; never blocks. used + pooled <= limit, except for what was counted by Force().
class Budget {
 public:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  explicit Budget(int64_t limit_bytes) : limit_(limit_bytes) {}

  bool TryReserve(int64_t bytes) {
    int64_t held = held_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - held) return false;
    } while (!held_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed));
    return true;
  }
  // Counts what is there already, or cannot be refused.
  void Force(int64_t bytes) { held_.fetch_add(bytes, std::memory_order_relaxed); }
  void Release(int64_t bytes) { held_.fetch_sub(bytes, std::memory_order_relaxed); }

  // Moves reserved bytes between "in use" and "pooled" (kept warm for the next segment).
  void Pool(int64_t bytes) { pooled_.fetch_add(bytes, std::memory_order_relaxed); }
  void Unpool(int64_t bytes) { pooled_.fetch_sub(bytes, std::memory_order_relaxed); }

  int64_t limit_bytes() const { return limit_; }
  bool unlimited() const { return limit_ == kUnlimited; }
  int64_t room_bytes() const { return limit_ - held_bytes(); }
  // Held by segments in use; pooled bytes are given up as soon as somebody needs them.
  int64_t used_bytes() const {
    const int64_t used = held_bytes() - pooled_bytes();
    return used > 0 ? used : 0;
  }
  int64_t pooled_bytes() const { return pooled_.load(std::memory_order_relaxed); }
  int64_t held_bytes() const { return held_.load(std::memory_order_relaxed); }

 private:
  const int64_t limit_;
  std::atomic<int64_t> held_{0};
  std::atomic<int64_t> pooled_{0};
};

}  // namespace flightbridge::segment
