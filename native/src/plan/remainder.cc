#include "plan/remainder.h"

#include <algorithm>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::plan {
namespace {

int64_t RowsOfEpoch(const std::vector<OrderRange>& ranges, int64_t epoch) {
  uint64_t rows = 0;  // a damaged position may have any numbers
  for (const OrderRange& range : ranges) {
    if (range.epoch == epoch) {
      rows += static_cast<uint64_t>(range.end) - static_cast<uint64_t>(range.begin);
    }
  }
  return static_cast<int64_t>(rows);
}

// Takes `rows` off the end of a unit whose rows are handed out as they are fetched.
void CutPlain(Unit* unit, int64_t rows) {
  unit->rows -= rows;
  if (unit->full != nullptr) {
    unit->cursors.end -= rows;
    return;
  }
  while (rows > 0) {
    Interval& last = unit->intervals.back();
    const int64_t cut = std::min(rows, last.rows());
    last.end -= cut;
    rows -= cut;
    if (last.rows() == 0) unit->intervals.pop_back();
  }
}

}  // namespace

int64_t RemainingRows(const proto::Position& position, int64_t epoch) {
  return RowsOfEpoch(position.remaining, epoch);
}

std::vector<OrderRange> CutRanges(const std::vector<OrderRange>& ranges, int64_t epoch,
                                  int64_t skip, int64_t take) {
  std::vector<OrderRange> out;
  for (OrderRange range : ranges) {
    if (range.epoch != epoch) continue;
    const int64_t skipped = std::min(skip, range.end - range.begin);
    skip -= skipped;
    range.begin += skipped;
    range.end = std::min(range.end, range.begin + take);
    if (range.begin == range.end) continue;
    take -= range.end - range.begin;
    out.push_back(range);
  }
  return out;
}

ShardRows ShardOfRange(const OrderRange& range, std::shared_ptr<const FeedRows> feed,
                       ShardSpec like) {
  like.shard = range.shard;
  like.num_shards = range.num_shards;
  return {std::move(feed), like};
}

arrow::Status CheckRanges(const proto::Position& position,
                          const std::shared_ptr<const FeedRows>& feed) {
  const OrderRange* before = nullptr;
  for (const OrderRange& range : position.remaining) {
    const bool fits = range.num_shards >= 1 && range.shard >= 0 && range.shard < range.num_shards &&
                      range.begin >= 0 && range.begin <= range.end && range.end <= feed->rows() &&
                      range.epoch >= 0 && range.epoch < position.plan_until;
    const bool follows = before == nullptr || range.epoch > before->epoch ||
                         (range.epoch == before->epoch && range.num_shards == before->num_shards);
    if (!fits || !follows) {
      return Error(Code::kInvalidArgument, "the position of feed '", position.feed,
                   "' has remaining rows ", range.begin, " to ", range.end, " of shard ",
                   range.shard, " of ", range.num_shards, " in epoch ", range.epoch,
                   ", which no position has: it is damaged; use another");
    }
    before = &range;
  }
  return arrow::Status::OK();
}

RemainderSchedule::RemainderSchedule(const ScheduleSpec& spec, std::shared_ptr<const FeedRows> feed,
                                     const ShardSpec& like, std::vector<OrderRange> ranges,
                                     int64_t until, int64_t epoch, int64_t cursor)
    : spec_(spec),
      feed_(std::move(feed)),
      like_(like),
      ranges_(std::move(ranges)),
      until_(spec.epochs < 0 ? until : std::min(until, spec.epochs)),
      epoch_(epoch),
      before_(cursor) {
  left_ = CutRanges(ranges_, epoch_, cursor, RowsFrom(epoch_, cursor));
  std::reverse(left_.begin(), left_.end());
}

int64_t RemainderSchedule::RowsFrom(int64_t epoch, int64_t cursor) const {
  const int64_t left = RowsOfEpoch(ranges_, epoch) - cursor;
  return spec_.drop_remainder ? left - left % spec_.batch_size : left;
}

bool RemainderSchedule::BeginRange() {
  while (epoch_ < until_ && left_.empty()) {
    ++epoch_;
    before_ = 0;
    left_ = CutRanges(ranges_, epoch_, 0, RowsFrom(epoch_, 0));
    std::reverse(left_.begin(), left_.end());
  }
  if (epoch_ >= until_) return false;
  range_ = left_.back();
  left_.pop_back();
  ScheduleSpec spec = spec_;
  spec.order.shard = range_.shard;
  spec.order.num_shards = range_.num_shards;
  spec.epochs = range_.epoch + 1;
  spec.drop_remainder = false;
  auto shard = std::make_shared<const ShardRows>(ShardOfRange(range_, feed_, like_));
  schedule_.emplace(spec, std::move(shard), range_.epoch, range_.begin);
  range_group_ = group_;
  return true;
}

std::optional<Unit> RemainderSchedule::Next() {
  for (;;) {
    if (!schedule_ && !BeginRange()) return std::nullopt;
    std::optional<Unit> unit = schedule_->Next();
    if (!unit || unit->cursor >= range_.end) {
      before_ += range_.end - range_.begin;
      schedule_.reset();
      continue;
    }
    if (const int64_t over = unit->cursor + unit->take - range_.end; over > 0) {
      unit->take -= over;
      if (!unit->shuffle) CutPlain(&*unit, over);
    }
    unit->cursor += before_ - range_.begin;
    unit->group += range_group_;
    group_ = unit->group + 1;
    return unit;
  }
}

}  // namespace flightbridge::plan
