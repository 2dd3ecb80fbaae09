// What readers confirm of a feed that is visible while it is written: kept, and released with the
// commit.
#include <functional>

#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"
#include "plan/position.h"
#include "server/confirm_internal.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::RowsOf;
using testing::TempDir;
using testing::TestStore;

void Begin(const TestStore& store) {
  proto::BeginWrite begin;
  begin.feed = "f";
  begin.job_id = "j";
  begin.mode = proto::WriteMode::kErrorIfExists;
  begin.schema = EncodeSchema(*Numbered(0, 1)->schema()).ValueOrDie();
  begin.visible = proto::Visibility::kPartition;
  begin.retention = proto::Retention{.epochs = 1};
  const auto begun = store->BeginWrite(begin);
  ASSERT_TRUE(begun.ok()) << begun.status();
}

proto::Position PositionOf(const Snapshot& feed, int64_t generation, int64_t cursor) {
  proto::Position position;
  position.format = plan::kPositionFormat;
  position.feed = feed.name;
  position.schema_hash = feed.schema_hash;
  position.policy = proto::ShardPolicy::kStatic;
  position.uneven = proto::UnevenShards::kJoin;
  position.num_shards = 1;
  position.generation = generation;
  position.fingerprint = feed.generations.at(generation).fingerprint;
  position.cursor = cursor;
  return position;
}

// As the server does it for a reader that follows the feed.
arrow::Result<proto::ConfirmPositionResult> Confirm(
    const TestStore& store, int64_t generation, int64_t cursor,
    const std::function<void(proto::Position*)>& change = [](auto*) {}) {
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, store->Find("f"));
  proto::Position position = PositionOf(*snapshot, generation, cursor);
  position.follow = true;
  change(&position);
  ARROW_ASSIGN_OR_RAISE(const auto rows, server::ConfirmedRows(position, *snapshot));
  return store->Confirm("f", snapshot->feed_id, rows);
}

// Writes and drops feeds until the journal has been compacted: schemas of half a MiB.
void Compact(TestStore* store) {
  const auto batch = Numbered(0, 1)->ReplaceSchemaMetadata(
      arrow::key_value_metadata({"words"}, {std::string(500'000, 'x')}));
  for (int i = 0; i < 4; ++i) {
    const std::string name = "g" + std::to_string(i);
    store->Write(name, {Batches{batch}});
    ASSERT_TRUE((*store)->DropFeed({name}).ok());
  }
}

TEST(OpenRetention, WhatIsConfirmedIsKeptAndReleasedWithTheCommit) {
  for (const bool full_order : {false, true}) {
    const auto order = [&](proto::Position* p) { p->shuffle_window = full_order ? -1 : 0; };
    TempDir dir;
    TestStore store(64 << 20, dir.path());
    Begin(store);
    auto p4 = store.Put("f", "j", 4, 1, {Numbered(0, 20)}).ValueOrDie();
    const auto p1 = store.Put("f", "j", 1, 1, {Numbered(20, 10)}).ValueOrDie();
    EXPECT_EQ(Confirm(store, 1, 13, order)->confirmed_rows, 13);
    EXPECT_EQ(Confirm(store, 2, 4, order)->confirmed_rows, 24) << "all of the one before";
    const auto again = Confirm(store, 1, 13, order).ValueOrDie();
    EXPECT_EQ(again.confirmed_rows, 24) << "an earlier one changes nothing";
    EXPECT_EQ(again.released_partitions, 0) << "the job may be aborted, or send it again";
    for (const std::string what : {"", "restarted", "compacted", "restarted from that"}) {
      if (what.starts_with("restarted")) store.Reopen();
      if (what == "compacted") Compact(&store);
      EXPECT_EQ(store->Describe("f")->confirmed_rows, 24) << what;
      EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 30u) << what;
    }
    p4 = store.Put("f", "j", 4, 2, {Numbered(0, 20)}).ValueOrDie();
    const auto p7 = store.Put("f", "j", 7, 1, {Numbered(30, 5)}).ValueOrDie();
    EXPECT_EQ(store->Describe("f")->confirmed_rows, 24) << "of what came since, nothing";
    const auto done = store->CommitWrite({"f", "j", {p1, p4, p7}});
    ASSERT_TRUE(done.ok()) << done.status();
    for (const bool restarted : {false, true}) {
      if (restarted) store.Reopen();
      const auto info = store->Describe("f").ValueOrDie();
      // Places count where they are more than the rows that are known.
      EXPECT_EQ(info.confirmed_rows, full_order ? 20 : 24);
      std::vector<int64_t> released;
      for (const auto& p : info.partitions) {
        if (p.released) released.push_back(p.partition);
      }
      EXPECT_EQ(released, std::vector<int64_t>{4}) << restarted;
      EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 15u);
    }
    EXPECT_EQ(Confirm(store, 3, 5, order)->released_partitions, 3) << "and on as ever";
  }
}

TEST(OpenRetention, AnAbortTakesItBack) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  for (const bool expires : {false, true}) {
    Begin(store);
    ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 20)}).ok());
    ASSERT_EQ(Confirm(store, 1, 20)->confirmed_rows, 20);
    const uint64_t id = store->Find("f").ValueOrDie()->feed_id;
    if (expires) {
      store.now_ms += 10'000'000;
      EXPECT_EQ(store->SweepOrphans(), 1);
    } else {
      ASSERT_TRUE(store->AbortWrite({"f", "j"}).ok());
    }
    const auto late = store->Confirm("f", id, {{0, 0, 20}});
    EXPECT_EQ(CodeOf(late.status()), Code::kFailedPrecondition) << late.status();
    EXPECT_NE(late.status().message().find("'j'"), std::string::npos) << late.status();
    EXPECT_EQ(store->disk_budget().used_bytes(), 0);
    store.Reopen();
  }
  Begin(store);
  ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 20)}).ok());
  EXPECT_EQ(store->Describe("f")->confirmed_rows, 0) << "another feed";
}

// Its places are of an order of those rows that were there, which is another once there are more.
TEST(OpenRetention, AFullOrderOfSeveralGenerationsConfirmsNothingWhileMoreMayCome) {
  TestStore store;
  Begin(store);
  ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 20)}).ok());
  ASSERT_TRUE(store.Put("f", "j", 1, 1, {Numbered(20, 20)}).ok());
  for (const bool of_the_whole : {false, true}) {
    const auto confirmed = Confirm(store, 2, 40, [&](proto::Position* p) {
      p->follow = false;
      p->shuffle_window = -1;
      if (of_the_whole) p->fingerprint = store->Find("f").ValueOrDie()->fingerprint;
    });
    ASSERT_TRUE(confirmed.ok()) << confirmed.status();
    EXPECT_EQ(confirmed->confirmed_rows, 0);
  }
}

}  // namespace
}  // namespace flightbridge::feed
