// The messages of a put that the server may still ask for again. No I/O.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "channel/message.h"

namespace flightbridge::client {

// Messages in the order of their sequence numbers. What is acked is kept as long as the whole put
// fits into `replay_bytes`: such a put survives a server that lost everything it was sent.
class PutWindow {
 public:
  PutWindow(int64_t window_bytes, int64_t replay_bytes)
      : window_bytes_(window_bytes), replay_bytes_(replay_bytes) {}

  // The next message to be sent; its sequence number.
  uint64_t Add(channel::Message message) {
    const int64_t bytes = message.body_bytes();
    in_flight_ += bytes;
    held_ += bytes;
    messages_.push_back(std::move(message));
    if (!lossy_ && held_ > replay_bytes_) {
      lossy_ = true;
      DropAcked();
    }
    return first_ + messages_.size() - 1;
  }
  // Everything before `next` is with the server. False for what was never sent.
  bool Ack(uint64_t next) {
    if (next > end()) return false;
    while (acked_ < next) in_flight_ -= At(acked_++).body_bytes();
    if (lossy_) DropAcked();
    return true;
  }
  // The server starts over at `next`. False where that is gone.
  bool Restart(uint64_t next) {
    if (next < first_ || next > end()) return false;
    while (acked_ > next) in_flight_ += At(--acked_).body_bytes();
    return Ack(next);
  }

  bool full() const { return in_flight_ >= window_bytes_; }
  uint64_t acked() const { return acked_; }
  uint64_t first() const { return first_; }
  uint64_t end() const { return first_ + messages_.size(); }
  const channel::Message& At(uint64_t sequence) const { return messages_[sequence - first_]; }

 private:
  void DropAcked() {
    while (first_ < acked_) {
      held_ -= messages_.front().body_bytes();
      messages_.pop_front();
      ++first_;
    }
  }

  const int64_t window_bytes_;
  const int64_t replay_bytes_;
  std::deque<channel::Message> messages_;  // [first_, end)
  uint64_t first_ = 0;
  uint64_t acked_ = 0;
  int64_t in_flight_ = 0;  // bytes of [acked_, end)
  int64_t held_ = 0;       // bytes of [first_, end)
  bool lossy_ = false;
};

}  // namespace flightbridge::client
