#include "plan/splits.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::plan {
namespace {

// Purposes of random streams; 1 and 2 are those of order.cc.
constexpr uint64_t kSplitOrder = 3;
constexpr uint64_t kSplitRows = 4;

int64_t Parts(int64_t rows, int64_t split_rows) { return (rows - 1) / split_rows + 1; }

}  // namespace

int64_t DefaultSplitRows(int64_t feed_rows, int64_t feed_bytes, int64_t batch_size) {
  constexpr int64_t kBytes = 8 << 20;
  constexpr int64_t kEnough = 256;  // splits of a feed
  const int64_t row_bytes = std::max<int64_t>(1, feed_bytes / std::max<int64_t>(1, feed_rows));
  const int64_t rows = std::min(kBytes / row_bytes, feed_rows / kEnough);
  return std::max<int64_t>(1, (rows + batch_size - 1) / batch_size) * batch_size;
}

int64_t CountSplits(const FeedRows& feed, int64_t split_rows) {
  int64_t splits = 0;
  for (size_t i = 0; i < feed.num_partitions(); ++i)
    splits += Parts(feed.PartitionInterval(i).rows(), split_rows);
  return splits;
}

SplitOrder::SplitOrder(std::shared_ptr<const FeedRows> feed, const SplitSpec& spec, int64_t epoch)
    : feed_(std::move(feed)), spec_(spec), epoch_(epoch) {
  firsts_.reserve(feed_->num_partitions() + 1);
  firsts_.push_back(0);
  for (size_t i = 0; i < feed_->num_partitions(); ++i)
    firsts_.push_back(firsts_.back() + Parts(feed_->PartitionInterval(i).rows(), spec.split_rows));
  if (!spec.shuffled) return;
  order_.resize(size());
  std::iota(order_.begin(), order_.end(), 0);
  Random random(spec.seed, StreamOf({kSplitOrder, static_cast<uint64_t>(epoch)}));
  Shuffle(std::span(order_), random);
}

Interval SplitOrder::Rows(int64_t split) const {
  const int64_t natural = Natural(split);
  const size_t partition =
      std::upper_bound(firsts_.begin(), firsts_.end(), natural) - firsts_.begin() - 1;
  const Interval rows = feed_->PartitionInterval(partition);
  const Interval part = ShardInterval(rows.rows(), natural - firsts_[partition],
                                      firsts_[partition + 1] - firsts_[partition]);
  return {rows.begin + part.begin, rows.begin + part.end};
}

Random SplitOrder::RowRandom(int64_t split) const {
  return {spec_.seed, StreamOf({kSplitRows, static_cast<uint64_t>(epoch_),
                                static_cast<uint64_t>(Natural(split))})};
}

void SplitSet::Insert(int64_t split) {
  auto next = runs_.upper_bound(split);
  if (next != runs_.begin() && std::prev(next)->second > split) return;
  ++size_;
  int64_t end = split + 1;
  if (next != runs_.end() && next->first == end) {
    end = next->second;
    next = runs_.erase(next);
  }
  if (next != runs_.begin() && std::prev(next)->second == split) {
    std::prev(next)->second = end;
  } else {
    runs_.emplace_hint(next, split, end);
  }
}

bool SplitSet::Contains(int64_t split) const {
  const auto next = runs_.upper_bound(split);
  return next != runs_.begin() && std::prev(next)->second > split;
}

void SplitSet::Clear() {
  runs_.clear();
  size_ = 0;
}

std::vector<int64_t> SplitSet::Encode() const {
  std::vector<int64_t> out;
  out.reserve(2 * runs_.size());
  int64_t at = 0;
  for (const auto& [begin, end] : runs_) {
    out.push_back(begin - at);
    out.push_back(end - begin);
    at = end;
  }
  return out;
}

arrow::Result<SplitSet> SplitSet::Decode(const std::vector<int64_t>& runs, int64_t limit) {
  SplitSet set;
  int64_t at = 0;
  for (size_t i = 0; i < runs.size(); i += 2) {
    const int64_t gap = runs[i];
    const int64_t length = i + 1 < runs.size() ? runs[i + 1] : 0;
    if (gap < 0 || length < 1 || (gap == 0 && i > 0) || gap > limit - at ||
        length > limit - at - gap) {
      return Error(Code::kInvalidArgument, "a list of completed splits is damaged at item ", i,
                   " (", gap, " left out, ", length, " long, of ", limit, " splits)");
    }
    set.runs_.emplace_hint(set.runs_.end(), at + gap, at + gap + length);
    set.size_ += length;
    at += gap + length;
  }
  return set;
}

}  // namespace flightbridge::plan
