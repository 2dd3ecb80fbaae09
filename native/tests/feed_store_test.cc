// The rules of write jobs: what is visible when, and how refusals read.
#include "feed/feed_store.h"

#include <atomic>
#include <functional>
#include <future>
#include <set>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/local_registry.h"
#include "segment/checksum.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::RowsOf;
using testing::TestStore;
using Mode = proto::WriteMode;

std::shared_ptr<arrow::Schema> NumberedSchema() { return Numbered(0, 1)->schema(); }

void ExpectError(const arrow::Status& status, Code code, const std::vector<std::string>& words) {
  EXPECT_EQ(CodeOf(status), code) << status;
  for (const std::string& word : words) {
    EXPECT_NE(status.message().find(word), std::string::npos) << word << " in: " << status;
  }
}

TEST(FeedStore, StagedDataIsInvisibleUntilTheCommit) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto ref = store.Put("f", "j", 0, 7, {Numbered(0, 10)}).ValueOrDie();
  ExpectError(store->Find("f").status(), Code::kNotFound, {"'f'", "being written"});
  EXPECT_EQ(store->List().at(0).state, proto::FeedState::kOpen);
  ASSERT_TRUE(store->CommitWrite({"f", "j", {ref}}).ok());
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 10);
  EXPECT_EQ(store->List().at(0).state, proto::FeedState::kCommitted);
  EXPECT_EQ(store->List().at(0).open_jobs, 0);
}

TEST(FeedStore, OnlyTheNamedAttemptsBecomeVisible) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(900, 10)}).ok());
  const auto p0 = store.Put("f", "j", 0, 2, {Numbered(0, 10)}).ValueOrDie();
  const auto p1 = store.Put("f", "j", 1, 3, {Numbered(10, 5)}).ValueOrDie();
  ASSERT_TRUE(store.Put("f", "j", 2, 4, {Numbered(800, 10)}).ok());
  ASSERT_TRUE(store->CommitWrite({"f", "j", {p1, p0}}).ok());
  const auto rows = RowsOf(*store->Find("f").ValueOrDie());
  ASSERT_EQ(rows.size(), 15u);
  for (int64_t i = 0; i < 15; ++i) EXPECT_EQ(rows[i], i) << "partitions in order";
}

TEST(FeedStore, LosersAreFreedAtTheCommit) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  ASSERT_TRUE(store.Put("f", "j", 0, 1, {Numbered(0, 100'000)}).ok());
  const int64_t loser = store->budget().used_bytes();
  const auto ref = store.Put("f", "j", 0, 2, {Numbered(0, 10)}).ValueOrDie();
  ASSERT_TRUE(store->CommitWrite({"f", "j", {ref}}).ok());
  EXPECT_GT(loser, 1'000'000);
  EXPECT_LE(store->budget().used_bytes(), 8192);
  ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(FeedStore, CommitIsIdempotentAlsoAfterOtherCommits) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto ref = store.Put("f", "j", 0, 7, {Numbered(0, 10)}).ValueOrDie();
  const auto first = store->CommitWrite({"f", "j", {ref}}).ValueOrDie();
  EXPECT_FALSE(first.already_committed);
  store.Write("f", {Batches{Numbered(0, 3)}}, Mode::kOverwrite);
  const auto again = store->CommitWrite({"f", "j", {ref}}).ValueOrDie();
  EXPECT_TRUE(again.already_committed);
  EXPECT_EQ(again.feed, first.feed);
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 3);
  ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  EXPECT_EQ(store->CommitWrite({"f", "j", {ref}}).ValueOrDie().feed, first.feed);
}

TEST(FeedStore, CommittedJobTakesNoMoreAttempts) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  auto late = store->OpenAttempt({"f", "j", 0, 9}, NumberedSchema()).ValueOrDie();
  ASSERT_TRUE(late->Append(*Numbered(0, 3), std::nullopt).ok());
  ASSERT_TRUE(store->CommitWrite({"f", "j", {}}).ok());
  ExpectError(late->Append(*Numbered(0, 3), std::nullopt), Code::kFailedPrecondition,
              {"'f'", "'j'", "committed"});
  ExpectError(late->Finish(std::nullopt).status(), Code::kFailedPrecondition, {"committed"});
  ExpectError(store->OpenAttempt({"f", "j", 0, 8}, NumberedSchema()).status(),
              Code::kFailedPrecondition, {"committed"});
  ExpectError(store->AbortWrite({"f", "j"}), Code::kFailedPrecondition, {"committed"});
  EXPECT_TRUE(store.Begin("f", "j", NumberedSchema())->already_committed);
  EXPECT_EQ(store->budget().used_bytes(), 0) << "the late attempt is gone";
}

TEST(FeedStore, CommitRefusesWhatIsNotStaged) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto ref = store.Put("f", "j", 3, 7, {Numbered(0, 10)}).ValueOrDie();
  const auto commit = [&](const std::vector<proto::AttemptRef>& attempts) {
    return store->CommitWrite({"f", "j", attempts}).status();
  };
  ExpectError(commit({ref, {4, 9, 1, 1, 0}}), Code::kFailedPrecondition,
              {"partition 4", "attempt 9", "not staged"});
  ExpectError(commit({ref, {3, 8, 10, 1, ref.crc32c}}), Code::kInvalidArgument,
              {"attempts 7 and 8", "partition 3"});
  auto wrong = ref;
  wrong.rows = 11;
  ExpectError(commit({wrong}), Code::kDataLoss, {"11 rows", "10 rows"});
  wrong = ref;
  wrong.crc32c ^= 1;
  ExpectError(commit({wrong}), Code::kDataLoss, {"partition 3", "attempt 7"});
  wrong = ref;
  wrong.batches = 2;
  ExpectError(commit({wrong}), Code::kDataLoss, {"2 batches"});
  ExpectError(store->CommitWrite({"f", "other", {ref}}).status(), Code::kFailedPrecondition,
              {"'other'", "not open"});
  EXPECT_FALSE(store->Find("f").ok()) << "all or none";
  EXPECT_TRUE(commit({ref}).ok()) << "a refused commit can be corrected";
}

TEST(FeedStore, UnfinishedAttemptIsNeverStaged) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  {
    auto writer = store->OpenAttempt({"f", "j", 0, 1}, NumberedSchema()).ValueOrDie();
    ASSERT_TRUE(writer->Append(*Numbered(0, 1000), std::nullopt).ok());
    EXPECT_GT(store->budget().used_bytes(), 0);
  }
  EXPECT_EQ(store->budget().used_bytes(), 0);
  ExpectError(store->CommitWrite({"f", "j", {{0, 1, 1000, 1, 0}}}).status(),
              Code::kFailedPrecondition, {"not staged"});
}

TEST(FeedStore, EndRecordMustAgree) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto batch = Numbered(0, 10);
  const uint32_t batch_crc = *segment::BatchChecksum(*batch);
  const uint32_t crc = segment::Crc32c(0, &batch_crc, 4);
  const auto finish = [&](int64_t attempt, const proto::PutEnd& end) {
    auto writer = store->OpenAttempt({"f", "j", 0, attempt}, NumberedSchema()).ValueOrDie();
    EXPECT_TRUE(writer->Append(*batch, batch_crc).ok());
    return writer->Finish(end);
  };
  ExpectError(finish(1, {2, 10, crc}).status(), Code::kDataLoss, {"2 batches", "1 batches"});
  ExpectError(finish(2, {1, 9, crc}).status(), Code::kDataLoss, {"9 rows", "10 rows"});
  ExpectError(finish(3, {1, 10, crc + 1}).status(), Code::kDataLoss, {"checksum"});
  EXPECT_EQ(store->budget().used_bytes(), 0);
  EXPECT_EQ(finish(4, {1, 10, crc})->crc32c, crc);
}

TEST(FeedStore, BatchChecksumIsVerified) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  auto writer = store->OpenAttempt({"f", "j", 5, 1}, NumberedSchema()).ValueOrDie();
  const auto batch = Numbered(0, 10);
  ASSERT_TRUE(writer->Append(*batch, *segment::BatchChecksum(*batch)).ok());
  ExpectError(writer->Append(*batch, 12345), Code::kDataLoss, {"partition 5", "batch 1", "12345"});
  ExpectError(writer->Append(*batch, std::nullopt), Code::kDataLoss, {"batch 1"});
  EXPECT_FALSE(writer->Finish(std::nullopt).ok()) << "a broken attempt cannot be staged";
}

TEST(FeedStore, ResentAttemptReplacesTheFirst) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto first = store.Put("f", "j", 0, 1, {Numbered(0, 10)}).ValueOrDie();
  const auto second = store.Put("f", "j", 0, 1, {Numbered(0, 10)}).ValueOrDie();
  EXPECT_EQ(first, second);
  ASSERT_TRUE(store->CommitWrite({"f", "j", {second}}).ok());
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()).size(), 10u);
}

TEST(FeedStore, ErrorIfExists) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "a", NumberedSchema()).ok());
  ASSERT_TRUE(store.Begin("f", "b", NumberedSchema()).ok());
  ASSERT_TRUE(store->CommitWrite({"f", "a", {}}).ok());
  ExpectError(store->CommitWrite({"f", "b", {}}).status(), Code::kAlreadyExists,
              {"'f'", "overwrite", "append"});
  ExpectError(store.Begin("f", "c", NumberedSchema()).status(), Code::kAlreadyExists, {"'f'"});
}

TEST(FeedStore, IgnoreSkipsWhatExists) {
  TestStore store;
  EXPECT_FALSE(store.Begin("f", "a", NumberedSchema(), Mode::kIgnore)->skip);
  ASSERT_TRUE(
      store->CommitWrite({"f", "a", {store.Put("f", "a", 0, 0, {Numbered(0, 4)}).ValueOrDie()}})
          .ok());
  EXPECT_TRUE(store.Begin("f", "b", NumberedSchema(), Mode::kIgnore)->skip);
  EXPECT_TRUE(store.Begin("f", "b", NumberedSchema(), Mode::kIgnore)->skip) << "idempotent";
  ExpectError(store.Put("f", "b", 0, 0, {Numbered(0, 9)}).status(), Code::kFailedPrecondition,
              {"ignore"});
  EXPECT_EQ(store->CommitWrite({"f", "b", {}})->feed->rows, 4);
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 4);
}

TEST(FeedStore, IgnoreThatLosesARaceChangesNothing) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "a", NumberedSchema(), Mode::kIgnore).ok());
  const auto ref = store.Put("f", "a", 0, 0, {Numbered(0, 4)}).ValueOrDie();
  const auto winner = store.Write("f", {Batches{Numbered(0, 9)}});
  EXPECT_EQ(store->CommitWrite({"f", "a", {ref}})->feed->feed_id, winner->feed_id);
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 9);
}

TEST(FeedStore, AppendNumbersNewPartitionsBehindTheOldOnes) {
  TestStore store;
  store.Write("f", {Batches{Numbered(0, 3)}, Batches{Numbered(3, 2)}}, Mode::kAppend);
  const auto before = store->Find("f").ValueOrDie();
  const auto after = store.Write("f", {Batches{Numbered(5, 4)}}, Mode::kAppend);
  EXPECT_EQ(RowsOf(*after), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(after->partitions.back()->partition, 2);
  EXPECT_EQ(after->Find(2).ValueOrDie()->rows, 4);
  EXPECT_NE(after->feed_id, before->feed_id);
  EXPECT_NE(after->fingerprint, before->fingerprint);
  EXPECT_EQ(RowsOf(*before).size(), 5u) << "a snapshot does not change";
}

TEST(FeedStore, AppendRefusesAnotherSchemaByField) {
  TestStore store;
  store.Write("f", {Batches{Numbered(0, 3)}});
  const auto begin = [&](const arrow::FieldVector& fields) {
    return store.Begin("f", "x", arrow::schema(fields), Mode::kAppend).status();
  };
  const auto n = arrow::field("n", arrow::int64());
  const auto w = arrow::field("w", arrow::utf8());
  ExpectError(begin({n, arrow::field("w", arrow::int32())}), Code::kSchemaMismatch,
              {"field 'w'", "int32", "string"});
  ExpectError(begin({n}), Code::kSchemaMismatch,
              {"field 'w'", "in the feed but not in this write"});
  ExpectError(begin({n, w, n}), Code::kSchemaMismatch, {"field 'n'", "but not in the feed"});
  ExpectError(begin({w, n}), Code::kSchemaMismatch, {"field 0", "'w'", "'n'"});
  ExpectError(begin({arrow::field("n", arrow::int64(), false), w}), Code::kSchemaMismatch,
              {"field 'n'", "not null"});
  EXPECT_TRUE(begin({n->WithMetadata(arrow::key_value_metadata({"k"}, {"v"})), w}).ok())
      << "metadata does not count";
}

TEST(FeedStore, OverwriteReplacesAtTheCommitAndReadersKeepTheirs) {
  TestStore store;
  const auto old = store.Write("f", {Batches{Numbered(0, 1000)}});
  ASSERT_TRUE(store.Begin("f", "j", arrow::schema({}), Mode::kOverwrite).ok());
  EXPECT_EQ(store->Find("f").ValueOrDie()->feed_id, old->feed_id);
  ASSERT_TRUE(store->CommitWrite({"f", "j", {}}).ok());
  EXPECT_EQ(store->Find("f").ValueOrDie()->rows, 0);
  EXPECT_EQ(RowsOf(*old).size(), 1000u);
}

TEST(FeedStore, AttemptOfAnotherSchemaIsRefused) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto other = testing::FromJson(arrow::int32(), "[1]");
  ExpectError(store->OpenAttempt({"f", "j", 2, 3}, other->schema()).status(), Code::kSchemaMismatch,
              {"partition 2", "attempt 3", "'x'"});
  auto writer = store->OpenAttempt({"f", "j", 2, 3}, NumberedSchema()).ValueOrDie();
  ExpectError(writer->Append(*other, std::nullopt), Code::kSchemaMismatch, {"'x'"});
}

TEST(FeedStore, BeginIsIdempotentAndStrict) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  EXPECT_EQ(store->Describe("f")->open_jobs, 1);
  ExpectError(store.Begin("f", "j", NumberedSchema(), Mode::kAppend).status(),
              Code::kInvalidArgument, {"errorifexists"});
  ExpectError(store.Begin("f", "j", arrow::schema({})).status(), Code::kInvalidArgument,
              {"another schema"});
  ExpectError(store.Begin("f", "k", NumberedSchema(), Mode::kUnspecified).status(),
              Code::kInvalidArgument, {"write mode 0"});
  ExpectError(store.Begin("f", "", NumberedSchema()).status(), Code::kInvalidArgument, {"job id"});
  ExpectError(store->BeginWrite({"f", "k", Mode::kAppend, "garbage", {}}).status(),
              Code::kInvalidArgument, {"schema"});
}

TEST(FeedStore, AbortDiscardsEverything) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto ref = store.Put("f", "j", 0, 1, {Numbered(0, 1000)}).ValueOrDie();
  auto open = store->OpenAttempt({"f", "j", 1, 1}, NumberedSchema()).ValueOrDie();
  ASSERT_TRUE(store->AbortWrite({"f", "j"}).ok());
  ASSERT_TRUE(store->AbortWrite({"f", "j"}).ok()) << "idempotent";
  ExpectError(open->Append(*Numbered(0, 1), std::nullopt), Code::kFailedPrecondition, {"aborted"});
  ExpectError(store->CommitWrite({"f", "j", {ref}}).status(), Code::kFailedPrecondition,
              {"not open"});
  EXPECT_EQ(store->budget().used_bytes(), 0);
  EXPECT_TRUE(store->List().empty());
}

TEST(FeedStore, OrphanJobsAreAbortedAfterTheirTime) {
  TestStore store;
  ASSERT_TRUE(store.Begin("idle", "j", NumberedSchema()).ok());
  ASSERT_TRUE(store.Put("idle", "j", 0, 0, {Numbered(0, 1000)}).ok());
  ASSERT_TRUE(store.Begin("busy", "j", NumberedSchema()).ok());
  auto writer = store->OpenAttempt({"busy", "j", 0, 0}, NumberedSchema()).ValueOrDie();
  store.now_ms += 3'000'000;
  ASSERT_TRUE(writer->Append(*Numbered(0, 10), std::nullopt).ok());
  EXPECT_EQ(store->SweepOrphans(), 0);
  store.now_ms += 1'000'000;
  EXPECT_EQ(store->SweepOrphans(), 1);
  ASSERT_EQ(store->List().size(), 1u);
  EXPECT_EQ(store->List()[0].feed, "busy");
  store.now_ms += 3'000'000;
  EXPECT_EQ(store->SweepOrphans(), 1);
  ExpectError(writer->Append(*Numbered(0, 10), std::nullopt), Code::kFailedPrecondition,
              {"expired"});
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(FeedStore, EmptyCommitIsAFeedWithoutRows) {
  TestStore store;
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto result = store->CommitWrite({"f", "j", {}}).ValueOrDie();
  EXPECT_EQ(result.feed->rows, 0);
  EXPECT_TRUE(store->Find("f").ValueOrDie()->schema->Equals(NumberedSchema()));
}

TEST(FeedStore, FingerprintIsOfContent) {
  TestStore store;
  const auto a = store.Write("a", {Batches{Numbered(0, 10)}, Batches{Numbered(10, 10)}});
  const auto b = store.Write("b", {Batches{Numbered(0, 10)}, Batches{Numbered(10, 10)}});
  EXPECT_EQ(a->fingerprint, b->fingerprint);
  EXPECT_EQ(a->schema_hash, b->schema_hash);
  EXPECT_NE(a->feed_id, b->feed_id);
  std::set<uint64_t> others{a->fingerprint};
  others.insert(
      store.Write("c", {Batches{Numbered(10, 10)}, Batches{Numbered(0, 10)}})->fingerprint);
  others.insert(store.Write("d", {Batches{Numbered(0, 20)}})->fingerprint);
  others.insert(
      store.Write("e", {Batches{Numbered(0, 10)}, Batches{Numbered(11, 10)}})->fingerprint);
  EXPECT_EQ(others.size(), 4u);
}

TEST(FeedStore, UnknownFeedsNameThoseThatExist) {
  TestStore store;
  ExpectError(store->Find("x").status(), Code::kNotFound, {"'x'", "no feeds yet"});
  store.Write("train", {Batches{Numbered(0, 1)}});
  ExpectError(store->Find("x").status(), Code::kNotFound, {"'x'", "train"});
  ExpectError(store->Describe("x").status(), Code::kNotFound, {"'x'"});
  ExpectError(store->DropFeed({"x", false}), Code::kNotFound, {"'x'"});
  EXPECT_TRUE(store->DropFeed({"x", true}).ok());
}

TEST(FeedStore, FeedNames) {
  for (const char* name : {"a", "train.v2", "A_b-3", "0"}) EXPECT_TRUE(ValidateFeedName(name).ok());
  EXPECT_TRUE(ValidateFeedName(std::string(200, 'x')).ok());
  for (const std::string& name :
       {std::string(), std::string(".hidden"), std::string("a/b"), std::string("a b"),
        std::string("ü"), std::string("a\0b", 3), std::string(201, 'x')}) {
    ExpectError(ValidateFeedName(name), Code::kInvalidArgument, {"feed name", "1 to 200"});
  }
}

TEST(FeedStore, MemoryLimitStopsTheAttemptAndNothingElse) {
  TestStore store(4 << 20);
  store.Write("small", {Batches{Numbered(0, 100)}});
  ASSERT_TRUE(store.Begin("big", "j", NumberedSchema()).ok());
  auto writer = store->OpenAttempt({"big", "j", 0, 0}, NumberedSchema()).ValueOrDie();
  const auto batch = Numbered(0, 20'000);
  arrow::Status status;
  while (status.ok()) {
    status = writer->Append(*batch, std::nullopt);
    ASSERT_LE(store->budget().held_bytes(), 4 << 20);
  }
  ExpectError(status, Code::kResourceExhausted,
              {"feed 'big'", "memory limit of 4.0 MiB", "in use", "--memory-limit", "--data-dir",
               "drop a feed", "'small' 1.7 KiB"});
  EXPECT_LE(store->budget().used_bytes(), 8192) << "the attempt is discarded at once";
  EXPECT_EQ(RowsOf(*store->Find("small").ValueOrDie()).size(), 100u);
  EXPECT_TRUE(store.Put("big", "j", 0, 1, {batch}).ok());
}

TEST(FeedStore, PutWaitsForRoomAndGoesOnWhenAFeedIsDropped) {
  TestStore store(4 << 20);
  store.options.put_wait = std::chrono::minutes(10);
  store.Reopen();
  const auto batch = Numbered(0, 150'000);  // about 2.6 MB
  store.Write("old", {Batches{batch}});
  ASSERT_TRUE(store.Begin("new", "j", NumberedSchema()).ok());
  std::promise<void> waits;
  std::atomic<bool> told = false;
  auto put = std::async(std::launch::async, [&] {
    auto writer = store
                      ->OpenAttempt({"new", "j", 0, 0}, NumberedSchema(),
                                    [&] {
                                      if (!told.exchange(true)) waits.set_value();
                                      return arrow::Status::OK();
                                    })
                      .ValueOrDie();
    return writer->Append(*batch, std::nullopt);
  });
  waits.get_future().wait();
  EXPECT_EQ(RowsOf(*store->Find("old").ValueOrDie()).size(), 150'000u) << "reads go on";
  ASSERT_TRUE(store->DropFeed({"old", false}).ok());
  EXPECT_TRUE(put.get().ok());
}

TEST(FeedStore, WaitingPutEndsWithItsJobItsClientOrTheServer) {
  TestStore store(4 << 20);
  store.options.put_wait = std::chrono::minutes(10);
  store.Reopen();
  const auto batch = Numbered(0, 150'000);
  store.Write("old", {Batches{batch}});
  ASSERT_TRUE(store.Begin("new", "j", NumberedSchema()).ok());
  const auto put_until = [&](const std::function<arrow::Status()>& event) {
    auto writer = store->OpenAttempt({"new", "j", 0, 0}, NumberedSchema(), event).ValueOrDie();
    return writer->Append(*batch, std::nullopt);
  };
  ExpectError(put_until([] { return Error(Code::kCancelled, "the client went away"); }),
              Code::kCancelled, {"went away"});
  ExpectError(put_until([&] { return store->AbortWrite({"new", "j"}); }), Code::kFailedPrecondition,
              {"'j'", "aborted"});
  ASSERT_TRUE(store.Begin("new", "j", NumberedSchema()).ok());
  ExpectError(put_until([&] {
                store->StopWaiting();
                return arrow::Status::OK();
              }),
              Code::kUnavailable, {"stopping", "memory limit"});
}

TEST(FeedStore, FullSpillNamesTheLimitAndTheLargestFeeds) {
  testing::TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.options.segments.spill_limit_bytes = 4 << 20;
  store.Reopen();
  store.Write("old", {Batches{Numbered(0, 150'000)}});
  ASSERT_TRUE(store.Begin("new", "j", NumberedSchema()).ok());
  ExpectError(store.Put("new", "j", 0, 0, {Numbered(0, 150'000)}).status(),
              Code::kResourceExhausted,
              {"feed 'new'", "spill limit of 4.0 MiB", "--spill-limit", "'old' 2."});
  EXPECT_EQ(RowsOf(*store->Find("old").ValueOrDie()).size(), 150'000u);
  ASSERT_TRUE(store->DropFeed({"old", false}).ok());
  EXPECT_TRUE(store.Put("new", "j", 0, 0, {Numbered(0, 150'000)}).ok());
}

TEST(FeedStore, FeedLargerThanMemoryIsReadBackWhole) {
  testing::TempDir dir;
  TestStore store(4 << 20, dir.path());
  std::vector<Batches> partitions;
  for (int i = 0; i < 12; ++i) partitions.push_back({Numbered(i * 50'000, 50'000)});
  const auto written = store.Write("f", partitions);
  for (int round = 0; round < 2; ++round) {
    const auto rows = RowsOf(*store->Find("f").ValueOrDie());
    ASSERT_EQ(rows.size(), 600'000u);
    for (size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i], static_cast<int64_t>(i));
    EXPECT_LE(store->budget().held_bytes(), 4 << 20);
    store.Reopen();
  }
}

TEST(FeedStore, SmallPartitionsTakeLittleMoreThanTheirBytes) {
  TestStore store(64 << 20);
  ASSERT_TRUE(store.Begin("f", "j", NumberedSchema()).ok());
  const auto batch = Numbered(0, 400);  // about 10 KB
  proto::CommitWrite commit{"f", "j", {}};
  for (int64_t i = 0; i < 4000; ++i) {
    const auto ref = store.Put("f", "j", i, i, {batch});
    ASSERT_TRUE(ref.ok()) << i << ": " << ref.status();
    commit.attempts.push_back(*ref);
  }
  const auto done = store->CommitWrite(commit).ValueOrDie();
  EXPECT_LT(store->budget().used_bytes(), done.feed->bytes + 4000 * 4096 * 3 / 2);
  ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(LocalRegistry, FindsByUri) {
  TestStore store;
  RegisterLocal("grpc://127.0.0.1:4711", {store.get(), nullptr});
  EXPECT_EQ(FindLocal("grpc://localhost:4711"), store.get());
  EXPECT_EQ(FindLocal("grpc://127.0.0.1:4712"), nullptr);
  UnregisterLocal("grpc://127.0.0.1:4711");
  EXPECT_EQ(FindLocal("grpc://127.0.0.1:4711"), nullptr);
}

}  // namespace
}  // namespace flightbridge::feed
