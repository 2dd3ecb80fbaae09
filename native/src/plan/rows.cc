#include "plan/rows.h"

#include <algorithm>
#include <utility>

namespace flightbridge::plan {

Interval ShardInterval(int64_t rows, int64_t shard, int64_t num_shards) {
  // 128 bits: shard * rows passes 64 for large feeds.
  const auto edge = [&](int64_t i) {
    return static_cast<int64_t>(static_cast<__int128>(rows) * i / num_shards);
  };
  return {edge(shard), edge(shard + 1)};
}

FeedRows::FeedRows(std::vector<PartitionRows> partitions) : partitions_(std::move(partitions)) {
  std::erase_if(partitions_, [](const PartitionRows& p) { return p.rows <= 0; });
  std::sort(
      partitions_.begin(), partitions_.end(),
      [](const PartitionRows& a, const PartitionRows& b) { return a.partition < b.partition; });
  starts_.reserve(partitions_.size() + 1);
  for (const PartitionRows& p : partitions_) starts_.push_back(starts_.back() + p.rows);
}

size_t FeedRows::IndexOf(int64_t row) const {
  return std::upper_bound(starts_.begin(), starts_.end(), row) - starts_.begin() - 1;
}

void FeedRows::AppendRanges(Interval rows, std::vector<Range>* out) const {
  for (size_t i = IndexOf(rows.begin); rows.begin < rows.end && i < partitions_.size(); ++i) {
    const int64_t end = std::min(rows.end, starts_[i + 1]);
    out->push_back({partitions_[i].partition, rows.begin - starts_[i], end - starts_[i]});
    rows.begin = end;
  }
}

std::vector<FeedRows::RowGroup> FeedRows::GroupRows(std::span<const int64_t> rows) const {
  std::vector<RowGroup> groups;
  for (size_t begin = 0; begin < rows.size();) {
    const size_t i = IndexOf(rows[begin]);
    size_t end = begin + 1;
    while (end < rows.size() && rows[end] >= starts_[i] && rows[end] < starts_[i + 1]) ++end;
    groups.push_back({partitions_[i].partition, starts_[i], rows.subspan(begin, end - begin)});
    begin = end;
  }
  return groups;
}

Range FeedRows::Locate(int64_t row) const {
  const size_t i = IndexOf(row);
  return {partitions_[i].partition, row - starts_[i], row - starts_[i] + 1};
}

}  // namespace flightbridge::plan
