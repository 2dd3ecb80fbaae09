#include "plan/full_order.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace flightbridge::plan {
namespace {

constexpr uint64_t kFullOrder = 2;

// Which of the feed's orders a reader has: all readers the same, or each its own.
proto::RowOrder OrderFor(const OrderSpec& spec, ShardPolicy policy, int64_t epoch) {
  const bool common = policy != ShardPolicy::kOff && policy != ShardPolicy::kStaticPartition;
  proto::RowOrder order;
  order.seed = spec.seed;
  order.epoch = epoch;
  order.shard = common ? 0 : spec.shard;
  order.num_shards = common ? 1 : spec.num_shards;
  return order;
}

struct Placed {
  int64_t row = 0;
  uint32_t place = 0;
};

// By row, lowest digit first. `limit`: above every row.
void RadixSort(std::vector<Placed>* items, int64_t limit) {
  constexpr int kDigitBits = 11;
  constexpr size_t kDigits = size_t{1} << kDigitBits;
  std::vector<Placed> sorted(items->size());
  const int bits = std::bit_width(static_cast<uint64_t>(limit));
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    std::array<size_t, kDigits> starts{};
    const auto digit = [&](const Placed& item) { return (item.row >> shift) & (kDigits - 1); };
    for (const Placed& item : *items) ++starts[digit(item)];
    size_t start = 0;
    for (size_t& count : starts) start += std::exchange(count, start);
    for (const Placed& item : *items) sorted[starts[digit(item)]++] = item;
    items->swap(sorted);
  }
}

// Of row_at(i) for each i of `of`. `limit`: above every row.
template <typename RowAt>
Picks PicksOf(Interval of, int64_t limit, RowAt&& row_at) {
  std::vector<Placed> placed(of.rows());
  for (int64_t i = 0; i < of.rows(); ++i) {
    placed[i] = {row_at(of.begin + i), static_cast<uint32_t>(i)};
  }
  RadixSort(&placed, limit);
  Picks picks;
  picks.rows.resize(placed.size());
  picks.order.resize(placed.size());
  for (size_t i = 0; i < placed.size(); ++i) {
    picks.rows[i] = placed[i].row;
    picks.order[placed[i].place] = static_cast<uint32_t>(i);
  }
  return picks;
}

}  // namespace

Permutation PermutationOf(const proto::RowOrder& order, int64_t rows) {
  const auto stream = StreamOf({kFullOrder, static_cast<uint64_t>(order.shard),
                                static_cast<uint64_t>(std::max<int64_t>(order.num_shards, 1)),
                                static_cast<uint64_t>(order.epoch), 0});
  return {rows, order.seed, stream};
}

Picks PickPlaces(const Permutation& permutation, Interval places) {
  return PicksOf(places, permutation.size(), [&](int64_t i) { return permutation.At(i); });
}

FullOrder::FullOrder(const OrderSpec& spec, std::shared_ptr<const ShardRows> shard, int64_t epoch)
    : shard_(std::move(shard)),
      order_(OrderFor(spec, shard_->policy(), epoch)),
      whole_feed_(shard_->policy() != ShardPolicy::kStaticPartition),
      permutation_(PermutationOf(order_, whole_feed_ ? shard_->feed_rows() : shard_->cycle())) {}

int64_t FullOrder::RowAt(int64_t cursor) const {
  cursor %= shard_->cycle();
  return whole_feed_ ? permutation_.At(shard_->GlobalRow(cursor))
                     : shard_->GlobalRow(permutation_.At(cursor));
}

Picks FullOrder::Pick(Interval cursors) const {
  return PicksOf(cursors, shard_->feed_rows(), [&](int64_t cursor) { return RowAt(cursor); });
}

std::optional<proto::RowOrder> FullOrder::PlacesOf(Interval cursors) const {
  if (!whole_feed_ || cursors.rows() == 0) return std::nullopt;
  const int64_t first = cursors.begin % shard_->cycle();
  std::vector<Interval> places;
  shard_->AppendGlobal({first, first + cursors.rows()}, &places);
  if (places.size() != 1) return std::nullopt;
  proto::RowOrder order = order_;
  order.begin = places.front().begin;
  order.end = places.front().end;
  return order;
}

}  // namespace flightbridge::plan
