// Hands items from one thread to another in order, bounded by bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace flightbridge {

// One pushing and one popping thread; Close() and Drop() from any. Whatever the pushing side wrote
// before Close() or Drop() is visible to who finds it closed.
template <typename T>
class Handoff {
 public:
  explicit Handoff(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Waits while max_bytes or more are queued, so at most one item goes beyond it. False once
  // closed.
  bool Push(T item, int64_t bytes) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return closed_ || bytes_ < max_bytes_; });
    if (closed_) return false;
    bytes_ += bytes;
    items_.emplace_back(std::move(item), bytes);
    lock.unlock();
    filled_.notify_one();
    return true;
  }

  // Waits for an item; nullopt once closed and empty.
  std::optional<T> Pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    auto [item, bytes] = std::move(items_.front());
    items_.pop_front();
    bytes_ -= bytes;
    lock.unlock();
    room_.notify_one();
    return std::move(item);
  }

  // No more pushes; what is queued is still popped.
  void Close() { End(false); }
  // No more pushes, and nothing more to pop.
  void Drop() { End(true); }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  void End(bool discard) {
    std::deque<std::pair<T, int64_t>> discarded;  // freed after the lock
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      if (discard) {
        discarded.swap(items_);
        bytes_ = 0;
      }
    }
    room_.notify_all();
    filled_.notify_all();
  }

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<std::pair<T, int64_t>> items_;
  int64_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace flightbridge
