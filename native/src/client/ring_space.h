// Which part of a ring is whose. Pure bookkeeping.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "segment/segment.h"

namespace flightbridge::client {

// Runs are taken and given back in the order of their sequence numbers.
class RingSpace {
 public:
  explicit RingSpace(int64_t bytes) : bytes_(bytes) {}

  // Where `bytes` bytes fit in one piece; nullopt while others are in the way.
  std::optional<int64_t> Allocate(uint64_t sequence, int64_t bytes) {
    const int64_t size = segment::RoundUp(bytes);
    int64_t place = 0;
    if (!runs_.empty()) {
      const int64_t begin = runs_.front().begin;
      const int64_t end = runs_.back().end;
      const bool wrapped = end <= begin;
      place = end;
      if (wrapped ? size > begin - end : size > bytes_ - end) {
        // The rest at the end is left alone, and the run begins anew.
        if (wrapped || size > begin) return std::nullopt;
        place = 0;
      }
    }
    if (size > bytes_) return std::nullopt;
    runs_.push_back({sequence, place, place + size});
    return place;
  }
  // The runs before sequence number `next` are free.
  void Free(uint64_t next) {
    while (!runs_.empty() && runs_.front().sequence < next) runs_.pop_front();
  }

 private:
  struct Run {
    uint64_t sequence;
    int64_t begin;
    int64_t end;
  };
  int64_t bytes_;
  std::deque<Run> runs_;  // the oldest first
};

}  // namespace flightbridge::client
