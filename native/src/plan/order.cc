#include "plan/order.h"

#include <algorithm>
#include <numeric>

#include "plan/full_order.h"

namespace flightbridge::plan {
namespace {

constexpr uint64_t kChunkOrder = 1;
constexpr uint64_t kRowOrder = 2;
constexpr int64_t kMaxChunks = 1 << 22;

bool OneWindow(int64_t window, int64_t shard_rows) { return window >= shard_rows; }

}  // namespace

int64_t ChunkRows(int64_t window, int64_t shard_rows) {
  if (OneWindow(window, shard_rows)) return std::max<int64_t>(shard_rows, 1);
  int64_t rows = std::clamp<int64_t>(window / 16, 256, 8192);
  rows = std::min(rows, window / 8);
  if (rows >= 64) rows -= rows % 64;
  return std::max({rows, int64_t{1}, (shard_rows + kMaxChunks - 1) / kMaxChunks});
}

ShuffledEpoch::ShuffledEpoch(const OrderSpec& spec, Interval shard, int64_t epoch)
    : spec_(spec), shard_(shard), epoch_(epoch), chunk_rows_(ChunkRows(spec.window, shard.rows())) {
  const int64_t num_chunks = (shard.rows() + chunk_rows_ - 1) / chunk_rows_;
  chunks_.resize(num_chunks);
  std::iota(chunks_.begin(), chunks_.end(), 0);
  Random random(spec.seed,
                StreamOf({kChunkOrder, static_cast<uint64_t>(spec.shard),
                          static_cast<uint64_t>(spec.num_shards), static_cast<uint64_t>(epoch)}));
  Shuffle(std::span(chunks_), random);

  const int64_t per_window = OneWindow(spec.window, shard.rows())
                                 ? std::max<int64_t>(num_chunks, 1)
                                 : std::max<int64_t>(1, spec.window / chunk_rows_);
  const int64_t windows = (num_chunks + per_window - 1) / per_window;
  deal_.push_back(0);
  starts_.push_back(0);
  for (int64_t w = 0; w < windows; ++w) {
    deal_.push_back(num_chunks * (w + 1) / windows);
    int64_t rows = 0;
    for (int64_t i = deal_[w]; i < deal_[w + 1]; ++i) rows += Chunk(chunks_[i]).rows();
    starts_.push_back(starts_.back() + rows);
  }
}

Interval ShuffledEpoch::Chunk(int64_t chunk) const {
  const int64_t begin = shard_.begin + chunk * chunk_rows_;
  return {begin, std::min(begin + chunk_rows_, shard_.end)};
}

std::vector<Interval> ShuffledEpoch::WindowIntervals(int64_t w) const {
  std::vector<uint32_t> mine(chunks_.begin() + deal_[w], chunks_.begin() + deal_[w + 1]);
  std::sort(mine.begin(), mine.end());
  std::vector<Interval> out;
  for (const uint32_t chunk : mine) {
    const Interval rows = Chunk(chunk);
    if (!out.empty() && out.back().end == rows.begin) {
      out.back().end = rows.end;
    } else {
      out.push_back(rows);
    }
  }
  return out;
}

Random ShuffledEpoch::WindowRandom(int64_t w) const {
  return {spec_.seed, StreamOf({kRowOrder, static_cast<uint64_t>(spec_.shard),
                                static_cast<uint64_t>(spec_.num_shards),
                                static_cast<uint64_t>(epoch_), static_cast<uint64_t>(w)})};
}

int64_t ShuffledEpoch::WindowOf(int64_t cursor) const {
  return std::upper_bound(starts_.begin(), starts_.end(), cursor) - starts_.begin() - 1;
}

std::vector<int64_t> EpochOrder(const OrderSpec& spec, int64_t feed_rows, int64_t epoch) {
  const auto feed = std::make_shared<const FeedRows>(std::vector<PartitionRows>{{0, feed_rows}});
  const ShardSpec shard{.shard = spec.shard, .num_shards = spec.num_shards};
  return EpochOrder(spec, ShardRows(feed, shard), epoch);
}

std::vector<int64_t> EpochOrder(const OrderSpec& spec, const ShardRows& shard, int64_t epoch) {
  std::vector<int64_t> order;
  order.reserve(shard.rows());
  if (spec.window == kWholeShard) {
    const FullOrder full(spec, std::make_shared<const ShardRows>(shard), epoch);
    for (int64_t cursor = 0; cursor < shard.rows(); ++cursor) order.push_back(full.RowAt(cursor));
    return order;
  }
  const auto append = [&](Interval rows) {
    for (; rows.begin < rows.end; ++rows.begin) {
      order.push_back(shard.GlobalRow(rows.begin % shard.cycle()));
    }
  };
  if (!spec.shuffled()) {
    append({0, shard.rows()});
    return order;
  }
  const ShuffledEpoch shuffled(spec, {0, shard.rows()}, epoch);
  for (int64_t w = 0; w < shuffled.num_windows(); ++w) {
    const size_t first = order.size();
    for (const Interval& rows : shuffled.WindowIntervals(w)) append(rows);
    Random random = shuffled.WindowRandom(w);
    Shuffle(std::span(order).subspan(first), random);
  }
  return order;
}

}  // namespace flightbridge::plan
