// Packed rows of varying size in memory, in the pile of their bucket: how large a pile becomes need
// not be known before.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "deal/space.h"

namespace flightbridge::deal {

// A pile is a list of blocks, taken from the space as they fill, so that the rows of a pile lie
// together in runs; a row that is large beside a block has a run of its own. Take() is thread-safe,
// and takes a lock for a new block only.
class Piles {
 public:
  static constexpr int64_t kBlock = 32 << 10;
  // Rows above have a run of their own.
  static constexpr int64_t kLargest = kBlock / 32;

  // What rows of `bytes` in all need at most: the ends of blocks stay empty.
  static int64_t MostBytes(int64_t bytes, int64_t piles) {
    return bytes + bytes / (kBlock / kLargest - 1) + (piles + 1) * kBlock;
  }

  Piles(std::shared_ptr<Space> space, int64_t piles) : space_(std::move(space)), piles_(piles) {}

  // Room for a row, of a multiple of 4 bytes; nullptr where the space is used up.
  uint8_t* Take(int64_t pile, int64_t bytes);
  // Behind the last row.
  void Finish();
  // After that: where the rows of a pile lie.
  const std::vector<Extent>& runs(int64_t pile) const { return piles_[pile].runs; }

 private:
  // Where the next row of the open block goes, and what is left of that, in one word.
  struct Cursor {
    uint64_t at : 40 = 0;  // in multiples of 4 bytes, both
    uint64_t room : 24 = 0;
  };
  struct Pile {
    std::atomic<Cursor> cursor;
    std::mutex mutex;      // of what follows
    int64_t open_at = -1;  // where the open block begins; none: -1
    std::vector<Extent> runs;
  };

  uint8_t* TryTake(Pile* pile, int64_t bytes) const;
  static void Close(Pile* pile, Cursor end);
  int64_t TakeRun(int64_t bytes);

  const std::shared_ptr<Space> space_;
  std::atomic<int64_t> used_{0};  // of the space
  std::vector<Pile> piles_;
};

}  // namespace flightbridge::deal
