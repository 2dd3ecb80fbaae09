// Sharding, order, schedule and positions: pure functions, so properties over many random cases.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "plan/order.h"
#include "plan/position.h"
#include "plan/random.h"
#include "plan/rows.h"
#include "plan/schedule.h"

namespace flightbridge::plan {
namespace {

// Known answers published with the generator (Random123, kat_vectors).
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, 0, 0),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, BelowIsUniformForABoundThatDoesNotDivide) {
  Random random(7, 1);
  constexpr uint32_t kBound = 3'000'000'000;  // a biased draw favours the low third two to one
  int low = 0;
  constexpr int kDraws = 60'000;
  for (int i = 0; i < kDraws; ++i) {
    const uint32_t value = random.Below(kBound);
    ASSERT_LT(value, kBound);
    low += value < kBound / 3;
  }
  EXPECT_NEAR(low, kDraws / 3, 5 * std::sqrt(kDraws * 2.0 / 9));
}

TEST(Rows, ShardsCoverEveryRowOnce) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = static_cast<int64_t>(rng() % 1000);
    const int64_t shards = 1 + static_cast<int64_t>(rng() % 40);
    int64_t next = 0;
    for (int64_t i = 0; i < shards; ++i) {
      const Interval shard = ShardInterval(rows, i, shards);
      EXPECT_EQ(shard.begin, next);
      EXPECT_LE(std::abs(shard.rows() - rows / shards), 1);
      next = shard.end;
    }
    EXPECT_EQ(next, rows);
  }
}

TEST(Rows, ShardsOfHugeFeedsDoNotOverflow) {
  constexpr int64_t kRows = int64_t{1} << 60;
  EXPECT_EQ(ShardInterval(kRows, 999, 1000).end, kRows);
  EXPECT_EQ(ShardInterval(kRows, 1, 1000).begin, kRows / 1000);
}

TEST(Rows, RangesFollowPartitionsAscending) {
  const FeedRows feed({{7, 10}, {2, 5}, {4, 0}, {9, 3}});
  EXPECT_EQ(feed.rows(), 18);
  std::vector<Range> ranges;
  feed.AppendRanges({3, 17}, &ranges);
  EXPECT_EQ(ranges, (std::vector<Range>{{2, 3, 5}, {7, 0, 10}, {9, 0, 2}}));
  EXPECT_EQ(feed.Locate(4), (Range{2, 4, 5}));
  EXPECT_EQ(feed.Locate(5), (Range{7, 0, 1}));
  EXPECT_EQ(feed.BoundaryBefore(14), 5);
  EXPECT_EQ(feed.BoundaryBefore(18), 18);
  ranges.clear();
  feed.AppendRanges({5, 5}, &ranges);
  EXPECT_TRUE(ranges.empty());
}

TEST(Order, ChunksKeepTheirBounds) {
  for (int64_t window : {1, 7, 64, 100, 2048, 5000, 65536, 1 << 20}) {
    const int64_t rows = ChunkRows(window, 1 << 24);
    EXPECT_GE(rows, 4);  // 2^24 rows in at most 2^22 chunks
    EXPECT_LE(rows, 8192);
    if (window >= 64) EXPECT_GE(window / rows, 8) << window;
  }
  EXPECT_EQ(ChunkRows(65536, 1 << 24), 4096);
  EXPECT_EQ(ChunkRows(5000, 1 << 24), 256);
  EXPECT_EQ(ChunkRows(1000, 1 << 24), 64);
}

TEST(Order, EveryRowExactlyOnceForAnyShardCount) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 150; ++round) {
    const int64_t rows = static_cast<int64_t>(rng() % 5000);
    OrderSpec spec;
    spec.num_shards = 1 + static_cast<int64_t>(rng() % 7);
    spec.window = std::array<int64_t, 6>{0, -1, 1, 100, 700, 3000}[rng() % 6];
    spec.seed = rng();
    const auto epoch = static_cast<int64_t>(rng() % 3);
    std::vector<int64_t> all;
    for (spec.shard = 0; spec.shard < spec.num_shards; ++spec.shard) {
      const auto part = EpochOrder(spec, rows, epoch);
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int64_t> expected(rows);
    std::iota(expected.begin(), expected.end(), 0);
    ASSERT_EQ(all, expected) << "rows " << rows << " window " << spec.window;
  }
}

TEST(Order, WindowsAreNearTheirSizeAndMixTheWholeShard) {
  const OrderSpec spec{.window = 4096, .seed = 5};
  const ShuffledEpoch epoch(spec, {0, 100'000}, 0);
  EXPECT_GT(epoch.num_windows(), 20);
  for (int64_t w = 0; w < epoch.num_windows(); ++w) {
    EXPECT_LE(epoch.WindowRows(w), 4096);
    EXPECT_GE(epoch.WindowRows(w), 3000);
    const auto intervals = epoch.WindowIntervals(w);
    EXPECT_GT(intervals.back().end - intervals.front().begin, 50'000);
  }
}

TEST(Order, CursorFindsItsWindow) {
  const ShuffledEpoch epoch({.window = 300, .seed = 1}, {50, 5050}, 2);
  for (int64_t cursor = 0; cursor < 5000; ++cursor) {
    const int64_t w = epoch.WindowOf(cursor);
    EXPECT_LE(epoch.WindowStart(w), cursor);
    EXPECT_LT(cursor, epoch.WindowStart(w) + epoch.WindowRows(w));
  }
}

// These orders are promised for ever: a saved position means nothing under another order.
TEST(Order, GoldenOrders) {
  EXPECT_EQ(EpochOrder({.window = -1, .seed = 0}, 12, 0),
            (std::vector<int64_t>{4, 9, 7, 1, 2, 8, 11, 6, 5, 0, 10, 3}));
  EXPECT_EQ(EpochOrder({.window = -1, .seed = 0}, 12, 1),
            (std::vector<int64_t>{1, 8, 5, 9, 4, 2, 10, 7, 3, 6, 0, 11}));
  EXPECT_EQ(
      EpochOrder({.window = 8, .seed = 42}, 20, 0),
      (std::vector<int64_t>{17, 12, 11, 5, 3, 18, 4, 9, 19, 15, 6, 7, 1, 13, 16, 8, 14, 10, 2, 0}));
  EXPECT_EQ(EpochOrder({.shard = 1, .num_shards = 3, .window = -1, .seed = 9}, 30, 4),
            (std::vector<int64_t>{3, 24, 19, 18, 12, 28, 21, 8, 16, 22}));
}

TEST(Order, EpochsSeedsAndShardsDiffer) {
  const OrderSpec spec{.window = -1, .seed = 3};
  const auto base = EpochOrder(spec, 1000, 0);
  EXPECT_EQ(EpochOrder(spec, 1000, 0), base);
  EXPECT_NE(EpochOrder(spec, 1000, 1), base);
  EXPECT_NE(EpochOrder({.window = -1, .seed = 4}, 1000, 0), base);
  // Shards share one permutation of the feed.
  auto both = EpochOrder({.shard = 0, .num_shards = 2, .window = -1, .seed = 3}, 1000, 0);
  const auto right = EpochOrder({.shard = 1, .num_shards = 2, .window = -1, .seed = 3}, 1000, 0);
  both.insert(both.end(), right.begin(), right.end());
  EXPECT_EQ(both, base);
  // Under the other policies each has its own.
  const auto feed = std::make_shared<const FeedRows>(
      std::vector<PartitionRows>{{0, 500}, {1, 500}, {2, 500}, {3, 500}});
  for (const auto policy : {ShardPolicy::kOff, ShardPolicy::kStaticPartition}) {
    std::vector<std::vector<int64_t>> orders;
    for (int64_t shard = 0; shard < 2; ++shard) {
      const OrderSpec own{.shard = shard, .num_shards = 2, .window = -1, .seed = 3};
      const ShardRows rows(feed, {.policy = policy, .shard = shard, .num_shards = 2});
      orders.push_back(EpochOrder(own, rows, 0));
      ASSERT_EQ(std::ssize(orders.back()), rows.rows());
    }
    const int64_t shift = policy == ShardPolicy::kOff ? 0 : 500;
    for (int64_t& row : orders[1]) row -= row >= 500 ? shift : 0;
    EXPECT_NE(orders[0], orders[1]);
  }
}

// Tables and ciphers alike, and at the sizes around which they change their shape.
TEST(Permutation, HoldsEveryNumberOnce) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{1000},
                             Permutation::kMaxTable, Permutation::kMaxTable + 1, int64_t{131'071},
                             int64_t{131'072}, int64_t{131'073}, int64_t{500'001}}) {
    const Permutation permutation(size, 7, 9);
    std::vector<bool> seen(size);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t value = permutation.At(i);
      ASSERT_GE(value, 0);
      ASSERT_LT(value, size);
      ASSERT_FALSE(seen[value]) << size;
      seen[value] = true;
    }
  }
  const Permutation huge(int64_t{1} << 46, 1, 1);
  std::set<int64_t> values;
  for (int64_t i = 0; i < 10'000; ++i) values.insert(huge.At(i * 6'000'000'019));
  EXPECT_EQ(values.size(), 10'000);
  EXPECT_GE(*values.begin(), 0);
  EXPECT_LT(*values.rbegin(), huge.size());
}

// Ciphers: the same promise as for the orders below.
TEST(Permutation, TheWayBackLeadsToEveryPlace) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{1000}, Permutation::kMaxTable,
                             Permutation::kMaxTable + 1, int64_t{131'071}, int64_t{1'000'003}}) {
    const Permutation permutation(size, 7, 9);
    const InversePermutation inverse(permutation);
    std::vector<int64_t> places(size);
    constexpr int64_t kPiece = 12'345;
    for (int64_t first = 0; first < size; first += kPiece) {
      inverse.PlacesOf(first, std::span(places).subspan(first, std::min(kPiece, size - first)));
    }
    for (int64_t row = 0; row < size; ++row) ASSERT_EQ(permutation.At(places[row]), row) << size;
  }
  const Permutation huge(int64_t{1} << 46, 1, 1);
  std::vector<int64_t> places(3);
  InversePermutation(huge).PlacesOf((int64_t{1} << 46) - 3, places);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(huge.At(places[i]), (int64_t{1} << 46) - 3 + i);
}

TEST(FullOrder, ServersKnowTheOrderOfTheWholeFeed) {
  const auto feed = std::make_shared<const FeedRows>(
      std::vector<PartitionRows>{{0, 700}, {1, 0}, {2, 70'001}, {5, 299}});
  for (const auto policy : {ShardPolicy::kStatic, ShardPolicy::kOff, ShardPolicy::kStaticPartition})
    for (const auto uneven : {UnevenShards::kJoin, UnevenShards::kPad, UnevenShards::kDrop})
      for (int64_t shard = 0; shard < 3; ++shard) {
        const OrderSpec spec{.shard = shard, .num_shards = 3, .window = kWholeShard, .seed = 5};
        const auto rows = std::make_shared<const ShardRows>(
            feed, ShardSpec{.policy = policy, .uneven = uneven, .shard = shard, .num_shards = 3});
        const FullOrder order(spec, rows, 4);
        const int64_t edge = rows->cycle();
        for (const Interval cursors :
             {Interval{0, 10}, Interval{edge - 5, edge}, Interval{edge, rows->rows()}}) {
          if (cursors.rows() <= 0) continue;
          const auto places = order.PlacesOf(cursors);
          ASSERT_EQ(places.has_value(), policy != ShardPolicy::kStaticPartition);
          if (!places) continue;
          ASSERT_EQ(places->end - places->begin, cursors.rows());
          const Permutation permutation = PermutationOf(*places, feed->rows());
          for (int64_t i = 0; i < cursors.rows(); ++i) {
            EXPECT_EQ(permutation.At(places->begin + i), order.RowAt(cursors.begin + i));
          }
          const Picks mine = order.Pick(cursors);
          const Picks servers = PickPlaces(permutation, {places->begin, places->end});
          EXPECT_EQ(mine.rows, servers.rows);
          EXPECT_EQ(mine.order, servers.order);
        }
      }
}

TEST(Permutation, GoldenCipher) {
  const Permutation permutation(1'000'003, 42, 5);
  EXPECT_EQ((std::vector<int64_t>{permutation.At(0), permutation.At(1), permutation.At(2),
                                  permutation.At(1'000'002)}),
            (std::vector<int64_t>{767'779, 767'974, 451'450, 408'164}));
}

// Where a row lands must not depend on where it was: counts over a grid, chi-square with 99
// degrees of freedom; 1 in 10,000 good shuffles is above 160.
void ExpectWellMixed(int64_t window, int64_t rows, int epochs) {
  constexpr int kCells = 10;
  double counts[kCells][kCells] = {};
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const auto order = EpochOrder({.window = window, .seed = 11}, rows, epoch);
    for (int64_t i = 0; i < rows; ++i) ++counts[i * kCells / rows][order[i] * kCells / rows];
  }
  const double expected = static_cast<double>(rows) * epochs / (kCells * kCells);
  double chi2 = 0;
  for (const auto& line : counts) {
    for (const double count : line) chi2 += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi2, 160) << "window " << window;
  EXPECT_GT(chi2, 30) << "too even to be random";
}

TEST(Order, FullShuffleIsWellMixed) {
  ExpectWellMixed(-1, 1000, 100);
  ExpectWellMixed(-1, 100'000, 10);
}

// What a true permutation of n rows looks like from close by: n points in the plane of (place, row)
// spread over a fine grid, differences of neighbours that take every size, and as many fixed points
// and cycles as chance gives.
TEST(Order, CipherLooksLikeARandomPermutation) {
  constexpr int64_t kSize = 1 << 20;
  constexpr int64_t kGrid = 256;
  int fixed_points = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Permutation permutation(kSize + static_cast<int64_t>(seed), seed, 1);
    std::vector<int> grid(kGrid * kGrid);
    std::vector<int> steps(kGrid);
    int64_t before = permutation.At(kSize - 1);
    for (int64_t i = 0; i < kSize; ++i) {
      const int64_t row = permutation.At(i);
      ++grid[i * kGrid / kSize * kGrid + std::min(kGrid - 1, row * kGrid / kSize)];
      const int64_t step = (row - before + 2 * kSize) % kSize;
      ++steps[step * kGrid / kSize];
      fixed_points += row == i ? 1 : 0;
      before = row;
    }
    const auto chi2 = [](const std::vector<int>& counts) {
      const double expected = static_cast<double>(kSize) / static_cast<double>(counts.size());
      double sum = 0;
      for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
      return sum;
    };
    // Five standard deviations about the mean: sqrt(2 * degrees of freedom) each.
    EXPECT_NEAR(chi2(grid), kGrid * kGrid, 5 * std::sqrt(2.0 * kGrid * kGrid)) << seed;
    EXPECT_NEAR(chi2(steps), kGrid, 5 * std::sqrt(2.0 * kGrid)) << seed;
  }
  EXPECT_LE(fixed_points, 15);  // 4 by chance; above 15 once in a hundred thousand
}

TEST(Order, NeighboursAreSeparatedByAWindow) {
  const auto order = EpochOrder({.window = 1024, .seed = 1}, 20'000, 0);
  int64_t neighbours = 0;
  for (size_t i = 1; i < order.size(); ++i) neighbours += order[i] == order[i - 1] + 1;
  EXPECT_LT(neighbours, 60);  // about one in a thousand by chance
}

// ---- schedule ------------------------------------------------------------------------------

// Every row that the units hand out, in order, the way the reader takes them.
std::vector<int64_t> Play(Schedule& schedule, size_t limit) {
  std::vector<int64_t> out;
  std::vector<int64_t> group;
  while (auto unit = schedule.Next()) {
    int64_t rows = 0;
    if (unit->full != nullptr) {
      const Picks picks = unit->full->Pick(unit->cursors);
      EXPECT_TRUE(std::ranges::is_sorted(picks.rows));
      EXPECT_EQ(std::ranges::adjacent_find(picks.rows), picks.rows.end());
      rows = std::ssize(picks.rows);
      for (const uint32_t place : picks.order) group.push_back(picks.rows[place]);
    }
    for (const Interval& i : unit->intervals) {
      rows += i.rows();
      for (int64_t row = i.begin; row < i.end; ++row) group.push_back(row);
    }
    EXPECT_EQ(rows, unit->rows);
    if (!unit->group_end) continue;
    if (unit->shuffle) Shuffle(std::span(group), *unit->shuffle);
    out.insert(out.end(), group.begin() + unit->skip, group.begin() + unit->skip + unit->take);
    group.clear();
    if (out.size() >= limit) break;
  }
  return out;
}

std::shared_ptr<const ShardRows> MakeShard(std::vector<PartitionRows> partitions,
                                           const ShardSpec& spec = {}) {
  return std::make_shared<const ShardRows>(std::make_shared<const FeedRows>(std::move(partitions)),
                                           spec);
}

struct Case {
  ScheduleSpec spec;
  std::shared_ptr<const ShardRows> shard;
};

Case RandomCase(std::mt19937_64& rng) {
  Case c;
  std::vector<PartitionRows> partitions;
  const int64_t n = static_cast<int64_t>(rng() % 6);
  for (int64_t p = 0; p < n; ++p) partitions.push_back({p * 3, static_cast<int64_t>(rng() % 300)});
  c.spec.order.num_shards = 1 + static_cast<int64_t>(rng() % 3);
  c.spec.order.shard = static_cast<int64_t>(rng() % c.spec.order.num_shards);
  constexpr std::array kPolicies = {ShardPolicy::kOff, ShardPolicy::kStatic,
                                    ShardPolicy::kStaticPartition};
  constexpr std::array kUneven = {UnevenShards::kJoin, UnevenShards::kPad, UnevenShards::kDrop};
  c.shard = MakeShard(std::move(partitions), {kPolicies[rng() % 3], kUneven[rng() % 3],
                                              c.spec.order.shard, c.spec.order.num_shards});
  c.spec.order.window = std::array<int64_t, 5>{0, 0, -1, 50, 128}[rng() % 5];
  c.spec.order.seed = rng() % 4;
  c.spec.epochs = 1 + static_cast<int64_t>(rng() % 3);
  c.spec.batch_size = 1 + static_cast<int64_t>(rng() % 40);
  c.spec.drop_remainder = rng() % 2 == 0;
  c.spec.unit_rows = 1 + static_cast<int64_t>(rng() % 100);
  c.spec.units_per_window = 1 + static_cast<int64_t>(rng() % 4);
  c.spec.min_unit_rows = 1 + static_cast<int64_t>(rng() % 50);
  return c;
}

std::vector<int64_t> Expected(const Case& c, int64_t epoch, int64_t cursor) {
  std::vector<int64_t> all;
  for (; epoch < c.spec.epochs; ++epoch, cursor = 0) {
    const auto order = EpochOrder(c.spec.order, *c.shard, epoch);
    int64_t take = static_cast<int64_t>(order.size()) - cursor;
    if (c.spec.drop_remainder) take -= take % c.spec.batch_size;
    all.insert(all.end(), order.begin() + cursor, order.begin() + cursor + take);
  }
  return all;
}

TEST(Schedule, HandsOutTheOrderFromAnyInterruption) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 400; ++round) {
    const Case c = RandomCase(rng);
    const int64_t shard_rows = c.shard->rows();
    const int64_t epoch = static_cast<int64_t>(rng() % c.spec.epochs);
    const int64_t cursor = static_cast<int64_t>(rng() % (shard_rows + 1));
    Schedule schedule(c.spec, c.shard, epoch, cursor);
    ASSERT_EQ(Play(schedule, SIZE_MAX), Expected(c, epoch, cursor)) << "round " << round;
    EXPECT_FALSE(schedule.Next());
  }
}

TEST(Schedule, EveryRowOfOneEpochIsAGoodPlaceToStop) {
  std::mt19937_64 rng(4);
  for (const int64_t window : {int64_t{0}, int64_t{64}, kWholeShard}) {
    Case c;
    c.shard = MakeShard({{0, 70}, {1, 130}});
    c.spec.order = {.window = window, .seed = 8};
    c.spec.batch_size = 7;
    for (int64_t cursor = 0; cursor <= 200; ++cursor) {
      Schedule schedule(c.spec, c.shard, 0, cursor);
      ASSERT_EQ(Play(schedule, SIZE_MAX), Expected(c, 0, cursor)) << window << " at " << cursor;
    }
  }
}

TEST(Schedule, EndlessEpochsGoOnAndEmptyOnesEnd) {
  const auto feed = MakeShard({{0, 10}});
  Schedule endless({.epochs = -1, .batch_size = 4}, feed, 0, 0);
  EXPECT_EQ(Play(endless, 1000).size(), 1000);
  // Nine rows are left and none of them fills a batch of 10 000: no epoch ever will.
  Schedule dropped({.epochs = -1, .batch_size = 10'000, .drop_remainder = true}, feed, 5, 1);
  EXPECT_FALSE(dropped.Next());
  const auto nothing = MakeShard({});
  Schedule empty({.order = {.window = -1}, .epochs = -1}, nothing, 0, 0);
  EXPECT_FALSE(empty.Next());
}

TEST(Schedule, UnitsEndWherePartitionsEnd) {
  const auto feed = MakeShard({{0, 80}, {1, 90}});
  Schedule schedule({.unit_rows = 100}, feed, 0, 0);
  EXPECT_EQ(schedule.Next()->intervals.front(), (Interval{0, 80}));
  EXPECT_EQ(schedule.Next()->intervals.front(), (Interval{80, 170}));
}

// ---- positions -----------------------------------------------------------------------------

PositionContext Context() {
  return {.feed = "ratings",
          .fingerprint = 0x1234,
          .schema_hash = 0x77,
          .order = {.shard = 1, .num_shards = 4, .window = 1000, .seed = 6},
          .epochs = 3,
          .shard_rows = 500};
}

TEST(Position, SurvivesEncoding) {
  const PositionContext context = Context();
  const proto::Position position = MakePosition(context, 2, 499);
  const auto back = proto::Parse<proto::Position>(position.Encode());
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, position);
  EXPECT_TRUE(VerifyPosition(*back, context).ok());
}

TEST(Position, EndOfTheLastEpochIsAPosition) {
  EXPECT_TRUE(VerifyPosition(MakePosition(Context(), 2, 500), Context()).ok());
}

struct Mismatch {
  const char* field;
  void (*change)(PositionContext*);
};

TEST(Position, EveryMismatchIsRefusedByName) {
  const Mismatch cases[] = {
      {"feed=", [](PositionContext* c) { c->feed = "movies"; }},
      {"fingerprint=0000000000001234, this reader has fingerprint=0000000000009999",
       [](PositionContext* c) { c->fingerprint = 0x9999; }},
      {"schema_hash=", [](PositionContext* c) { c->schema_hash = 0x78; }},
      {"policy=static, this reader has policy=static_partition",
       [](PositionContext* c) { c->policy = ShardPolicy::kStaticPartition; }},
      {"uneven=join, this reader has uneven=pad",
       [](PositionContext* c) { c->uneven = UnevenShards::kPad; }},
      {"shard=1, this reader has shard=2", [](PositionContext* c) { c->order.shard = 2; }},
      {"num_shards=4, this reader has num_shards=5",
       [](PositionContext* c) { c->order.num_shards = 5; }},
      {"shuffle_window=1000, this reader has shuffle_window=-1",
       [](PositionContext* c) { c->order.window = -1; }},
      {"seed=6, this reader has seed=7", [](PositionContext* c) { c->order.seed = 7; }},
      {"epoch=2, this reader has epochs=2", [](PositionContext* c) { c->epochs = 2; }},
      {"cursor=400, this reader's shard has 399", [](PositionContext* c) { c->shard_rows = 399; }},
  };
  const proto::Position position = MakePosition(Context(), 2, 400);
  for (const Mismatch& mismatch : cases) {
    PositionContext other = Context();
    mismatch.change(&other);
    const arrow::Status status = VerifyPosition(position, other);
    EXPECT_EQ(CodeOf(status), Code::kPositionMismatch) << mismatch.field;
    EXPECT_NE(status.message().find(mismatch.field), std::string::npos) << status.message();
  }
}

TEST(Position, OtherFormatsAndDamageAreRefused) {
  proto::Position position = MakePosition(Context(), 0, 0);
  position.format = 4;
  EXPECT_NE(VerifyPosition(position, Context()).message().find("format=4"), std::string::npos);
  position = MakePosition(Context(), -1, 0);
  EXPECT_EQ(CodeOf(VerifyPosition(position, Context())), Code::kPositionMismatch);
  position = MakePosition(Context(), 0, -1);
  EXPECT_EQ(CodeOf(VerifyPosition(position, Context())), Code::kPositionMismatch);
}

TEST(Position, TheFirstFormatIsOfStaticShardsJoined) {
  proto::Position position = MakePosition(Context(), 1, 7);
  position.format = 1;
  position.policy = ShardPolicy::kUnspecified;
  position.uneven = UnevenShards::kUnspecified;
  EXPECT_TRUE(VerifyPosition(position, Context()).ok());
  PositionContext off = Context();
  off.policy = ShardPolicy::kOff;
  EXPECT_NE(VerifyPosition(position, off).message().find("policy=static"), std::string::npos);
}

TEST(Position, TheSeedOfAnUnshuffledReaderDoesNotMatter) {
  PositionContext context = Context();
  context.order.window = 0;
  const proto::Position position = MakePosition(context, 0, 3);
  context.order.seed = 99;
  EXPECT_TRUE(VerifyPosition(position, context).ok());
}

}  // namespace
}  // namespace flightbridge::plan
