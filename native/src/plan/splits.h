// Splits: the pieces of a feed that readers lease under DYNAMIC.
//
// A partition of R rows is cut into ceil(R / split_rows) parts, equal to one row; no split crosses
// partitions. In an epoch they are handed out in one order for all readers: ascending, or where
// shuffled a permutation that (seed, epoch) decides. A split's number is its place in that order.
// Rows inside a split are in the feed's order, or where shuffled permuted: the same whoever has it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <arrow/result.h>

#include "flightbridge/export.h"
#include "plan/random.h"
#include "plan/rows.h"

namespace flightbridge::plan {

struct SplitSpec {
  int64_t split_rows = 0;  // at most, of a split; at least 1
  bool shuffled = false;
  uint64_t seed = 0;
  bool operator==(const SplitSpec&) const = default;
};

// For readers that say nothing: about 8 MiB, at least a batch, in whole batches, and not so few
// splits that readers wait for each other at the end of an epoch.
FB_EXPORT int64_t DefaultSplitRows(int64_t feed_rows, int64_t feed_bytes, int64_t batch_size);

FB_EXPORT int64_t CountSplits(const FeedRows& feed, int64_t split_rows);

// Immutable. At most 2^32 - 1 splits.
class FB_EXPORT SplitOrder {
 public:
  SplitOrder(std::shared_ptr<const FeedRows> feed, const SplitSpec& spec, int64_t epoch);

  int64_t size() const { return firsts_.back(); }
  // Global rows of split `split`, 0 <= split < size(): all of one partition.
  Interval Rows(int64_t split) const;
  // Permutes the rows of Rows(split). Where shuffled only.
  Random RowRandom(int64_t split) const;

 private:
  int64_t Natural(int64_t split) const { return order_.empty() ? split : order_[split]; }

  std::shared_ptr<const FeedRows> feed_;
  SplitSpec spec_;
  int64_t epoch_;
  std::vector<int64_t> firsts_;  // number, unshuffled, of each partition's first split; the total
  std::vector<uint32_t> order_;  // empty: unshuffled
};

// Split numbers, kept as runs: readers complete neighbours.
class FB_EXPORT SplitSet {
 public:
  void Insert(int64_t split);
  bool Contains(int64_t split) const;
  int64_t size() const { return size_; }
  void Clear();
  // Ascending runs as (numbers left out since the one before, length), one after the other.
  std::vector<int64_t> Encode() const;
  // INVALID_ARGUMENT unless these are such runs below `limit`.
  static arrow::Result<SplitSet> Decode(const std::vector<int64_t>& runs, int64_t limit);
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (const auto& [begin, end] : runs_) {
      for (int64_t split = begin; split < end; ++split) visit(split);
    }
  }

 private:
  std::map<int64_t, int64_t> runs_;  // begin to end; never touching
  int64_t size_ = 0;
};

}  // namespace flightbridge::plan
