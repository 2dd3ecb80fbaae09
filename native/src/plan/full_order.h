// The order of a shuffle over everything (window = kWholeShard).
//
// Under STATIC the rows of the feed are permuted, and shard i of n hands out the i-th part of the
// permutation: in each epoch other rows. Under OFF every reader has a permutation of its own of all
// rows, under STATIC_PARTITION one of the rows of its own partitions. Where a padded shard repeats
// itself it does so in the same order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"
#include "plan/order.h"
#include "plan/permutation.h"
#include "plan/rows.h"
#include "plan/shard.h"

namespace flightbridge::plan {

// Rows in the order in which they are fetched, and how to put them into the order of the epoch.
struct Picks {
  std::vector<int64_t> rows;    // global, ascending, each once
  std::vector<uint32_t> order;  // the k-th to hand out is rows[order[k]]
};

// `rows`: of the feed. `order.begin` and `order.end` do not matter.
FB_EXPORT Permutation PermutationOf(const proto::RowOrder& order, int64_t rows);

// `places` of a permutation as Picks. Fewer than 2^32.
FB_EXPORT Picks PickPlaces(const Permutation& permutation, Interval places);

// Pure: equal arguments give equal orders, for ever. Immutable; memory does not grow with the feed.
class FB_EXPORT FullOrder {
 public:
  FullOrder(const OrderSpec& spec, std::shared_ptr<const ShardRows> shard, int64_t epoch);

  // The global row that `cursor` rows of the epoch precede.
  int64_t RowAt(int64_t cursor) const;
  // The rows at `cursors`, which must not cross a multiple of the shard's cycle() and be fewer than
  // 2^32.
  Picks Pick(Interval cursors) const;
  // The same rows in words that a server understands; nullopt where the order is not one of the
  // whole feed.
  std::optional<proto::RowOrder> PlacesOf(Interval cursors) const;

 private:
  std::shared_ptr<const ShardRows> shard_;
  proto::RowOrder order_;
  bool whole_feed_;  // else the shard's own rows
  Permutation permutation_;
};

}  // namespace flightbridge::plan
