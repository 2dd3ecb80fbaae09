// Feeds that are visible while they are written.
#include <future>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::RowsOf;
using testing::TestStore;
using Mode = proto::WriteMode;

void ExpectError(const arrow::Status& status, Code code, const std::vector<std::string>& words) {
  EXPECT_EQ(CodeOf(status), code) << status;
  for (const std::string& word : words) {
    EXPECT_NE(status.message().find(word), std::string::npos) << word << " in: " << status;
  }
}

arrow::Result<proto::BeginWriteResult> BeginStream(const TestStore& store, const std::string& feed,
                                                   const std::string& job,
                                                   Mode mode = Mode::kErrorIfExists) {
  proto::BeginWrite begin;
  begin.feed = feed;
  begin.job_id = job;
  begin.mode = mode;
  begin.schema = EncodeSchema(*Numbered(0, 1)->schema()).ValueOrDie();
  begin.visible = proto::Visibility::kPartition;
  return store->BeginWrite(begin);
}

TEST(StreamFeed, PartitionsAreVisibleOneByOneAndSealedByTheCommit) {
  TestStore store;
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  const auto empty = store->Find("f").ValueOrDie();
  EXPECT_TRUE(empty->open);
  EXPECT_EQ(empty->partitions.size(), 0u);
  const auto p1 = store.Put("f", "j", 1, 7, {Numbered(10, 5)}).ValueOrDie();
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()), (std::vector<int64_t>{10, 11, 12, 13, 14}));
  const auto p0 = store.Put("f", "j", 0, 8, {Numbered(0, 2)}).ValueOrDie();
  const auto open = store->Find("f").ValueOrDie();
  EXPECT_EQ(open->Info().state, proto::FeedState::kOpen);
  EXPECT_EQ(open->rows, 7);
  EXPECT_EQ(RowsOf(*open).front(), 0) << "by partition number";
  EXPECT_EQ(store->Describe("f")->partitions.size(), 2u);
  const auto done = store->CommitWrite({"f", "j", {p0, p1}}).ValueOrDie();
  EXPECT_EQ(done.feed->state, proto::FeedState::kCommitted);
  EXPECT_EQ(done.feed->feed_id, open->feed_id) << "tickets stay good";
  EXPECT_EQ(done.feed->fingerprint, open->fingerprint);
  EXPECT_GT(done.feed->generation, open->generation());
  EXPECT_TRUE(store->CommitWrite({"f", "j", {p0, p1}})->already_committed);
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 7u);
}

TEST(StreamFeed, FirstAttemptWinsAndAnEqualOneCountsAsIt) {
  TestStore store;
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 5)}).ok());
  const int64_t used = store->budget().used_bytes();
  ExpectError(store.Put("f", "j", 0, 2, {Numbered(100, 5)}).status(), Code::kFailedPrecondition,
              {"partition 0", "attempt 2", "attempt 1", "visible=job"});
  const auto twin = store.Put("f", "j", 0, 3, {Numbered(0, 5)}).ValueOrDie();
  EXPECT_EQ(store->budget().used_bytes(), used) << "losers are not kept";
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 5u);
  EXPECT_TRUE(store->CommitWrite({"f", "j", {twin}}).ok());
}

TEST(StreamFeed, CommitMustNameExactlyWhatIsVisible) {
  TestStore store;
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  const auto p0 = store.Put("f", "j", 0, 1, {Numbered(0, 5)}).ValueOrDie();
  const auto p4 = store.Put("f", "j", 4, 2, {Numbered(5, 5)}).ValueOrDie();
  ExpectError(store->CommitWrite({"f", "j", {p0}}).status(), Code::kFailedPrecondition,
              {"'f'", "partition 4", "not named"});
  ExpectError(store->CommitWrite({"f", "j", {p0, p4, {9, 1, 1, 1, 1}}}).status(),
              Code::kFailedPrecondition, {"partition 9", "never staged"});
  auto wrong = p4;
  wrong.rows = 6;
  ExpectError(store->CommitWrite({"f", "j", {p0, wrong}}).status(), Code::kFailedPrecondition,
              {"partition 4", "another content"});
  EXPECT_TRUE(store->CommitWrite({"f", "j", {p4, p0}}).ok()) << "a refused one can be corrected";
}

TEST(StreamFeed, AbortAndExpiryKeepNothingAndSaySo) {
  TestStore store;
  for (const bool expires : {false, true}) {
    ASSERT_TRUE(BeginStream(store, "f", "j").ok());
    ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 5)}).ok());
    if (expires) {
      store.now_ms += 10'000'000;
      EXPECT_EQ(store->SweepOrphans(), 1);
    } else {
      ASSERT_TRUE(store->AbortWrite({"f", "j"}).ok());
    }
    ExpectError(store->Find("f").status(), Code::kFailedPrecondition,
                {"'f'", "'j'", expires ? "expired" : "aborted", "nothing"});
    EXPECT_EQ(store->budget().used_bytes(), 0);
  }
  store.Write("f", {Batches{Numbered(0, 3)}});
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 3) << "a new write is a new life";
}

TEST(StreamFeed, NobodyElseWritesAFeedThatIsOpen) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "early", Numbered(0, 1)->schema()).ok());
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  EXPECT_TRUE(BeginStream(store, "f", "j").ok()) << "idempotent";
  ExpectError(BeginStream(store, "f", "k").status(), Code::kAlreadyExists, {"'f'", "'j'"});
  ExpectError(store.Begin("f", "k", Numbered(0, 1)->schema(), Mode::kOverwrite).status(),
              Code::kAlreadyExists, {"'j'"});
  ExpectError(store->CommitWrite({"f", "early", {}}).status(), Code::kAlreadyExists, {"'j'"});
  ExpectError(store.Begin("f", "j", Numbered(0, 1)->schema()).status(), Code::kInvalidArgument,
              {"visible=partition"});
  ExpectError(BeginStream(store, "g", "k", Mode::kOverwrite).status(), Code::kInvalidArgument,
              {"visible=partition", "overwrite"});
  store.Write("h", {Batches{Numbered(0, 3)}});
  ExpectError(BeginStream(store, "h", "k").status(), Code::kAlreadyExists, {"'h'"});
  EXPECT_TRUE(BeginStream(store, "h", "k", Mode::kIgnore)->skip);
}

TEST(StreamFeed, ReaderWaitsForMore) {
  TestStore store;
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  const auto before = store->Describe("f").ValueOrDie();
  const std::chrono::minutes long_enough(10);
  auto more = std::async(std::launch::async,
                         [&] { return store->WaitForChange("f", before.generation, long_enough); });
  const auto p0 = store.Put("f", "j", 0, 1, {Numbered(0, 5)}).ValueOrDie();
  const auto grown = more.get().ValueOrDie();
  EXPECT_EQ(grown.rows, 5);
  EXPECT_NE(grown.generation, before.generation);
  EXPECT_EQ(store->WaitForChange("f", grown.generation, std::chrono::milliseconds(1))->generation,
            grown.generation)
      << "nothing new: the feed as it is";
  auto sealed = std::async(
      std::launch::async, [&] { return store->WaitForChange("f", grown.generation, long_enough); });
  ASSERT_TRUE(store->CommitWrite({"f", "j", {p0}}).ok());
  EXPECT_EQ(sealed.get()->state, proto::FeedState::kCommitted);
  EXPECT_EQ(store->WaitForChange("f", 0, long_enough)->state, proto::FeedState::kCommitted);
  ExpectError(store->WaitForChange("none", 0, long_enough).status(), Code::kNotFound, {"'none'"});
}

TEST(StreamFeed, WaitingReaderHearsOfTheAbortAndOfTheStop) {
  TestStore store;
  const std::chrono::minutes long_enough(10);
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  auto aborted =
      std::async(std::launch::async, [&] { return store->WaitForChange("f", 0, long_enough); });
  ASSERT_TRUE(store->AbortWrite({"f", "j"}).ok());
  ExpectError(aborted.get().status(), Code::kFailedPrecondition, {"'j'", "aborted"});
  ASSERT_TRUE(BeginStream(store, "g", "j").ok());
  auto stopped =
      std::async(std::launch::async, [&] { return store->WaitForChange("g", 0, long_enough); });
  store->StopWaiting();
  ExpectError(stopped.get().status(), Code::kUnavailable, {"'g'", "stopping"});
}

TEST(StreamFeed, RestartKeepsWhatReadersSaw) {
  testing::TempDir dir;
  TestStore store(64 << 20, dir.path());
  ASSERT_TRUE(BeginStream(store, "f", "j").ok());
  const auto p0 = store.Put("f", "j", 0, 1, {Numbered(0, 5)}).ValueOrDie();
  const auto before = store->Find("f").ValueOrDie()->Info();
  store.Reopen();
  EXPECT_EQ(store->Find("f").ValueOrDie()->Info(), before);
  const auto p1 = store.Put("f", "j", 1, 2, {Numbered(5, 5)}).ValueOrDie();
  const auto twin = store.Put("f", "j", 0, 9, {Numbered(0, 5)}).ValueOrDie();
  ASSERT_TRUE(store->CommitWrite({"f", "j", {twin, p1}}).ok());
  store.Reopen();
  const auto after = store->Find("f").ValueOrDie();
  EXPECT_FALSE(after->open);
  EXPECT_EQ(after->feed_id, before.feed_id);
  EXPECT_EQ(RowsOf(*after).size(), 10u);
  EXPECT_EQ(p0.crc32c, twin.crc32c);
}

}  // namespace
}  // namespace flightbridge::feed
