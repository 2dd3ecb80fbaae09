// Which file segments have their pages in memory, and which of them go first when there is no room.
// Private to segment/.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "segment/budget.h"
#include "segment/chunk.h"

namespace flightbridge::segment {

// One file segment as the pager sees it. A mapped page can be dropped at any time, also under a
// reader: the next touch brings it back from the file.
class Resident {
 public:
  // Says that it is in use; false where its pages have to be brought back first.
  bool Use() {
    used_.store(true, std::memory_order_relaxed);
    return resident_.load(std::memory_order_acquire);
  }
  // How often its pages came back from the file; 0 while they are those that were written.
  uint32_t loads() const { return loads_.load(std::memory_order_acquire); }
  // Held while its pages are brought back: others who need them wait, rather than make room for the
  // same pages once more.
  std::mutex& loading() { return loading_; }

 private:
  friend class Residency;
  std::shared_ptr<Chunk> chunk_;
  int64_t offset_ = 0;
  int64_t length_ = 0;  // under Residency::mutex_, as position_
  std::list<Resident*>::iterator position_;
  std::atomic<bool> resident_{false};
  std::atomic<bool> used_{true};  // since the hand of the clock came by
  std::atomic<uint32_t> loads_{0};
  std::mutex loading_;
};

// Second chance ("clock"): a use costs one store, an eviction looks at few segments. Thread-safe.
class Residency {
 public:
  explicit Residency(Budget* memory) : memory_(memory) {}

  // A segment that was just written, and so counted, or one that only the file has.
  std::shared_ptr<Resident> Track(std::shared_ptr<Chunk> chunk, int64_t offset, int64_t length,
                                  bool resident);
  // Its bytes, already counted, are in memory from now on. False where another thread was first.
  bool Enter(Resident* segment, int64_t bytes);
  // Its tail is no longer part of it; whether its pages are in memory, and so counted.
  bool Shrink(Resident* segment, int64_t length);
  // It is being freed; whether its pages are in memory, and so counted.
  bool Forget(Resident* segment);
  int64_t LengthOf(const Resident* segment) const;

  // Writes back and drops the pages of the segment unused for longest. Blocks on the disk. False
  // where none is left.
  bool EvictOne();

 private:
  Budget* const memory_;
  mutable std::mutex mutex_;
  std::list<Resident*> clock_;  // resident ones; the hand is at the front
};

}  // namespace flightbridge::segment
