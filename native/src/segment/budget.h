// The byte budget of a server: one number that counts every byte held in memory segments.
#pragma once

#include <atomic>
#include <cstdint>

namespace flightbridge::segment {

// Thread-safe; never blocks.
class Budget {
 public:
  explicit Budget(int64_t limit_bytes) : limit_(limit_bytes) {}

  bool TryReserve(int64_t bytes) {
    int64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (used + bytes > limit_) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void Release(int64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  int64_t limit_bytes() const { return limit_; }
  int64_t used_bytes() const { return used_.load(std::memory_order_relaxed); }

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
};

}  // namespace flightbridge::segment
