// What is left of an epoch under other shards: ranges against the whole order, unit by unit.
#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "plan/order.h"
#include "plan/position.h"
#include "plan/remainder.h"

namespace flightbridge::plan {
namespace {

std::shared_ptr<const FeedRows> Feed() {
  return std::make_shared<const FeedRows>(
      std::vector<PartitionRows>{{0, 700}, {1, 0}, {2, 1}, {5, 899}, {9, 400}});
}

ScheduleSpec Spec(int64_t window) {
  return {.order = {.window = window, .seed = 11},
          .epochs = 100,
          .batch_size = 10,
          .unit_rows = 64,
          .units_per_window = 3,
          .min_unit_rows = 50};
}

// The rows of all units, as the reader permutes them; checks what units say of themselves.
std::vector<int64_t> Rows(RemainderSchedule& schedule, int64_t epoch, int64_t cursor) {
  std::vector<int64_t> out;
  std::vector<int64_t> window;
  int64_t group = 0;
  while (auto unit = schedule.Next()) {
    EXPECT_EQ(unit->epoch, epoch);
    EXPECT_EQ(unit->group, group);
    int64_t rows = 0;
    for (const Interval& i : unit->intervals) {
      EXPECT_LT(i.begin, i.end);
      rows += i.rows();
      for (int64_t row = i.begin; row < i.end; ++row) window.push_back(row);
    }
    if (unit->full) {
      const Picks picks = unit->full->Pick(unit->cursors);
      for (const uint32_t place : picks.order) window.push_back(picks.rows[place]);
      rows = unit->cursors.rows();
    }
    EXPECT_EQ(rows, unit->rows);
    if (!unit->group_end) continue;
    EXPECT_EQ(unit->cursor, cursor + static_cast<int64_t>(out.size()));
    if (unit->shuffle) Shuffle(std::span(window), *unit->shuffle);
    EXPECT_LE(unit->skip + unit->take, static_cast<int64_t>(window.size()));
    out.insert(out.end(), window.begin() + unit->skip, window.begin() + unit->skip + unit->take);
    window.clear();
    ++group;
  }
  EXPECT_TRUE(window.empty());
  EXPECT_EQ(schedule.groups(), group);
  return out;
}

class Remainder : public testing::TestWithParam<int64_t> {};

TEST_P(Remainder, RangesAreSlicesOfTheOldOrder) {
  std::mt19937_64 random(7);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (const ShardPolicy policy : {ShardPolicy::kStatic, ShardPolicy::kStaticPartition}) {
    for (int round = 0; round < 60; ++round) {
      const ScheduleSpec spec = Spec(GetParam());
      const ShardSpec like{.policy = policy, .shard = 1, .num_shards = 3};
      const int64_t epoch = draw(0, 5);
      std::vector<OrderRange> ranges;
      std::vector<int64_t> expected;
      for (int64_t shard = 0; shard < 4; ++shard) {
        OrderRange range{.epoch = epoch, .shard = shard, .num_shards = 4};
        const ShardRows rows = ShardOfRange(range, Feed(), like);
        range.begin = draw(0, rows.rows());
        range.end = draw(range.begin, rows.rows());
        ranges.push_back(range);
        OrderSpec order = spec.order;
        order.shard = shard;
        order.num_shards = 4;
        const auto all = EpochOrder(order, rows, epoch);
        expected.insert(expected.end(), all.begin() + range.begin, all.begin() + range.end);
      }
      const int64_t cursor = draw(0, static_cast<int64_t>(expected.size()));
      RemainderSchedule schedule(spec, Feed(), like, ranges, epoch + 1, epoch, cursor);
      expected.erase(expected.begin(), expected.begin() + cursor);
      ASSERT_EQ(Rows(schedule, epoch, cursor), expected) << "round " << round;
    }
  }
}

TEST_P(Remainder, WithoutAShortBatch) {
  ScheduleSpec spec = Spec(GetParam());
  spec.drop_remainder = true;
  const std::vector<OrderRange> ranges = {
      {.epoch = 2, .shard = 0, .num_shards = 2, .begin = 3, .end = 18},
      {.epoch = 2, .shard = 1, .num_shards = 2, .begin = 1, .end = 9}};
  RemainderSchedule schedule(spec, Feed(), {}, ranges, 3, 2, 1);
  EXPECT_EQ(schedule.RowsFrom(2, 1), 20);
  EXPECT_EQ(Rows(schedule, 2, 1).size(), 20U);
}

INSTANTIATE_TEST_SUITE_P(Windows, Remainder, testing::Values(0, -1, 90, 400), [](const auto& info) {
  return info.param < 0 ? std::string("full") : "window" + std::to_string(info.param);
});

TEST(Remainder, SeveralEpochsFollowOneAnother) {
  const std::vector<OrderRange> ranges = {
      {.epoch = 0, .shard = 0, .num_shards = 2, .begin = 900, .end = 1000},
      {.epoch = 2, .shard = 1, .num_shards = 3, .begin = 0, .end = 5}};
  RemainderSchedule schedule(Spec(0), Feed(), {}, ranges, 3, 0, 40);
  std::vector<int64_t> epochs;
  int64_t rows = 0;
  while (const auto unit = schedule.Next()) {
    epochs.push_back(unit->epoch);
    rows += unit->take;
  }
  epochs.erase(std::unique(epochs.begin(), epochs.end()), epochs.end());
  EXPECT_EQ(epochs, (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(rows, 65);
}

TEST(Remainder, OnlyAsManyEpochsAsAreAskedFor) {
  ScheduleSpec spec = Spec(0);
  spec.epochs = 1;
  const std::vector<OrderRange> ranges = {
      {.epoch = 0, .shard = 0, .num_shards = 1, .begin = 0, .end = 5},
      {.epoch = 1, .shard = 0, .num_shards = 1, .begin = 0, .end = 5}};
  RemainderSchedule schedule(spec, Feed(), {}, ranges, 2, 0, 0);
  EXPECT_EQ(Rows(schedule, 0, 0).size(), 5U);
}

TEST(Remainder, DamagedRangesAreRefused) {
  const OrderRange good{.epoch = 1, .shard = 1, .num_shards = 2, .begin = 5, .end = 9};
  const auto check = [](const std::vector<OrderRange>& ranges) {
    proto::Position position;
    position.plan_until = 2;
    position.remaining = ranges;
    return CodeOf(CheckRanges(position, Feed()));
  };
  EXPECT_EQ(check({good}), Code::kOk);
  std::vector<OrderRange> bad(8, good);
  bad[0].shard = 2;
  bad[1].shard = -1;
  bad[2].num_shards = 0;
  bad[3].begin = -1;
  bad[4].begin = 10;
  bad[5].end = 2001;
  bad[6].epoch = 2;
  bad[7].epoch = -1;
  for (const OrderRange& range : bad) EXPECT_EQ(check({range}), Code::kInvalidArgument);
  OrderRange other = good;
  other.num_shards = 3;
  EXPECT_EQ(check({good, other}), Code::kInvalidArgument);
  other.epoch = 0;
  EXPECT_EQ(check({good, other}), Code::kInvalidArgument);
  EXPECT_EQ(check({other, good}), Code::kOk);
}

// Whatever numbers a position has, adding them up is no overflow.
TEST(Remainder, RowsOfADamagedPosition) {
  proto::Position position;
  position.remaining = {{.begin = INT64_MIN, .end = INT64_MAX}, {.begin = 0, .end = INT64_MAX}};
  EXPECT_NE(RemainingRows(position, 0), 1);
}

}  // namespace
}  // namespace flightbridge::plan
