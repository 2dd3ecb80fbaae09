// Shard i of n: which rows of a feed one reader hands out in an epoch.
//
//   OFF               every reader has all rows
//   STATIC            rows [floor(i * N / n), floor((i + 1) * N / n)) of N
//   STATIC_PARTITION  whole partitions: the largest first, each to the shard with the fewest rows
//                     so far (Graham's longest-processing-time rule; of equals the lowest number)
//
// Shards that differ in size end at different times. JOIN leaves it so; PAD gives every shard as
// many rows as the largest has, by repeating its own first rows (an empty shard: the feed's);
// DROP gives every shard as many as the smallest has. Under DYNAMIC no reader has a shard.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "plan/rows.h"

namespace flightbridge::plan {

using proto::ShardPolicy;
using proto::UnevenShards;

struct ShardSpec {
  ShardPolicy policy = ShardPolicy::kStatic;
  UnevenShards uneven = UnevenShards::kJoin;
  int64_t shard = 0;
  int64_t num_shards = 1;
};

// "static_partition": as users write them. UNSPECIFIED is the default's name.
FB_EXPORT const char* NameOf(ShardPolicy policy);
FB_EXPORT const char* NameOf(UnevenShards uneven);

// The shard of each non-empty partition, in ascending order of partitions.
FB_EXPORT std::vector<int64_t> AssignPartitions(const FeedRows& feed, int64_t num_shards);

// The rows of one shard, numbered from 0 in the order of the feed; repeated ones come last.
// Immutable.
class FB_EXPORT ShardRows {
 public:
  // DYNAMIC is not for here.
  ShardRows(std::shared_ptr<const FeedRows> feed, const ShardSpec& spec);

  // To hand out in an epoch.
  int64_t rows() const { return rows_; }
  // Of the feed: those that are the shard's own.
  int64_t own_rows() const { return own_rows_; }
  int64_t padded_rows() const { return rows_ > own_rows_ ? rows_ - own_rows_ : 0; }
  int64_t dropped_rows() const { return rows_ < own_rows_ ? own_rows_ - rows_ : 0; }

  // Of the feed.
  int64_t feed_rows() const { return feed_->rows(); }
  // Row r is row r % cycle() again. 0 where there are no rows.
  int64_t cycle() const { return cycle_; }
  ShardPolicy policy() const { return policy_; }
  // 0 <= row < cycle().
  int64_t GlobalRow(int64_t row) const {
    const size_t i = pieces_.size() == 1 ? 0 : PieceOf(row);
    return pieces_[i].begin + (row - starts_[i]);
  }
  // The global rows of the shard's rows `rows`, in that order.
  void AppendGlobal(Interval rows, std::vector<Interval>* out) const;
  // The last row <= `row` at which a partition starts or the shard ends. row <= rows().
  int64_t BoundaryBefore(int64_t row) const;

 private:
  size_t PieceOf(int64_t row) const;

  std::shared_ptr<const FeedRows> feed_;
  ShardPolicy policy_;
  int64_t own_rows_ = 0;
  int64_t rows_ = 0;
  int64_t cycle_ = 0;             // rows of the pieces: row r is row r % cycle_ of them
  std::vector<Interval> pieces_;  // global, ascending, none empty
  std::vector<int64_t> starts_;   // first row of each piece
};

}  // namespace flightbridge::plan
