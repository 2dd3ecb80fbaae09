// Policies and uneven shards: what every shard has, for any feed and any number of shards.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "plan/order.h"
#include "plan/shard.h"

namespace flightbridge::plan {
namespace {

constexpr std::array kSharing = {ShardPolicy::kStatic, ShardPolicy::kStaticPartition};

std::shared_ptr<const FeedRows> RandomFeed(std::mt19937_64& rng) {
  std::vector<PartitionRows> partitions;
  const int64_t n = static_cast<int64_t>(rng() % 12);
  for (int64_t p = 0; p < n; ++p) {
    const int64_t most = std::array<int64_t, 3>{1, 20, 300}[rng() % 3];
    partitions.push_back({p * 7 % 31, static_cast<int64_t>(rng() % (most + 1))});
  }
  return std::make_shared<const FeedRows>(partitions);
}

std::vector<ShardRows> AllShards(const std::shared_ptr<const FeedRows>& feed, ShardPolicy policy,
                                 UnevenShards uneven, int64_t n) {
  std::vector<ShardRows> shards;
  for (int64_t i = 0; i < n; ++i) shards.emplace_back(feed, ShardSpec{policy, uneven, i, n});
  return shards;
}

// How often each global row is handed out by all shards together.
std::map<int64_t, int64_t> Counts(const std::vector<ShardRows>& shards) {
  std::map<int64_t, int64_t> counts;
  for (const ShardRows& shard : shards) {
    for (const int64_t row : EpochOrder({}, shard, 0)) ++counts[row];
  }
  return counts;
}

TEST(Shard, JoinedShardsHaveEveryRowOnce) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const ShardPolicy policy = kSharing[rng() % 2];
    const auto shards = AllShards(feed, policy, UnevenShards::kJoin, 1 + rng() % 9);
    const auto counts = Counts(shards);
    ASSERT_EQ(static_cast<int64_t>(counts.size()), feed->rows());
    for (const auto& [row, count] : counts) ASSERT_EQ(count, 1) << row;
    for (const ShardRows& shard : shards) {
      EXPECT_EQ(shard.padded_rows(), 0);
      EXPECT_EQ(shard.dropped_rows(), 0);
    }
  }
}

TEST(Shard, PaddedShardsAreEqualAndRepeatTheirOwnBeginning) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const ShardPolicy policy = kSharing[rng() % 2];
    const int64_t n = 1 + static_cast<int64_t>(rng() % 9);
    const auto joined = AllShards(feed, policy, UnevenShards::kJoin, n);
    const auto padded = AllShards(feed, policy, UnevenShards::kPad, n);
    const int64_t most = std::ranges::max_element(joined, {}, &ShardRows::rows)->rows();
    ASSERT_EQ(Counts(padded).size(), feed->rows());
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(padded[i].rows(), most);
      ASSERT_EQ(padded[i].own_rows() + padded[i].padded_rows(), most);
      auto own = EpochOrder({}, joined[i], 0);
      if (own.empty()) own = EpochOrder({}, ShardRows(feed, {ShardPolicy::kOff}), 0);
      const auto found = EpochOrder({}, padded[i], 0);
      for (int64_t row = 0; row < most; ++row) ASSERT_EQ(found[row], own[row % own.size()]);
    }
  }
}

TEST(Shard, DroppedShardsAreEqualAndHaveNoRowTwice) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const ShardPolicy policy = kSharing[rng() % 2];
    const int64_t n = 1 + static_cast<int64_t>(rng() % 9);
    const auto joined = AllShards(feed, policy, UnevenShards::kJoin, n);
    const auto dropped = AllShards(feed, policy, UnevenShards::kDrop, n);
    const int64_t least = std::ranges::min_element(joined, {}, &ShardRows::rows)->rows();
    int64_t left_out = 0;
    for (const ShardRows& shard : dropped) {
      ASSERT_EQ(shard.rows(), least);
      left_out += shard.dropped_rows();
    }
    const auto counts = Counts(dropped);
    ASSERT_EQ(static_cast<int64_t>(counts.size()), feed->rows() - left_out);
    for (const auto& [row, count] : counts) ASSERT_EQ(count, 1) << row;
  }
}

TEST(Shard, OffGivesEveryReaderEverything) {
  std::mt19937_64 rng(4);
  const auto feed = RandomFeed(rng);
  for (const UnevenShards uneven : {UnevenShards::kJoin, UnevenShards::kPad, UnevenShards::kDrop}) {
    for (const ShardRows& shard : AllShards(feed, ShardPolicy::kOff, uneven, 3)) {
      EXPECT_EQ(shard.rows(), feed->rows());
      EXPECT_EQ(shard.own_rows(), feed->rows());
    }
  }
}

// No shard is further above another than one partition: else that one would have gone elsewhere.
TEST(Shard, PartitionsStayWholeAndBalanced) {
  std::mt19937_64 rng(5);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const int64_t n = 1 + static_cast<int64_t>(rng() % 9);
    const auto owners = AssignPartitions(*feed, n);
    std::vector<int64_t> sizes(n);
    int64_t largest = 0;
    for (size_t p = 0; p < owners.size(); ++p) {
      sizes[owners[p]] += feed->PartitionInterval(p).rows();
      largest = std::max(largest, feed->PartitionInterval(p).rows());
    }
    EXPECT_LE(*std::ranges::max_element(sizes) - *std::ranges::min_element(sizes), largest);
    for (int64_t i = 0; i < n; ++i) {
      const ShardRows shard(feed, {ShardPolicy::kStaticPartition, UnevenShards::kJoin, i, n});
      EXPECT_EQ(shard.own_rows(), sizes[i]);
    }
    EXPECT_EQ(owners, AssignPartitions(*feed, n));
  }
}

TEST(Shard, TheLargestPartitionsAreGivenOutFirst) {
  const FeedRows feed({{0, 10}, {1, 90}, {2, 30}, {3, 30}, {4, 30}});
  EXPECT_EQ(AssignPartitions(feed, 2), (std::vector<int64_t>{0, 0, 1, 1, 1}));
  EXPECT_EQ(AssignPartitions(feed, 3), (std::vector<int64_t>{2, 0, 1, 2, 1}));
}

TEST(Shard, BoundariesAreThoseOfThePartitionsThroughEveryRepetition) {
  const auto feed = std::make_shared<const FeedRows>(
      std::vector<PartitionRows>{{0, 100}, {1, 4}, {2, 10}, {3, 6}, {4, 5}});
  // Shard 1 of 2 has partitions 1 to 4, 25 rows, and repeats them up to 100.
  const ShardRows shard(feed, {ShardPolicy::kStaticPartition, UnevenShards::kPad, 1, 2});
  ASSERT_EQ(shard.own_rows(), 25);
  ASSERT_EQ(shard.rows(), 100);
  const std::set<int64_t> starts = {0, 4, 14, 20};
  int64_t expected = 0;
  for (int64_t row = 0; row <= 100; ++row) {
    if (starts.contains(row % 25)) expected = row;
    EXPECT_EQ(shard.BoundaryBefore(row), expected) << row;
  }
}

TEST(Shard, AnyPartOfAShardIsThatPartOfItsOrder) {
  std::mt19937_64 rng(6);
  for (int round = 0; round < 200; ++round) {
    const auto feed = RandomFeed(rng);
    const ShardRows shard(feed, {kSharing[rng() % 2], UnevenShards::kPad, 0, 3});
    const auto all = EpochOrder({}, shard, 0);
    const int64_t begin = static_cast<int64_t>(rng() % (all.size() + 1));
    const int64_t end = begin + static_cast<int64_t>(rng() % (all.size() - begin + 1));
    std::vector<Interval> intervals;
    shard.AppendGlobal({begin, end}, &intervals);
    std::vector<int64_t> found;
    for (const Interval& i : intervals) {
      for (int64_t row = i.begin; row < i.end; ++row) found.push_back(row);
    }
    ASSERT_EQ(found, std::vector<int64_t>(all.begin() + begin, all.begin() + end));
  }
}

}  // namespace
}  // namespace flightbridge::plan
