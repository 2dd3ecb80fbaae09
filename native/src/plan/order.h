// The order in which a shard hands out its rows in an epoch.
//
// Not shuffled: ascending. Shuffled with a window of W rows over S rows: the shard is cut into
// chunks of C rows, the chunks are permuted, the permuted chunks are dealt into windows of about W
// rows, and the rows inside each window are permuted. So a window mixes rows from all over the
// shard and is still read in pieces of C rows. With W >= S there is one window: a true permutation
// of the shard's rows, which the reader holds all at once. W = -1 is a permutation that nobody has
// to hold; full_order.h has it.
//
//   C = W / 16, at least 256, at most 8192;
//   then at most W / 8 (eight chunks or more in a window), rounded down to a multiple of 64 from 64
//   rows on, at least 1;
//   then at least ceil(S / 2^22), so that the list of chunks stays small.
//   Windows: ceil(chunks / max(1, W / C)), of equal numbers of chunks (to one).
#pragma once

#include <cstdint>
#include <vector>

#include "flightbridge/export.h"
#include "plan/random.h"
#include "plan/rows.h"
#include "plan/shard.h"

namespace flightbridge::plan {

inline constexpr int64_t kWholeShard = -1;
inline constexpr int64_t kMaxWindowRows = 0xFFFFFFFF;

// What the order depends on, besides the feed's rows and the epoch.
struct OrderSpec {
  int64_t shard = 0;
  int64_t num_shards = 1;
  int64_t window = 0;  // rows; 0: not shuffled; kWholeShard
  uint64_t seed = 0;
  bool shuffled() const { return window != 0; }
};

FB_EXPORT int64_t ChunkRows(int64_t window, int64_t shard_rows);

// One epoch shuffled by windows (spec.window > 0). Pure: equal arguments give equal orders, for
// ever. Immutable.
class FB_EXPORT ShuffledEpoch {
 public:
  // `shard` are the shard's own row numbers, or global ones where it is one run of them. Every
  // window must have at most kMaxWindowRows rows.
  ShuffledEpoch(const OrderSpec& spec, Interval shard, int64_t epoch);

  int64_t num_windows() const { return static_cast<int64_t>(starts_.size()) - 1; }
  // Rows of this epoch handed out before window w.
  int64_t WindowStart(int64_t w) const { return starts_[w]; }
  int64_t WindowRows(int64_t w) const { return starts_[w + 1] - starts_[w]; }
  // The rows of window w, ascending, neighbours joined: its rows before they are permuted.
  std::vector<Interval> WindowIntervals(int64_t w) const;
  // Permutes anything that stands for the rows of WindowIntervals(w), in that order.
  Random WindowRandom(int64_t w) const;
  // The window of the row that `cursor` rows precede (0 <= cursor < rows of the shard).
  int64_t WindowOf(int64_t cursor) const;

 private:
  Interval Chunk(int64_t chunk) const;

  OrderSpec spec_;
  Interval shard_;
  int64_t epoch_;
  int64_t chunk_rows_;
  std::vector<uint32_t> chunks_;  // permuted
  std::vector<int64_t> deal_;     // first chunk (in chunks_) of each window, then the total
  std::vector<int64_t> starts_;
};

// Every row of an epoch in order, as global row numbers: for tests and for looking at.
FB_EXPORT std::vector<int64_t> EpochOrder(const OrderSpec& spec, const ShardRows& shard,
                                          int64_t epoch);
// Of one part of a feed under STATIC.
FB_EXPORT std::vector<int64_t> EpochOrder(const OrderSpec& spec, int64_t feed_rows, int64_t epoch);

}  // namespace flightbridge::plan
