#include "plan/full_order.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace flightbridge::plan {
namespace {

constexpr uint64_t kFullOrder = 2;

uint64_t StreamFor(const OrderSpec& spec, ShardPolicy policy, int64_t epoch) {
  const bool common = policy != ShardPolicy::kOff && policy != ShardPolicy::kStaticPartition;
  const auto shard = static_cast<uint64_t>(common ? 0 : spec.shard);
  const auto num_shards = static_cast<uint64_t>(common ? 1 : spec.num_shards);
  return StreamOf({kFullOrder, shard, num_shards, static_cast<uint64_t>(epoch), 0});
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

}  // namespace

FullOrder::FullOrder(const OrderSpec& spec, std::shared_ptr<const ShardRows> shard, int64_t epoch)
    : shard_(std::move(shard)),
      whole_feed_(shard_->policy() != ShardPolicy::kStaticPartition),
      permutation_(whole_feed_ ? shard_->feed_rows() : shard_->cycle(), spec.seed,
                   StreamFor(spec, shard_->policy(), epoch)) {}

int64_t FullOrder::RowAt(int64_t cursor) const {
  cursor %= shard_->cycle();
  return whole_feed_ ? permutation_.At(shard_->GlobalRow(cursor))
                     : shard_->GlobalRow(permutation_.At(cursor));
}

Picks FullOrder::Pick(Interval cursors) const {
  std::vector<Placed> placed(cursors.rows());
  for (int64_t i = 0; i < cursors.rows(); ++i) {
    placed[i] = {RowAt(cursors.begin + i), static_cast<uint32_t>(i)};
  }
  RadixSort(&placed, shard_->feed_rows());
  Picks picks;
  picks.rows.resize(placed.size());
  picks.order.resize(placed.size());
  for (size_t i = 0; i < placed.size(); ++i) {
    picks.rows[i] = placed[i].row;
    picks.order[placed[i].place] = static_cast<uint32_t>(i);
  }
  return picks;
}

}  // namespace flightbridge::plan
