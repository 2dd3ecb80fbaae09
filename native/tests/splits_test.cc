// Splits and sets of them: pure functions, so properties over many random cases.
#include "plan/splits.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "flightbridge/error.h"

namespace flightbridge::plan {
namespace {

std::shared_ptr<const FeedRows> RandomFeed(std::mt19937_64& rng) {
  std::vector<PartitionRows> partitions;
  for (int64_t p = 0; p < static_cast<int64_t>(rng() % 8); ++p)
    partitions.push_back({p, static_cast<int64_t>(rng() % 200)});
  return std::make_shared<const FeedRows>(partitions);
}

TEST(Splits, CoverEveryRowOnceWithinPartitionsAndTheirSize) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const SplitSpec spec{1 + static_cast<int64_t>(rng() % 90), rng() % 2 == 0, rng()};
    const SplitOrder order(feed, spec, static_cast<int64_t>(rng() % 5));
    ASSERT_EQ(order.size(), CountSplits(*feed, spec.split_rows));
    std::vector<Interval> splits;
    for (int64_t split = 0; split < order.size(); ++split) splits.push_back(order.Rows(split));
    if (!spec.shuffled) EXPECT_TRUE(std::ranges::is_sorted(splits, {}, &Interval::begin));
    std::ranges::sort(splits, {}, &Interval::begin);
    int64_t next = 0;
    for (const Interval& rows : splits) {
      ASSERT_EQ(rows.begin, next);
      ASSERT_GE(rows.rows(), 1);
      ASSERT_LE(rows.rows(), spec.split_rows);
      ASSERT_EQ(feed->Locate(rows.begin).partition, feed->Locate(rows.end - 1).partition);
      next = rows.end;
    }
    ASSERT_EQ(next, feed->rows());
  }
}

TEST(Splits, EpochsAndSeedsHaveOrdersOfTheirOwnAndTheSameForAll) {
  const auto feed =
      std::make_shared<const FeedRows>(std::vector<PartitionRows>{{0, 5000}, {1, 3000}});
  const auto order = [&](uint64_t seed, int64_t epoch) {
    const SplitOrder splits(feed, {100, true, seed}, epoch);
    std::vector<int64_t> begins;
    for (int64_t split = 0; split < splits.size(); ++split)
      begins.push_back(splits.Rows(split).begin);
    return begins;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(order(1, 0), order(2, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
}

TEST(Splits, TheirRowsDefaultToWholeBatches) {
  EXPECT_EQ(DefaultSplitRows(1 << 20, 100 << 20, 1000), 5000);             // a 256th, rounded up
  EXPECT_EQ(DefaultSplitRows(1 << 28, int64_t{100} << 28, 1024), 83'968);  // 8 MiB
  EXPECT_EQ(DefaultSplitRows(100, 1000, 64), 64);
  EXPECT_EQ(DefaultSplitRows(0, 0, 7), 7);
}

TEST(SplitSet, IsASetAndSurvivesEncoding) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 300; ++round) {
    const int64_t limit = 1 + static_cast<int64_t>(rng() % 60);
    std::set<int64_t> expected;
    SplitSet set;
    for (uint64_t n = rng() % 80; n > 0; --n) {
      const int64_t split = static_cast<int64_t>(rng() % limit);
      expected.insert(split);
      set.Insert(split);
    }
    ASSERT_EQ(set.size(), static_cast<int64_t>(expected.size()));
    const auto back = SplitSet::Decode(set.Encode(), limit);
    ASSERT_TRUE(back.ok()) << back.status();
    std::set<int64_t> found;
    back->ForEach([&](int64_t split) { found.insert(split); });
    ASSERT_EQ(found, expected);
    ASSERT_EQ(back->size(), set.size());
    for (int64_t split = 0; split < limit; ++split)
      ASSERT_EQ(set.Contains(split), expected.contains(split));
  }
}

TEST(SplitSet, RefusesDamage) {
  constexpr int64_t kMost = INT64_MAX;
  for (const std::vector<int64_t>& runs : std::vector<std::vector<int64_t>>{{0},
                                                                            {0, 0},
                                                                            {-1, 1},
                                                                            {0, -1},
                                                                            {0, 11},
                                                                            {10, 1},
                                                                            {0, 2, 0, 2},
                                                                            {kMost, kMost},
                                                                            {1, kMost},
                                                                            {0, 5, kMost, 1}}) {
    EXPECT_EQ(CodeOf(SplitSet::Decode(runs, 10).status()), Code::kInvalidArgument);
  }
  EXPECT_TRUE(SplitSet::Decode({0, 10}, 10).ok());
  EXPECT_TRUE(SplitSet::Decode({}, 0).ok());
}

}  // namespace
}  // namespace flightbridge::plan
