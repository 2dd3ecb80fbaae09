#include "plan/shard.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <utility>

namespace flightbridge::plan {
namespace {

// Shard sizes, largest and smallest, and the pieces of shard `spec.shard`.
struct Shares {
  std::vector<Interval> pieces;
  int64_t most = 0;
  int64_t least = 0;
};

Shares ShareRows(const FeedRows& feed, const ShardSpec& spec) {
  const int64_t n = spec.num_shards;
  return {.pieces = {ShardInterval(feed.rows(), spec.shard, n)},
          .most = feed.rows() / n + (feed.rows() % n != 0 ? 1 : 0),
          .least = feed.rows() / n};
}

Shares SharePartitions(const FeedRows& feed, const ShardSpec& spec) {
  const std::vector<int64_t> owners = AssignPartitions(feed, spec.num_shards);
  Shares shares;
  std::vector<int64_t> sizes(spec.num_shards);
  for (size_t i = 0; i < owners.size(); ++i) {
    const Interval rows = feed.PartitionInterval(i);
    sizes[owners[i]] += rows.rows();
    if (owners[i] != spec.shard) continue;
    if (!shares.pieces.empty() && shares.pieces.back().end == rows.begin) {
      shares.pieces.back().end = rows.end;
    } else {
      shares.pieces.push_back(rows);
    }
  }
  shares.most = *std::max_element(sizes.begin(), sizes.end());
  shares.least = *std::min_element(sizes.begin(), sizes.end());
  return shares;
}

Shares SharesOf(const FeedRows& feed, const ShardSpec& spec) {
  switch (spec.policy) {
    case ShardPolicy::kOff: return {{{0, feed.rows()}}, feed.rows(), feed.rows()};
    case ShardPolicy::kStaticPartition: return SharePartitions(feed, spec);
    default: return ShareRows(feed, spec);
  }
}

}  // namespace

const char* NameOf(ShardPolicy policy) {
  switch (policy) {
    case ShardPolicy::kOff: return "off";
    case ShardPolicy::kStaticPartition: return "static_partition";
    case ShardPolicy::kDynamic: return "dynamic";
    default: return "static";
  }
}

const char* NameOf(UnevenShards uneven) {
  switch (uneven) {
    case UnevenShards::kPad: return "pad";
    case UnevenShards::kDrop: return "drop";
    default: return "join";
  }
}

std::vector<int64_t> AssignPartitions(const FeedRows& feed, int64_t num_shards) {
  std::vector<size_t> order(feed.num_partitions());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return feed.PartitionInterval(a).rows() > feed.PartitionInterval(b).rows();
  });
  using Load = std::pair<int64_t, int64_t>;  // rows so far, shard
  std::vector<Load> none;
  none.reserve(num_shards);
  for (int64_t shard = 0; shard < num_shards; ++shard) none.emplace_back(0, shard);
  std::priority_queue<Load, std::vector<Load>, std::greater<>> least({}, std::move(none));
  std::vector<int64_t> owners(order.size());
  for (const size_t partition : order) {
    const auto [rows, shard] = least.top();
    least.pop();
    owners[partition] = shard;
    least.emplace(rows + feed.PartitionInterval(partition).rows(), shard);
  }
  return owners;
}

ShardRows::ShardRows(std::shared_ptr<const FeedRows> feed, const ShardSpec& spec)
    : feed_(std::move(feed)), policy_(spec.policy) {
  Shares shares = SharesOf(*feed_, spec);
  pieces_ = std::move(shares.pieces);
  std::erase_if(pieces_, [](const Interval& piece) { return piece.rows() == 0; });
  for (const Interval& piece : pieces_) own_rows_ += piece.rows();
  rows_ = own_rows_;
  if (spec.uneven == UnevenShards::kPad) rows_ = shares.most;
  if (spec.uneven == UnevenShards::kDrop) rows_ = shares.least;
  if (pieces_.empty() && rows_ > 0) pieces_ = {{0, feed_->rows()}};  // nothing of its own to repeat
  for (const Interval& piece : pieces_) {
    starts_.push_back(cycle_);
    cycle_ += piece.rows();
  }
}

size_t ShardRows::PieceOf(int64_t row) const {
  return std::upper_bound(starts_.begin(), starts_.end(), row) - starts_.begin() - 1;
}

void ShardRows::AppendGlobal(Interval rows, std::vector<Interval>* out) const {
  while (rows.begin < rows.end) {
    const int64_t row = rows.begin % cycle_;
    for (size_t i = PieceOf(row); i < pieces_.size() && rows.begin < rows.end; ++i) {
      const int64_t begin = pieces_[i].begin + std::max<int64_t>(0, row - starts_[i]);
      const int64_t end = std::min(pieces_[i].end, begin + rows.rows());
      out->push_back({begin, end});
      rows.begin += end - begin;
    }
  }
}

int64_t ShardRows::BoundaryBefore(int64_t row) const {
  if (cycle_ == 0 || row % cycle_ == 0) return row;
  const int64_t in_cycle = row % cycle_;
  const size_t i = PieceOf(in_cycle);
  const int64_t global = pieces_[i].begin + (in_cycle - starts_[i]);
  const int64_t back = global - std::max(pieces_[i].begin, feed_->BoundaryBefore(global));
  return row - back;
}

}  // namespace flightbridge::plan
