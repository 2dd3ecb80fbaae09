// Feeds of mode STREAM: a generation by every commit, until the feed is ended.
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
using testing::TempDir;
using testing::TestStore;
using Mode = proto::WriteMode;
using Epoch = std::optional<proto::WriterEpoch>;

void ExpectError(const arrow::Status& status, Code code, const std::vector<std::string>& words) {
  EXPECT_EQ(CodeOf(status), code) << status;
  for (const std::string& word : words) {
    EXPECT_NE(status.message().find(word), std::string::npos) << word << " in: " << status;
  }
}

proto::BeginWrite StreamOf(const std::string& feed, const std::string& job,
                           const Epoch& epoch = std::nullopt) {
  proto::BeginWrite begin;
  begin.feed = feed;
  begin.job_id = job;
  begin.mode = Mode::kStream;
  begin.schema = EncodeSchema(*Numbered(0, 1)->schema()).ValueOrDie();
  begin.epoch = epoch;
  return begin;
}

proto::CommitWrite CommitOf(const std::string& feed, const std::string& job,
                            std::vector<proto::AttemptRef> attempts, const Epoch& epoch) {
  proto::CommitWrite commit{feed, job, std::move(attempts)};
  commit.epoch = epoch;
  return commit;
}

// One generation with a partition for each element; the answer to its commit.
proto::FeedInfo Add(const TestStore& store, const std::string& feed, const std::string& job,
                    const std::vector<Batches>& partitions, const Epoch& epoch = std::nullopt) {
  const auto begun = store->BeginWrite(StreamOf(feed, job, epoch));
  EXPECT_TRUE(begun.ok()) << begun.status();
  std::vector<proto::AttemptRef> refs;
  for (size_t i = 0; i < partitions.size(); ++i) {
    refs.push_back(store.Put(feed, job, static_cast<int64_t>(i), 100, partitions[i]).ValueOrDie());
  }
  const auto done = store->CommitWrite(CommitOf(feed, job, refs, epoch));
  EXPECT_TRUE(done.ok()) << done.status();
  EXPECT_FALSE(done->already_committed);
  return *done->feed;
}

TEST(Generations, EachCommitIsOneAndTheFeedStaysOpenUntilItIsEnded) {
  TestStore store;
  ASSERT_TRUE(store->BeginWrite(StreamOf("f", "a")).ok());
  const auto empty = store->Describe("f").ValueOrDie();
  EXPECT_EQ(empty.state, proto::FeedState::kOpen);
  EXPECT_EQ(empty.rows, 0);
  ASSERT_EQ(empty.generations.size(), 1u);
  const auto p1 = store.Put("f", "a", 1, 7, {Numbered(10, 5)}).ValueOrDie();
  const auto p0 = store.Put("f", "a", 0, 8, {Numbered(0, 2)}).ValueOrDie();
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 0) << "nothing before the commit";
  const auto first = *store->CommitWrite({"f", "a", {p1, p0}})->feed;
  EXPECT_EQ(first.generations.back().rows, 7);
  const auto second = Add(store, "f", "b", {{Numbered(20, 3)}});
  ASSERT_EQ(second.generations.size(), 2u) << "that of the job, and the one before it";
  EXPECT_EQ(second.generations[0], first.generations.back());
  EXPECT_EQ(second.generations[1].generation, 2);
  ASSERT_EQ(second.partitions.size(), 1u);
  EXPECT_EQ(second.partitions[0].partition, 2) << "the feed's next number";
  EXPECT_EQ(second.partitions[0].generation, 2);
  EXPECT_EQ(second.fingerprint, second.generations[1].fingerprint);
  const auto open = store->Find("f").ValueOrDie();
  EXPECT_TRUE(open->open);
  EXPECT_EQ(RowsOf(*open), (std::vector<int64_t>{0, 1, 10, 11, 12, 13, 14, 20, 21, 22}));
  const auto ended = store->EndFeed({"f"}).ValueOrDie();
  EXPECT_EQ(ended.state, proto::FeedState::kCommitted);
  EXPECT_EQ(ended.feed_id, empty.feed_id) << "tickets stay good";
  EXPECT_EQ(ended.fingerprint, second.fingerprint);
  EXPECT_EQ(ended.generations.size(), 3u);
  EXPECT_EQ(store->EndFeed({"f"}).ValueOrDie(), ended) << "idempotent";
  ExpectError(store->BeginWrite(StreamOf("f", "c")).status(), Code::kFailedPrecondition,
              {"'f'", "ended after generation 2"});
}

TEST(Generations, DescribeListsWhatCameBehindOne) {
  TestStore store;
  for (int i = 0; i < 4; ++i) Add(store, "f", std::to_string(i), {{Numbered(i * 10, i + 1)}});
  const auto all = store->Describe("f").ValueOrDie();
  ASSERT_EQ(all.generations.size(), 5u);
  EXPECT_EQ(all.generation, 4);
  const auto late = store->Describe("f", 3).ValueOrDie();
  ASSERT_EQ(late.generations.size(), 2u);
  EXPECT_EQ(late.generations[0], all.generations[3]);
  ASSERT_EQ(late.partitions.size(), 1u);
  EXPECT_EQ(late.partitions[0], all.partitions[3]);
  EXPECT_EQ(late.rows, 10) << "of the feed";
  EXPECT_EQ(store->Describe("f", 4)->generations.size(), 1u);
  EXPECT_TRUE(store->Describe("f", 4)->partitions.empty());
  EXPECT_TRUE(store->Describe("f", 5)->generations.empty()) << "no reader of this feed was there";
}

TEST(Generations, FingerprintsAreChained) {
  TestStore store;
  for (const std::string feed : {"f", "same", "other"}) {
    Add(store, feed, "1", {{Numbered(feed == "other" ? 50 : 0, 5)}});
    Add(store, feed, "2", {{Numbered(5, 5)}});
  }
  const auto f = store->Describe("f").ValueOrDie().generations;
  EXPECT_EQ(store->Describe("same")->generations, f);
  const auto other = store->Describe("other").ValueOrDie().generations;
  EXPECT_EQ(other[0], f[0]) << "of the schema alone";
  EXPECT_NE(other[2].fingerprint, f[2].fingerprint) << "covers what came before it";
}

TEST(Generations, EpochsThatWereCommittedAreReplays) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const Epoch five = proto::WriterEpoch{"query", 5};
  Add(store, "f", "run1-5", {{Numbered(0, 5)}}, five);
  for (const bool restarted : {false, true}) {
    if (restarted) store.Reopen();
    EXPECT_TRUE(store->BeginWrite(StreamOf("f", "run2-5", five))->already_committed);
    EXPECT_TRUE(store->BeginWrite(StreamOf("f", "run2-3", proto::WriterEpoch{"query", 3}))
                    ->already_committed);
    const auto unknown = store->CommitWrite(CommitOf("f", "run2-5", {}, five)).ValueOrDie();
    EXPECT_TRUE(unknown.already_committed) << "of a job that nobody knows";
    EXPECT_EQ(unknown.feed->generations.back().generation, 1);
    const auto same = store->CommitWrite(CommitOf("f", "run1-5", {}, five)).ValueOrDie();
    EXPECT_TRUE(same.already_committed);
    EXPECT_EQ(same.feed->generations.size(), 2u);
    ExpectError(
        store->CommitWrite(CommitOf("f", "never", {}, proto::WriterEpoch{"query", 6})).status(),
        Code::kFailedPrecondition, {"'never'", "not open"});
    EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 5);
  }
  Add(store, "f", "run2-6", {}, proto::WriterEpoch{"query", 6});
  EXPECT_EQ(store->Describe("f")->generations.size(), 2u) << "an epoch without rows is none";
  Add(store, "f", "other-0", {{Numbered(5, 5)}}, proto::WriterEpoch{"other", 0});
  store.Reopen();
  EXPECT_EQ(store->Describe("f")->writers,
            (std::vector<proto::WriterEpoch>{{"other", 0}, {"query", 6}}));
  ASSERT_TRUE(store->EndFeed({"f"}).ok());
  EXPECT_TRUE(store->BeginWrite(StreamOf("f", "x", five))->already_committed) << "ended or not";
  ExpectError(store->BeginWrite(StreamOf("f", "x", proto::WriterEpoch{"query", 7})).status(),
              Code::kFailedPrecondition, {"ended"});
}

TEST(Generations, OfTwoJobsOfOneEpochTheFirstCommitWins) {
  for (const bool restarted : {false, true}) {
    TempDir dir;
    TestStore store(64 << 20, dir.path());
    const Epoch zero = proto::WriterEpoch{"query", 0};
    ASSERT_TRUE(store->BeginWrite(StreamOf("f", "killed", zero)).ok());
    const auto lost = store.Put("f", "killed", 0, 1, {Numbered(0, 5)}).ValueOrDie();
    if (restarted) store.Reopen();
    ASSERT_FALSE(store->BeginWrite(StreamOf("f", "again", zero))->already_committed);
    const auto kept = store.Put("f", "again", 0, 1, {Numbered(0, 5)}).ValueOrDie();
    EXPECT_FALSE(store->CommitWrite(CommitOf("f", "again", {kept}, zero))->already_committed);
    const auto late = store->CommitWrite(CommitOf("f", "killed", {lost}, std::nullopt));
    EXPECT_TRUE(late->already_committed) << "its begin said the epoch";
    EXPECT_EQ(store->Describe("f")->open_jobs, 0) << "what it staged is dropped";
    EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 5u);
    store.Reopen();
    EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 5u);
    ASSERT_TRUE(store->DropFeed({"f", false}).ok());
    EXPECT_EQ(store->budget().used_bytes(), 0);
  }
}

TEST(Generations, RestartAndCompactionKeepAll) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  auto begin = StreamOf("f", "open", proto::WriterEpoch{"b", 9});
  ASSERT_TRUE(store->BeginWrite(begin).ok());
  const auto staged = store.Put("f", "open", 0, 3, {Numbered(900, 2)}).ValueOrDie();
  for (int i = 0; i < 5; ++i) {
    Add(store, "f", "a" + std::to_string(i), {{Numbered(i * 10, 4)}, {Numbered(i * 10 + 4, 6)}},
        proto::WriterEpoch{"a", i});
  }
  Add(store, "ended", "e", {{Numbered(0, 3)}});
  ASSERT_TRUE(store->EndFeed({"ended"}).ok());
  ASSERT_TRUE(store->BeginWrite(StreamOf("empty", "n")).ok());
  const std::vector<std::string> names{"f", "ended", "empty"};
  std::vector<proto::FeedInfo> before;
  for (const auto& name : names) before.push_back(store->Describe(name).ValueOrDie());
  const auto expect_same = [&](const char* when) {
    for (size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(store->Describe(names[i]).ValueOrDie(), before[i]) << names[i] << ' ' << when;
    }
  };
  store.Reopen();
  expect_same("after a restart");
  // Writes until the journal was written anew: it is smaller than before.
  const auto journal = std::filesystem::path(dir.path()) / "journal";
  const auto bytes = [&] {
    uintmax_t sum = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path())) {
      if (entry.is_regular_file() && entry.path().string().starts_with(journal.string())) {
        sum += entry.file_size();
      }
    }
    return sum;
  };
  uintmax_t largest = 0;
  for (int i = 0; bytes() >= largest; ++i) {
    largest = bytes();
    ASSERT_LT(i, 100'000) << "the journal is never compacted";
    store.Write("scratch", {Batches{Numbered(0, 1)}}, Mode::kOverwrite);
  }
  expect_same("after a compaction");
  store.Reopen();
  expect_same("after a compaction and a restart");
  const auto done = store->CommitWrite({"f", "open", {staged}});
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->feed->generations.back().generation, 6);
  EXPECT_TRUE(store->CommitWrite({"f", "a4", {}})->already_committed);
  EXPECT_TRUE(store->BeginWrite(StreamOf("f", "x", proto::WriterEpoch{"a", 4}))->already_committed);
  store.Reopen();
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 52u);
}

TEST(Generations, EndDropAndOverwriteEndTheJobs) {
  enum What { kEnd, kDrop, kOverwrite };
  for (const What what : {kEnd, kDrop, kOverwrite}) {
    TempDir dir;
    TestStore store(64 << 20, dir.path());
    Add(store, "f", "a", {{Numbered(0, 5)}});
    ASSERT_TRUE(store->BeginWrite(StreamOf("f", "open")).ok());
    const auto staged = store.Put("f", "open", 0, 1, {Numbered(5, 5)}).ValueOrDie();
    auto writer =
        store->OpenAttempt({"f", "open", 1, 1}, Numbered(0, 1)->schema()).MoveValueUnsafe();
    if (what == kEnd) ASSERT_TRUE(store->EndFeed({"f"}).ok());
    if (what == kDrop) ASSERT_TRUE(store->DropFeed({"f", false}).ok());
    if (what == kOverwrite) store.Write("f", {Batches{Numbered(70, 1)}}, Mode::kOverwrite);
    auto late = writer->Append(*Numbered(0, 1), std::nullopt);
    if (late.ok()) late = writer->Finish(std::nullopt).status();
    ExpectError(late, Code::kFailedPrecondition, {"'open'", "its feed"});
    writer.reset();
    for (const bool restarted : {false, true}) {
      if (restarted) store.Reopen();
      ExpectError(store->CommitWrite({"f", "open", {staged}}).status(), Code::kFailedPrecondition,
                  {"'open'", "not open"});
      const auto found = store->Find("f");
      EXPECT_EQ(found.ok(), what != kDrop);
      if (found.ok()) {
        EXPECT_EQ((*found)->rows, what == kEnd ? 5 : 1);
        EXPECT_EQ(store->Describe("f")->open_jobs, 0);
        EXPECT_EQ((*found)->streaming, what == kEnd);
      }
    }
    if (what != kDrop) ASSERT_TRUE(store->DropFeed({"f", false}).ok());
    EXPECT_EQ(store->budget().used_bytes(), 0);
    EXPECT_EQ(Add(store, "f", "anew", {{Numbered(0, 2)}}).generations.back().generation, 1);
  }
}

TEST(Generations, AnAbortedJobLeavesTheFeed) {
  TestStore store;
  ASSERT_TRUE(store->BeginWrite(StreamOf("f", "a")).ok());
  ASSERT_TRUE(store.Put("f", "a", 0, 1, {Numbered(0, 5)}).ok());
  ASSERT_TRUE(store->AbortWrite({"f", "a"}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0);
  EXPECT_TRUE(store->Find("f").ValueOrDie()->open);
  EXPECT_EQ(Add(store, "f", "b", {{Numbered(0, 5)}}).generations.back().generation, 1);
}

TEST(Generations, RequestsThatMakeNoSenseAreRefused) {
  TestStore store;
  auto begin = StreamOf("f", "a");
  begin.visible = proto::Visibility::kPartition;
  ExpectError(store->BeginWrite(begin).status(), Code::kInvalidArgument, {"visible=partition"});
  ExpectError(store->BeginWrite(StreamOf("f", "a", proto::WriterEpoch{"", 1})).status(),
              Code::kInvalidArgument, {"writer"});
  ExpectError(store->BeginWrite(StreamOf("f", "a", proto::WriterEpoch{"q", -1})).status(),
              Code::kInvalidArgument, {"epoch -1"});
  begin = StreamOf("f", "a", proto::WriterEpoch{"q", 1});
  begin.mode = Mode::kAppend;
  ExpectError(store->BeginWrite(begin).status(), Code::kInvalidArgument, {"append", "epoch"});
  store.Write("plain", {Batches{Numbered(0, 3)}});
  ExpectError(store->BeginWrite(StreamOf("plain", "a")).status(), Code::kAlreadyExists,
              {"'plain'", "mode stream"});
  ExpectError(store->EndFeed({"plain"}).status(), Code::kFailedPrecondition, {"mode stream"});
  ExpectError(store->EndFeed({"none"}).status(), Code::kNotFound, {"'none'"});
  Add(store, "f", "a", {{Numbered(0, 3)}});
  ExpectError(store.Begin("f", "x", Numbered(0, 1)->schema(), Mode::kAppend).status(),
              Code::kFailedPrecondition, {"append", "mode stream"});
  ExpectError(store.Begin("f", "x", Numbered(0, 1)->schema()).status(), Code::kAlreadyExists,
              {"'f'"});
  begin = StreamOf("f", "x");
  begin.schema = EncodeSchema(*arrow::schema({arrow::field("y", arrow::utf8())})).ValueOrDie();
  ExpectError(store->BeginWrite(begin).status(), Code::kSchemaMismatch, {"'f'"});
  begin = StreamOf("f", "x");
  begin.retention = proto::Retention{.epochs = 1};
  ExpectError(store->BeginWrite(begin).status(), Code::kFailedPrecondition, {"retention"});
  ASSERT_TRUE(store->BeginWrite(StreamOf("f", "x", proto::WriterEpoch{"q", 1})).ok());
  ExpectError(store->BeginWrite(StreamOf("f", "x", proto::WriterEpoch{"q", 2})).status(),
              Code::kInvalidArgument, {"another epoch"});
  ExpectError(store->CommitWrite(CommitOf("f", "x", {}, proto::WriterEpoch{"q", 2})).status(),
              Code::kInvalidArgument, {"another epoch"});
}

TEST(Generations, WritersAreCounted) {
  TestStore store;
  for (int i = 0; i < 1000; ++i) {
    Add(store, "f", std::to_string(i), {}, proto::WriterEpoch{"w" + std::to_string(i), 0});
  }
  ExpectError(store->BeginWrite(StreamOf("f", "x", proto::WriterEpoch{"one more", 0})).status(),
              Code::kResourceExhausted, {"1000", "writers"});
  Add(store, "f", "y", {}, proto::WriterEpoch{"w7", 1});
}

TEST(Generations, AReaderWaitsForTheNextAndForTheEnd) {
  TestStore store;
  Add(store, "f", "a", {{Numbered(0, 5)}});
  const std::chrono::minutes long_enough(10);
  auto next =
      std::async(std::launch::async, [&] { return store->WaitForChange("f", 1, long_enough, 1); });
  Add(store, "f", "b", {{Numbered(5, 5)}});
  const auto grown = next.get().ValueOrDie();
  EXPECT_EQ(grown.generation, 2);
  EXPECT_EQ(grown.generations.size(), 2u);
  auto end =
      std::async(std::launch::async, [&] { return store->WaitForChange("f", 2, long_enough, 2); });
  ASSERT_TRUE(store->EndFeed({"f"}).ok());
  EXPECT_EQ(end.get()->state, proto::FeedState::kCommitted);
}

TEST(Generations, ConfirmedPartitionsAreReleasedAndTheChainStays) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  auto begin = StreamOf("f", "a");
  begin.retention = proto::Retention{.epochs = 1};
  ASSERT_TRUE(store->BeginWrite(begin).ok());
  const auto ref = store.Put("f", "a", 0, 1, {Numbered(0, 5)}).ValueOrDie();
  const auto first = *store->CommitWrite({"f", "a", {ref}})->feed;
  const auto confirmed = store->Confirm("f", first.feed_id, {{.partition = 0, .row_end = 5}});
  EXPECT_EQ(confirmed->released_partitions, 1);
  Add(store, "f", "b", {{Numbered(5, 5)}});
  const auto before = store->Describe("f").ValueOrDie();
  EXPECT_EQ(before.generations[1], first.generations[1]);
  store.Reopen();
  EXPECT_EQ(store->Describe("f").ValueOrDie(), before);
  EXPECT_TRUE(before.partitions[0].released);
}

TEST(Generations, APartiallyVisibleFeedHasOneForEachPartition) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  auto begin = StreamOf("f", "j");
  begin.mode = Mode::kErrorIfExists;
  begin.visible = proto::Visibility::kPartition;
  ASSERT_TRUE(store->BeginWrite(begin).ok());
  const auto p3 = store.Put("f", "j", 3, 1, {Numbered(0, 5)}).ValueOrDie();
  const auto p1 = store.Put("f", "j", 1, 2, {Numbered(5, 4)}).ValueOrDie();
  const auto open = store->Describe("f").ValueOrDie();
  ASSERT_EQ(open.generations.size(), 3u);
  EXPECT_EQ(open.generations[1].rows, 5) << "in the order in which they became visible";
  EXPECT_EQ(open.generation, 2);
  store.Reopen();
  EXPECT_EQ(store->Describe("f")->generations, open.generations);
  ASSERT_TRUE(store->CommitWrite({"f", "j", {p1, p3}}).ok());
  const auto sealed = store->Describe("f").ValueOrDie();
  EXPECT_EQ(sealed.generations, open.generations) << "they stay";
  EXPECT_EQ(sealed.generation, 3);
  store.Reopen();
  EXPECT_EQ(store->Describe("f").ValueOrDie(), sealed);
  store.Write("f", {Batches{Numbered(9, 1)}}, Mode::kAppend);
  EXPECT_TRUE(store->Describe("f")->generations.empty()) << "another feed by now";
  EXPECT_EQ(store->Describe("f")->partitions[0].generation, 0);
}

}  // namespace
}  // namespace flightbridge::feed
