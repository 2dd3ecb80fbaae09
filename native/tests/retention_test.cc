// How long feeds keep their rows: what positions confirm, and what that releases.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "feed/feed_store.h"
#include "feed/row_set.h"
#include "feed/schema_rules.h"
#include "plan/order.h"
#include "plan/position.h"
#include "plan/splits.h"
#include "server/confirm_internal.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge {
namespace {

using flightbridge::testing::Batches;
using flightbridge::testing::Numbered;
using flightbridge::testing::RowsOf;
using flightbridge::testing::TempDir;
using flightbridge::testing::TestStore;
using Mode = proto::WriteMode;

void ExpectError(const arrow::Status& status, Code code, const std::vector<std::string>& words) {
  EXPECT_EQ(CodeOf(status), code) << status;
  for (const std::string& word : words) {
    EXPECT_NE(status.message().find(word), std::string::npos) << word << " in: " << status;
  }
}

arrow::Result<proto::BeginWriteResult> Begin(const TestStore& store, const std::string& job,
                                             std::optional<proto::Retention> retention,
                                             Mode mode = Mode::kErrorIfExists) {
  proto::BeginWrite begin;
  begin.feed = "f";
  begin.job_id = job;
  begin.mode = mode;
  begin.schema = feed::EncodeSchema(*Numbered(0, 1)->schema()).ValueOrDie();
  begin.retention = retention;
  return store->BeginWrite(begin);
}

// A feed "f" of partitions with these rows, numbered through.
std::shared_ptr<const feed::Snapshot> Write(const TestStore& store, proto::Retention retention,
                                            const std::vector<int64_t>& partitions) {
  EXPECT_TRUE(Begin(store, "j", retention).ok());
  proto::CommitWrite commit{"f", "j", {}};
  int64_t first = 0;
  for (size_t i = 0; i < partitions.size(); ++i) {
    Batches batches;
    for (int64_t at = 0; at < partitions[i]; at += 10) {
      batches.push_back(Numbered(first + at, std::min<int64_t>(10, partitions[i] - at)));
    }
    if (batches.empty()) batches.push_back(Numbered(0, 0));
    first += partitions[i];
    commit.attempts.push_back(
        store.Put("f", "j", static_cast<int64_t>(i), 1, batches).ValueOrDie());
  }
  EXPECT_TRUE(store->CommitWrite(commit).ok());
  return store->Find("f").ValueOrDie();
}

TEST(RowSet, JoinsRunsAndCountsWhatIsNew) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    feed::RowSet set;
    std::set<int64_t> want;
    for (int i = 0; i < 30; ++i) {
      const int64_t begin = random() % 60, end = begin + random() % 9;
      const size_t before = want.size();
      for (int64_t row = begin; row < end; ++row) want.insert(row);
      ASSERT_EQ(set.Add(begin, end), static_cast<int64_t>(want.size() - before));
    }
    std::set<int64_t> have;
    int64_t last_end = -1;
    for (const auto& [begin, end] : set.runs()) {
      ASSERT_GT(begin, last_end) << "runs that touch are one";
      last_end = end;
      for (int64_t row = begin; row < end; ++row) have.insert(row);
    }
    ASSERT_EQ(have, want);
    ASSERT_EQ(set.rows(), static_cast<int64_t>(want.size()));
  }
}

TEST(Retention, PartitionsGoWhenAllTheirRowsAreConfirmed) {
  TestStore store;
  const auto feed = Write(store, {.epochs = 1}, {1000, 1000, 1000});
  const uint64_t id = feed->feed_id;
  const int64_t used = store->budget().used_bytes();
  auto result = store->Confirm("f", id, {{0, 0, 1000}, {1, 0, 400}}).ValueOrDie();
  EXPECT_EQ(result.confirmed_rows, 1400);
  EXPECT_EQ(result.released_partitions, 1);
  EXPECT_EQ(RowsOf(*feed).size(), 3000u) << "who reads it already reads on";

  const auto now = store->Find("f").ValueOrDie();
  EXPECT_EQ(now->rows, 3000);
  EXPECT_EQ(now->fingerprint, feed->fingerprint) << "positions stay good";
  EXPECT_EQ(now->feed_id, id) << "so do tickets";
  ExpectError(now->Find(0).status(), Code::kFailedPrecondition,
              {"'f'", "partition 0", "retention=once", "write the feed again"});
  EXPECT_TRUE(now->Find(1).ok());
  EXPECT_TRUE(now->Info().partitions[0].released);
  EXPECT_FALSE(now->Info().partitions[1].released);
  EXPECT_EQ(now->Info().confirmed_rows, 1400);

  // Again, overlapping, and beyond what there is.
  EXPECT_EQ(store->Confirm("f", id, {{0, 0, 1000}}).ValueOrDie().confirmed_rows, 1400);
  result = store->Confirm("f", id, {{1, 300, 99'999}, {1, -5, 10}, {77, 0, 10}}).ValueOrDie();
  EXPECT_EQ(result.confirmed_rows, 2000);
  EXPECT_EQ(result.released_partitions, 2);
  ExpectError(store->Confirm("f", id + 1, {}).status(), Code::kFailedPrecondition, {"'f'"});
  ExpectError(store->Confirm("g", id, {}).status(), Code::kNotFound, {"'g'"});
  EXPECT_LE(store->budget().used_bytes(), used);
}

TEST(Retention, ReleasedBytesAreRoomForOthers) {
  TestStore store(4 << 20);
  uint64_t id = 0;
  {
    const auto feed = Write(store, {.epochs = 1}, {20'000, 20'000});
    id = feed->feed_id;
  }
  const int64_t used = store->budget().used_bytes();
  ASSERT_TRUE(store->Confirm("f", id, {{0, 0, 20'000}, {1, 0, 20'000}}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0) << "of " << used;
}

TEST(Retention, KeptFeedsReleaseNothing) {
  TestStore store;
  const auto feed = Write(store, {}, {100});
  EXPECT_EQ(store->Confirm("f", feed->feed_id, {{0, 0, 100}}).ValueOrDie().confirmed_rows, 0);
  EXPECT_TRUE(store->Find("f").ValueOrDie()->Find(0).ok());
  EXPECT_FALSE(feed->Info().retention.has_value());
}

TEST(Retention, AppendsAgreeWithTheFeedAndComeBeforeItsReaders) {
  TestStore store;
  const auto feed = Write(store, {.epochs = 2, .ttl_ms = 5000}, {10});
  ExpectError(Begin(store, "a", proto::Retention{.epochs = 1}, Mode::kAppend).status(),
              Code::kFailedPrecondition, {"'f'", "retention=once", "epochs=2", "ttl=5000 ms"});
  ASSERT_TRUE(Begin(store, "b", std::nullopt, Mode::kAppend).ok());
  const auto ref = store.Put("f", "b", 0, 1, {Numbered(10, 5)}).ValueOrDie();
  ASSERT_TRUE(store->Confirm("f", feed->feed_id, {{0, 0, 3}}).ok());
  ExpectError(store->CommitWrite({"f", "b", {ref}}).status(), Code::kFailedPrecondition,
              {"'f'", "epochs=2", "confirmed", "another name"});
  ASSERT_TRUE(Begin(store, "c", proto::Retention{}, Mode::kOverwrite).ok());
  ASSERT_TRUE(store->CommitWrite({"f", "c", {}}).ok()) << "an overwrite starts over";
  EXPECT_FALSE(store->Describe("f").ValueOrDie().retention.has_value());
}

TEST(Retention, ASecondBeginRepeatsTheFirst) {
  TestStore store;
  ASSERT_TRUE(Begin(store, "j", proto::Retention{.epochs = 1}).ok());
  EXPECT_TRUE(Begin(store, "j", proto::Retention{.epochs = 1}).ok());
  ExpectError(Begin(store, "j", std::nullopt).status(), Code::kInvalidArgument,
              {"'j'", "another retention", "repeat"});
}

TEST(Retention, OutOfRangeSettingsAreRefused) {
  TestStore store;
  ExpectError(Begin(store, "j", proto::Retention{.epochs = -1}).status(), Code::kInvalidArgument,
              {"'f'", "-1 epochs"});
  ExpectError(Begin(store, "j", proto::Retention{.ttl_ms = -7}).status(), Code::kInvalidArgument,
              {"'f'", "-7 ms"});
}

// What was confirmed is released, and stays so, over restarts and compactions.
TEST(Retention, SurvivesRestarts) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  uint64_t id = 0;
  {
    const auto feed = Write(store, {.epochs = 3, .ttl_ms = 60'000}, {100, 100, 100});
    id = feed->feed_id;
  }
  ASSERT_TRUE(store->Confirm("f", id, {{0, 0, 100}, {1, 0, 60}}).ok());
  const int64_t disk = store->disk_budget().used_bytes();
  for (int round = 0; round < 2; ++round) {
    store.Reopen();
    const auto info = store->Describe("f").ValueOrDie();
    EXPECT_EQ(info.retention.value().epochs, 3);
    EXPECT_EQ(info.retention.value().ttl_ms, 60'000);
    EXPECT_EQ(info.confirmed_rows, 160);
    EXPECT_TRUE(info.partitions[0].released);
    const auto feed = store->Find("f").ValueOrDie();
    EXPECT_EQ(feed->feed_id, id);
    EXPECT_FALSE(feed->Find(0).ok());
    EXPECT_TRUE(feed->Find(1).ValueOrDie()->Decode(0).ok());
    EXPECT_LE(store->disk_budget().used_bytes(), disk) << "in round " << round;
    // Until the journal has been compacted: schemas of half a MiB.
    const auto batch = Numbered(0, 1)->ReplaceSchemaMetadata(
        arrow::key_value_metadata({"words"}, {std::string(500'000, 'x')}));
    for (int i = 0; round == 0 && i < 4; ++i) {
      const std::string name = "g" + std::to_string(i);
      store.Write(name, {Batches{batch}});
      ASSERT_TRUE(store->DropFeed({name}).ok());
    }
  }
  EXPECT_EQ(store->Confirm("f", id, {{1, 60, 100}}).ValueOrDie().released_partitions, 2);
}

TEST(Retention, IdleFeedsAreDroppedAfterTheirTtl) {
  TestStore store;
  Write(store, {.ttl_ms = 1000}, {10});
  store.now_ms += 999;
  EXPECT_EQ(store->DropIdleFeeds(), 0);
  EXPECT_TRUE(store->Find("f").ok()) << "looking is not reading";
  {
    const auto reading = store->FindToRead("f").ValueOrDie();
  }
  store.now_ms += 999;
  EXPECT_EQ(store->DropIdleFeeds(), 0);
  {
    const auto reading = store->Find("f").ValueOrDie();
    store.now_ms += 5000;
    EXPECT_EQ(store->DropIdleFeeds(), 0) << "a stream is open";
  }
  ASSERT_TRUE(Begin(store, "a", std::nullopt, Mode::kAppend).ok());
  store.now_ms += 5000;
  EXPECT_EQ(store->DropIdleFeeds(), 0) << "it is being written";
  ASSERT_TRUE(store->AbortWrite({"f", "a"}).ok());
  store.now_ms += 1000;
  EXPECT_EQ(store->DropIdleFeeds(), 1);
  EXPECT_EQ(CodeOf(store->Find("f").status()), Code::kNotFound);
  EXPECT_EQ(store->DropIdleFeeds(), 0);
}

// ---- which rows a position confirms -----------------------------------------------------------

using plan::ShardPolicy;
using plan::UnevenShards;

// `order`: the full order of all rows, which places are of.
std::set<int64_t> Global(const feed::Snapshot& feed, const std::vector<proto::RowRange>& ranges,
                         const std::vector<int64_t>& order = {}) {
  std::map<int64_t, int64_t> starts;
  int64_t total = 0;
  for (const auto& p : feed.partitions) {
    starts[p->partition] = total;
    total += p->rows;
  }
  std::set<int64_t> rows;
  for (const auto& range : ranges) {
    for (int64_t row = range.row_begin; row < range.row_end; ++row) {
      const int64_t global =
          range.partition == feed::kPlaces ? order.at(row) : starts.at(range.partition) + row;
      EXPECT_TRUE(rows.insert(global).second) << "named twice";
    }
  }
  return rows;
}

proto::Position PositionOf(const feed::Snapshot& feed, int64_t epoch, int64_t cursor) {
  proto::Position position;
  position.format = plan::kPositionFormat;
  position.feed = feed.name;
  position.fingerprint = feed.fingerprint;
  position.num_shards = 1;
  position.policy = ShardPolicy::kStatic;
  position.uneven = UnevenShards::kJoin;
  position.epoch = epoch;
  position.cursor = cursor;
  return position;
}

// Nothing that a reader would still read from its position is ever confirmed; all is at the end.
TEST(ConfirmedRows, NeverHoldARowThatIsStillToCome) {
  TestStore store;
  constexpr int64_t kEpochs = 3;
  const auto feed = Write(store, {.epochs = kEpochs}, {700, 0, 1300, 1, 499});
  const auto rows = std::make_shared<const plan::FeedRows>(
      std::vector<plan::PartitionRows>{{0, 700}, {2, 1300}, {3, 1}, {4, 499}});
  std::mt19937 random(11);
  for (const auto policy :
       {ShardPolicy::kStatic, ShardPolicy::kStaticPartition, ShardPolicy::kOff}) {
    for (const auto uneven : {UnevenShards::kJoin, UnevenShards::kPad, UnevenShards::kDrop}) {
      for (const int64_t window : {0, 300, -1}) {
        for (const int64_t shards : {1, 3, 7}) {
          std::set<int64_t> all;
          for (int64_t i = 0; i < shards; ++i) {
            const plan::ShardRows shard(rows, {policy, uneven, i, shards});
            const plan::OrderSpec order{
                .shard = i, .num_shards = shards, .window = window, .seed = 5};
            auto position = PositionOf(*feed, 0, 0);
            position.policy = policy;
            position.uneven = uneven;
            position.shard = i;
            position.num_shards = shards;
            position.shuffle_window = window;
            position.seed = 5;
            std::set<int64_t> before;
            std::vector<int64_t> cursors = {0, shard.rows()};
            for (int k = 0; k < 6; ++k) cursors.push_back(random() % (shard.rows() + 1));
            std::ranges::sort(cursors);
            for (const int64_t epoch : {int64_t{0}, kEpochs - 1}) {
              const auto sequence = plan::EpochOrder(order, shard, epoch);
              for (const int64_t cursor : cursors) {
                position.epoch = epoch;
                position.cursor = cursor;
                const auto confirmed =
                    Global(*feed, server::ConfirmedRows(position, *feed).ValueOrDie(),
                           window == -1 && policy != ShardPolicy::kStaticPartition
                               ? plan::EpochOrder({.window = -1, .seed = 5}, 2500, epoch)
                               : std::vector<int64_t>{});
                if (epoch < kEpochs - 1) ASSERT_TRUE(confirmed.empty());
                for (size_t at = cursor; at < sequence.size(); ++at) {
                  ASSERT_FALSE(confirmed.contains(sequence[at]))
                      << "row " << sequence[at] << " comes at " << at << ", cursor " << cursor;
                }
                ASSERT_TRUE(std::ranges::includes(confirmed, before)) << "it only grows";
                before = confirmed;
              }
            }
            all.insert(before.begin(), before.end());
          }
          const bool unknown = policy == ShardPolicy::kOff && shards > 1;
          EXPECT_EQ(all.size(), unknown ? 0u : 2500u)
              << plan::NameOf(policy) << " " << plan::NameOf(uneven) << " " << shards;
        }
      }
    }
  }
}

TEST(ConfirmedRows, OfAnUnshuffledReaderAreThoseBeforeItsCursor) {
  TestStore store;
  const auto feed = Write(store, {.epochs = 1}, {10, 10});
  const auto confirmed = server::ConfirmedRows(PositionOf(*feed, 0, 13), *feed).ValueOrDie();
  const auto rows = Global(*feed, confirmed);
  EXPECT_EQ(rows.size(), 13u);
  EXPECT_EQ(*rows.rbegin(), 12);
}

TEST(ConfirmedRows, UnderDynamicAreTheCompletedSplits) {
  TestStore store;
  const auto feed = Write(store, {.epochs = 2}, {100, 50});
  const auto rows =
      std::make_shared<const plan::FeedRows>(std::vector<plan::PartitionRows>{{0, 100}, {1, 50}});
  const plan::SplitOrder order(rows, {.split_rows = 20, .shuffled = true, .seed = 9}, 1);
  auto position = PositionOf(*feed, 1, 0);
  position.policy = ShardPolicy::kDynamic;
  position.split_rows = 20;
  position.shuffle_window = -1;
  position.seed = 9;
  plan::SplitSet completed;
  std::set<int64_t> want;
  for (const int64_t split : {0, 3, 4}) {
    completed.Insert(split);
    for (int64_t row = order.Rows(split).begin; row < order.Rows(split).end; ++row) {
      want.insert(row);
    }
  }
  position.completed = completed.Encode();
  EXPECT_EQ(Global(*feed, server::ConfirmedRows(position, *feed).ValueOrDie()), want);
  position.epoch = 0;
  EXPECT_TRUE(server::ConfirmedRows(position, *feed).ValueOrDie().empty());
}

TEST(ConfirmedRows, RefuseWhatNoReaderSaves) {
  TestStore store;
  const auto feed = Write(store, {.epochs = 1}, {100});
  const auto expect = [&](auto change, Code code) {
    auto position = PositionOf(*feed, 0, 50);
    change(&position);
    EXPECT_EQ(CodeOf(server::ConfirmedRows(position, *feed).status()), code);
  };
  expect([](auto* p) { p->fingerprint ^= 1; }, Code::kPositionMismatch);
  expect([](auto* p) { p->num_shards = 0; }, Code::kInvalidArgument);
  expect([](auto* p) { p->shard = 1; }, Code::kInvalidArgument);
  expect([](auto* p) { p->shard = -1; }, Code::kInvalidArgument);
  expect([](auto* p) { p->cursor = 101; }, Code::kInvalidArgument);
  expect([](auto* p) { p->cursor = -1; }, Code::kInvalidArgument);
  expect([](auto* p) { p->shuffle_window = -2; }, Code::kInvalidArgument);
  expect(
      [](auto* p) {
        p->policy = ShardPolicy::kStaticPartition;
        p->num_shards = int64_t{1} << 40;
      },
      Code::kInvalidArgument);
  expect([](auto* p) { p->policy = ShardPolicy::kDynamic; }, Code::kInvalidArgument);
  expect(
      [](auto* p) {
        p->policy = ShardPolicy::kDynamic;
        p->split_rows = 10;
        p->completed = {0, 11};
      },
      Code::kInvalidArgument);
}

}  // namespace
}  // namespace flightbridge
