#include "plan/schedule.h"

#include <algorithm>
#include <utility>

namespace flightbridge::plan {
namespace {

// Cuts `intervals` into units of about equal rows, in order.
std::vector<std::vector<Interval>> Share(const std::vector<Interval>& intervals, int64_t rows,
                                         int64_t shares) {
  std::vector<std::vector<Interval>> out(1);
  const int64_t each = (rows + shares - 1) / shares;
  int64_t room = each;
  for (Interval rest : intervals) {
    while (rest.rows() > 0) {
      if (room == 0) {
        out.emplace_back();
        room = each;
      }
      const int64_t taken = std::min(room, rest.rows());
      out.back().push_back({rest.begin, rest.begin + taken});
      rest.begin += taken;
      room -= taken;
    }
  }
  return out;
}

}  // namespace

Schedule::Schedule(const ScheduleSpec& spec, std::shared_ptr<const ShardRows> shard, int64_t epoch,
                   int64_t cursor)
    : spec_(spec), shard_(std::move(shard)), epoch_(epoch), cursor_(cursor) {}

int64_t Schedule::RowsFrom(int64_t cursor) const {
  const int64_t left = shard_->rows() - cursor;
  return spec_.drop_remainder ? left - left % spec_.batch_size : left;
}

// Makes [cursor_, end_) not empty, going to the next epoch if it has to.
bool Schedule::BeginEpoch() {
  if (begun_ && cursor_ < end_) return true;
  if (begun_) {
    ++epoch_;
    cursor_ = end_ = 0;
  }
  for (;; ++epoch_, cursor_ = end_ = 0) {
    if (spec_.epochs >= 0 && epoch_ >= spec_.epochs) return false;
    end_ = cursor_ + RowsFrom(cursor_);
    begun_ = true;
    if (cursor_ < end_) break;
    if (cursor_ == 0) return false;  // so would every epoch be: without end, this would spin
  }
  if (spec_.order.window == kWholeShard) {
    full_ = std::make_shared<const FullOrder>(spec_.order, shard_, epoch_);
  } else if (spec_.order.shuffled()) {
    shuffled_ = std::make_unique<ShuffledEpoch>(spec_.order, Interval{0, shard_->rows()}, epoch_);
  }
  return true;
}

std::optional<Unit> Schedule::Next() {
  if (queue_.empty()) {
    if (!BeginEpoch()) return std::nullopt;
    if (!spec_.order.shuffled()) return NextPlain();
    if (full_ != nullptr) return NextPicked();
    QueueWindow();
  }
  Unit unit = std::move(queue_.back());
  queue_.pop_back();
  return unit;
}

Unit Schedule::NextPlain() {
  const int64_t begin = cursor_;
  int64_t end = std::min(begin + spec_.unit_rows, end_);
  // Ending where a partition ends spares the server cutting a batch in two.
  if (const int64_t edge = shard_->BoundaryBefore(end); edge > begin + (end - begin) / 2)
    end = edge;
  Unit unit;
  unit.group = group_++;
  unit.epoch = epoch_;
  unit.cursor = cursor_;
  unit.take = unit.rows = end - begin;
  shard_->AppendGlobal({begin, end}, &unit.intervals);
  cursor_ += unit.take;
  return unit;
}

Unit Schedule::NextPicked() {
  const int64_t begin = cursor_;
  const int64_t repeats_at = (begin / shard_->cycle() + 1) * shard_->cycle();
  Unit unit;
  unit.group = group_++;
  unit.epoch = epoch_;
  unit.cursor = begin;
  unit.full = full_;
  unit.cursors = {begin, std::min({begin + spec_.unit_rows, end_, repeats_at})};
  unit.take = unit.rows = unit.cursors.rows();
  cursor_ = unit.cursors.end;
  return unit;
}

void Schedule::QueueWindow() {
  const int64_t w = shuffled_->WindowOf(cursor_);
  const int64_t rows = shuffled_->WindowRows(w);
  const int64_t skip = cursor_ - shuffled_->WindowStart(w);
  const int64_t take = std::min(rows - skip, end_ - cursor_);
  const int64_t shares = std::clamp<int64_t>(rows / spec_.min_unit_rows, 1, spec_.units_per_window);
  for (auto& intervals : Share(shuffled_->WindowIntervals(w), rows, shares)) {
    Unit unit;
    unit.group = group_;
    unit.epoch = epoch_;
    unit.cursor = cursor_;
    unit.take = take;
    unit.skip = skip;
    for (const Interval& i : intervals) unit.rows += i.rows();
    for (const Interval& i : intervals) shard_->AppendGlobal(i, &unit.intervals);
    unit.group_end = false;
    unit.shuffle = shuffled_->WindowRandom(w);
    queue_.push_back(std::move(unit));
  }
  queue_.back().group_end = true;
  std::reverse(queue_.begin(), queue_.end());
  ++group_;
  cursor_ += take;
}

}  // namespace flightbridge::plan
