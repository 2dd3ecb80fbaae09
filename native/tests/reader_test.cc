// The reader end to end over a server in memory: order, resume, errors, cancellation, memory.
#include <chrono>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "batch/reader.h"
#include "fake_source.h"
#include "flightbridge/error.h"
#include "plan/order.h"

namespace flightbridge::batch {
namespace {

// Columns id (int64: the global row) and text ("r<id>").
std::shared_ptr<arrow::RecordBatch> Rows(int64_t first, int64_t count, int64_t null_row = -1) {
  arrow::Int64Builder ids;
  arrow::StringBuilder texts;
  for (int64_t row = first; row < first + count; ++row) {
    EXPECT_TRUE((row == null_row ? ids.AppendNull() : ids.Append(row)).ok());
    EXPECT_TRUE(texts.Append("r" + std::to_string(row)).ok());
  }
  const auto schema =
      arrow::schema({arrow::field("id", arrow::int64()), arrow::field("text", arrow::utf8())});
  return arrow::RecordBatch::Make(schema, count, {*ids.Finish(), *texts.Finish()});
}

// `partitions[p]` are the row counts of the batches of partition p.
std::shared_ptr<FakeFeed> MakeFeed(const std::vector<std::vector<int64_t>>& partitions,
                                   int64_t null_row = -1) {
  auto feed = std::make_shared<FakeFeed>();
  feed->schema = Rows(0, 0)->schema();
  int64_t row = 0;
  for (const auto& sizes : partitions) {
    auto& batches = feed->partitions.emplace_back();
    for (const int64_t size : sizes) {
      batches.push_back(Rows(row, size, null_row));
      row += size;
    }
  }
  return feed;
}

proto::ReaderSpec Spec(int64_t batch_size) {
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = batch_size;
  spec.epochs = 1;
  spec.num_shards = 1;
  return spec;
}

std::unique_ptr<Reader> Open(const std::shared_ptr<FakeFeed>& feed, const proto::ReaderSpec& spec) {
  auto reader = Reader::Open(spec, ConnectFake(feed), false);
  EXPECT_TRUE(reader.ok()) << reader.status().ToString();
  return *std::move(reader);
}

// The ids of a batch; checks that `text`, if there, says the same.
std::vector<int64_t> Ids(const Batch& batch) {
  const fb_column& c = batch.columns()[0];
  const auto* ids = static_cast<const int64_t*>(c.data);
  std::vector<int64_t> out(ids, ids + batch.rows());
  if (batch.columns().size() > 1) {
    const fb_column& text = batch.columns()[1];
    for (int64_t i = 0; i < batch.rows(); ++i) {
      const std::string found(static_cast<const char*>(text.data) + text.offsets[i],
                              text.offsets[i + 1] - text.offsets[i]);
      EXPECT_EQ(found, "r" + std::to_string(out[i]));
    }
  }
  return out;
}

std::vector<int64_t> ReadAll(Reader& reader) {
  std::vector<int64_t> all;
  for (;;) {
    auto batch = reader.Next();
    EXPECT_TRUE(batch.ok()) << batch.status().ToString();
    if (!batch.ok() || *batch == nullptr) return all;
    const auto ids = Ids(**batch);
    all.insert(all.end(), ids.begin(), ids.end());
  }
}

std::vector<int64_t> Expected(const proto::ReaderSpec& spec, int64_t rows) {
  std::vector<int64_t> all;
  for (int64_t epoch = 0; epoch < spec.epochs; ++epoch) {
    auto order = plan::EpochOrder({spec.shard, spec.num_shards, spec.shuffle_window, spec.seed},
                                  rows, epoch);
    if (spec.drop_remainder) order.resize(order.size() - order.size() % spec.batch_size);
    all.insert(all.end(), order.begin(), order.end());
  }
  return all;
}

const std::vector<std::vector<int64_t>> kPartitions = {{100, 37}, {}, {1, 250, 80}, {64}};
constexpr int64_t kRows = 532;

TEST(Reader, HandsOutThePlannedOrder) {
  for (const int64_t window : {0, -1, 64, 200}) {
    for (const int64_t connections : {1, 3}) {
      for (const bool drop : {false, true}) {
        auto feed = MakeFeed(kPartitions);
        proto::ReaderSpec spec = Spec(50);
        spec.shuffle_window = window;
        spec.seed = 3;
        spec.epochs = 3;
        spec.num_shards = 2;
        spec.shard = 1;
        spec.drop_remainder = drop;
        spec.connections = connections;
        EXPECT_EQ(ReadAll(*Open(feed, spec)), Expected(spec, kRows))
            << window << " " << connections << " " << drop;
        EXPECT_EQ(feed->live_streams, 0);
      }
    }
  }
}

TEST(Reader, BatchesAreFullExceptTheLastOfAnEpoch) {
  proto::ReaderSpec spec = Spec(100);
  spec.epochs = 2;
  auto reader = Open(MakeFeed(kPartitions), spec);
  std::vector<int64_t> sizes;
  for (;;) {
    auto batch = *reader->Next();
    if (batch == nullptr) break;
    sizes.push_back(batch->rows());
  }
  EXPECT_EQ(sizes,
            (std::vector<int64_t>{100, 100, 100, 100, 100, 32, 100, 100, 100, 100, 100, 32}));
  EXPECT_EQ(*reader->Next(), nullptr) << "the end stays the end";
}

TEST(Reader, ReadsOnlyTheColumnsAskedFor) {
  proto::ReaderSpec spec = Spec(64);
  spec.columns = {"text"};
  auto reader = Open(MakeFeed({{3}}), spec);
  auto batch = *reader->Next();
  ASSERT_EQ(batch->columns().size(), 1);
  EXPECT_EQ(batch->columns()[0].dtype, FB_BYTES);
  EXPECT_EQ(batch->columns()[0].data_bytes, 6);
}

TEST(Reader, ContinuesAtTheNextRowFromEveryBatch) {
  std::mt19937_64 rng(5);
  for (int round = 0; round < 30; ++round) {
    proto::ReaderSpec spec = Spec(1 + static_cast<int64_t>(rng() % 90));
    spec.shuffle_window = std::array<int64_t, 4>{0, -1, 64, 150}[rng() % 4];
    spec.epochs = 2;
    spec.drop_remainder = rng() % 2 == 0;
    const auto expected = Expected(spec, kRows);
    auto feed = MakeFeed(kPartitions);
    auto first = Open(feed, spec);
    std::vector<int64_t> got;
    for (uint64_t stop = rng() % 12; stop > 0; --stop) {
      auto batch = *first->Next();
      if (batch == nullptr) break;
      const auto ids = Ids(*batch);
      got.insert(got.end(), ids.begin(), ids.end());
    }
    const proto::Position position = first->position();
    first.reset();
    auto second = Open(feed, spec);
    ASSERT_TRUE(second->Seek(position).ok());
    const auto rest = ReadAll(*second);
    got.insert(got.end(), rest.begin(), rest.end());
    ASSERT_EQ(got, expected) << "round " << round;
  }
}

TEST(Reader, AnotherBatchSizeContinuesAtTheSameRow) {
  auto feed = MakeFeed(kPartitions);
  auto first = Open(feed, Spec(33));
  ASSERT_TRUE(first->Next().ok());
  auto second = Open(feed, Spec(50));
  ASSERT_TRUE(second->Seek(first->position()).ok());
  EXPECT_EQ(ReadAll(*second).front(), 33);
}

TEST(Reader, AnExhaustedReaderStaysExhaustedWhenRestored) {
  auto feed = MakeFeed(kPartitions);
  auto first = Open(feed, Spec(100));
  ReadAll(*first);
  auto second = Open(feed, Spec(100));
  ASSERT_TRUE(second->Seek(first->position()).ok());
  EXPECT_EQ(*second->Next(), nullptr);
  EXPECT_EQ(second->position(), first->position());
}

TEST(Reader, SeeksOnlyBeforeTheFirstBatchAndOnlyToItsOwnPositions) {
  auto feed = MakeFeed(kPartitions);
  auto reader = Open(feed, Spec(100));
  proto::Position other = reader->position();
  other.fingerprint = 1;
  EXPECT_EQ(CodeOf(reader->Seek(other)), Code::kPositionMismatch);
  ASSERT_TRUE(reader->Next().ok());
  EXPECT_EQ(CodeOf(reader->Seek(reader->position())), Code::kFailedPrecondition);
}

TEST(Reader, EmptyFeedsAndShardsEnd) {
  for (const int64_t epochs : {1, -1}) {
    proto::ReaderSpec spec = Spec(10);
    spec.epochs = epochs;
    EXPECT_EQ(*Open(MakeFeed({}), spec)->Next(), nullptr);
    EXPECT_EQ(*Open(MakeFeed({{0}, {}}), spec)->Next(), nullptr);
    spec.num_shards = 5;  // of two rows: shard 0 has none
    EXPECT_EQ(*Open(MakeFeed({{2}}), spec)->Next(), nullptr);
    spec.num_shards = 1;
    spec.drop_remainder = true;
    EXPECT_EQ(*Open(MakeFeed({{9}}), spec)->Next(), nullptr);
  }
}

TEST(Reader, EndlessEpochsGoOn) {
  proto::ReaderSpec spec = Spec(10);
  spec.epochs = -1;
  spec.shuffle_window = -1;
  auto reader = Open(MakeFeed({{25}}), spec);
  int64_t rows = 0;
  for (int i = 0; i < 300; ++i) rows += (*reader->Next())->rows();
  EXPECT_EQ(rows, 300 / 3 * 25);
  EXPECT_EQ(reader->position().epoch, 99);
}

// ---- settings and feeds that are refused ------------------------------------------------------

TEST(Reader, RefusesWrongSettingsByName) {
  const std::vector<std::pair<const char*, void (*)(proto::ReaderSpec*)>> cases = {
      {"batch_size=0", [](proto::ReaderSpec* s) { s->batch_size = 0; }},
      {"epochs=0", [](proto::ReaderSpec* s) { s->epochs = 0; }},
      {"num_shards=0", [](proto::ReaderSpec* s) { s->num_shards = 0; }},
      {"shard=1", [](proto::ReaderSpec* s) { s->shard = 1; }},
      {"shuffle_window=-2", [](proto::ReaderSpec* s) { s->shuffle_window = -2; }},
      {"prefetch_bytes=-1", [](proto::ReaderSpec* s) { s->prefetch_bytes = -1; }},
      {"connections=65", [](proto::ReaderSpec* s) { s->connections = 65; }},
      {"slabs=-1", [](proto::ReaderSpec* s) { s->slabs = -1; }},
      {"feed=''", [](proto::ReaderSpec* s) { s->feed = ""; }},
  };
  for (const auto& [words, change] : cases) {
    proto::ReaderSpec spec = Spec(1);
    change(&spec);
    const arrow::Status status = Reader::Open(spec, ConnectFake(MakeFeed({})), false).status();
    EXPECT_EQ(CodeOf(status), Code::kInvalidArgument) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  }
}

TEST(Reader, RefusesAFeedThatChangedOrIsNotCommitted) {
  auto feed = MakeFeed(kPartitions);
  proto::ReaderSpec spec = Spec(1);
  spec.fingerprint = 0xBAD;
  const arrow::Status changed = Reader::Open(spec, ConnectFake(feed), false).status();
  EXPECT_EQ(CodeOf(changed), Code::kFailedPrecondition);
  EXPECT_NE(changed.message().find("feed 'fake' changed since"), std::string::npos);
  feed->state = proto::FeedState::kOpen;
  const arrow::Status open = Reader::Open(Spec(1), ConnectFake(feed), false).status();
  EXPECT_EQ(CodeOf(open), Code::kFailedPrecondition);
}

// ---- failures ---------------------------------------------------------------------------------

TEST(Reader, ErrorsComeAfterTheCompleteBatchesBeforeThem) {
  auto reader = Open(MakeFeed(kPartitions, 250), Spec(100));
  EXPECT_EQ((*reader->Next())->rows(), 100);
  EXPECT_EQ((*reader->Next())->rows(), 100);
  for (int again = 0; again < 2; ++again) {
    const arrow::Status status = reader->Next().status();
    EXPECT_EQ(CodeOf(status), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("column 'id' has a null at row 250"), std::string::npos)
        << status.message();
  }
  EXPECT_EQ(reader->position().cursor, 200);
}

TEST(Reader, NullsInColumnsNotReadDoNotMatter) {
  proto::ReaderSpec spec = Spec(100);
  spec.columns = {"text"};
  auto reader = Open(MakeFeed(kPartitions, 250), spec);
  int64_t rows = 0;
  while (auto batch = *reader->Next()) rows += batch->rows();
  EXPECT_EQ(rows, kRows);
}

TEST(Reader, ReconnectsOnceAndContinuesAtTheExactRow) {
  for (const int64_t window : {0, 128}) {
    auto feed = MakeFeed(kPartitions);
    std::atomic<bool> failed{false};
    feed->on_batch = [&](int sent) {
      if (sent == 3 && !failed.exchange(true)) return Error(Code::kUnavailable, "gone");
      return arrow::Status::OK();
    };
    proto::ReaderSpec spec = Spec(50);
    spec.shuffle_window = window;
    spec.connections = 1;
    EXPECT_EQ(ReadAll(*Open(feed, spec)), Expected(spec, kRows));
    EXPECT_TRUE(failed);
    EXPECT_EQ(feed->connects, 2);
  }
}

TEST(Reader, AServerThatStaysAwayIsAnError) {
  auto feed = MakeFeed({{50}, {50}});
  feed->on_batch = [](int sent) {
    return sent == 1 ? Error(Code::kUnavailable, "server fake went away") : arrow::Status::OK();
  };
  auto reader = Open(feed, Spec(50));
  EXPECT_EQ((*reader->Next())->rows(), 50);
  const arrow::Status status = reader->Next().status();
  EXPECT_EQ(CodeOf(status), Code::kUnavailable);
  EXPECT_EQ(status.message(), "server fake went away");
}

TEST(Reader, OtherErrorsAreNotTriedAgain) {
  auto feed = MakeFeed({{50}, {50}});
  feed->on_batch = [](int sent) {
    return sent == 1 ? Error(Code::kDataLoss, "checksum") : arrow::Status::OK();
  };
  auto reader = Open(feed, Spec(100));
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kDataLoss);
  EXPECT_EQ(feed->opens, 1);
}

TEST(Reader, AFeedRewrittenDuringAReconnectIsRefused) {
  auto feed = MakeFeed({{50}, {50}});
  feed->on_batch = [&](int sent) {
    if (sent == 0) return arrow::Status::OK();
    feed->fingerprint = 2;
    return Error(Code::kUnavailable, "gone");
  };
  auto reader = Open(feed, Spec(100));
  const arrow::Status status = reader->Next().status();
  EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("written again"), std::string::npos);
}

// A stream that ends early, or says more than it was asked for, is never taken for the data.
TEST(Reader, StreamsOfTheWrongLengthAreDataLoss) {
  auto feed = MakeFeed({{50}, {50}});
  auto reader = Open(feed, Spec(100));
  feed->partitions[1] = {Rows(50, 30)};
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kDataLoss);
}

TEST(Reader, ServersThatSendAnotherTypeAreRefused) {
  auto feed = MakeFeed({{50}});
  auto reader = Open(feed, Spec(50));
  const auto other =
      arrow::schema({arrow::field("id", arrow::float64()), arrow::field("text", arrow::utf8())});
  feed->partitions[0] = {arrow::RecordBatch::Make(
      other, 50,
      {*arrow::MakeArrayFromScalar(arrow::DoubleScalar(1), 50), Rows(0, 50)->column(1)})};
  const arrow::Status status = reader->Next().status();
  EXPECT_EQ(CodeOf(status), Code::kSchemaMismatch);
  EXPECT_NE(status.message().find("column 'id' as double"), std::string::npos);
}

// ---- stopping ---------------------------------------------------------------------------------

void WaitUntilHanging(FakeFeed& feed) {
  std::unique_lock lock(feed.mutex);
  ASSERT_TRUE(feed.gate.wait_for(lock, std::chrono::seconds(30), [&] { return feed.hanging > 0; }));
}

TEST(Reader, CancelWakesACallerBlockedOnTheNetwork) {
  auto feed = MakeFeed(kPartitions);
  feed->hang_after = 0;
  auto reader = Open(feed, Spec(100));
  std::thread canceller([&] {
    WaitUntilHanging(*feed);
    reader->Cancel();
  });
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kCancelled);
  canceller.join();
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kCancelled);
  reader.reset();
  EXPECT_EQ(feed->live_streams, 0);
}

TEST(Reader, CancelledBeforeItBeganIsCancelled) {
  auto reader = Open(MakeFeed(kPartitions), Spec(100));
  reader->Cancel();
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kCancelled);
}

TEST(Reader, ClosesAtAnyMoment) {
  std::mt19937_64 rng(6);
  for (int round = 0; round < 60; ++round) {
    auto feed = MakeFeed(kPartitions);
    if (round % 3 == 0) feed->hang_after = static_cast<int>(rng() % 6);
    proto::ReaderSpec spec = Spec(10);
    spec.connections = 1 + static_cast<int64_t>(rng() % 4);
    spec.shuffle_window = round % 2 == 0 ? 0 : 100;
    spec.slabs = 2;
    spec.epochs = -1;
    auto reader = Open(feed, spec);
    if (feed->hang_after < 0) {
      for (uint64_t n = rng() % 20; n > 0; --n) ASSERT_TRUE(reader->Next().ok());
    } else {
      std::thread caller([&] {
        while (reader->Next().ok()) {
        }
      });
      WaitUntilHanging(*feed);
      reader->Cancel();
      caller.join();
    }
    reader.reset();
    EXPECT_EQ(feed->live_streams, 0);
  }
}

// ---- memory -----------------------------------------------------------------------------------

TEST(Reader, ReadsAheadNoMoreThanItMay) {
  std::vector<int64_t> batches(64, 1000);
  auto feed = MakeFeed({batches});
  proto::ReaderSpec spec = Spec(1000);
  spec.prefetch_bytes = 100'000;  // a batch has about 20,000
  spec.connections = 1;
  spec.slabs = 1;
  auto reader = Open(feed, spec);
  auto first = *reader->Next();
  // Nobody takes anything now: what was sent comes to rest at the limit.
  for (int i = 0; i < 6000 && feed->sent < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  int sent = -1;
  while (sent != feed->sent) {
    sent = feed->sent;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  EXPECT_GE(sent, 5);
  EXPECT_LE(sent, 12);
  int64_t rows = first->rows();
  while (auto batch = *reader->Next()) rows += batch->rows();
  EXPECT_EQ(rows, 64'000);
}

TEST(Reader, APrefetchLimitBelowOneBatchStillMoves) {
  for (const int64_t window : {0, 100, -1}) {
    proto::ReaderSpec spec = Spec(50);
    spec.prefetch_bytes = 1;
    spec.connections = 3;
    spec.shuffle_window = window;
    EXPECT_EQ(ReadAll(*Open(MakeFeed(kPartitions), spec)), Expected(spec, kRows));
  }
}

TEST(Reader, BatchesOutliveTheReaderAndSlabsAreRecycled) {
  const SlabStats before = GetSlabStats();
  {
    proto::ReaderSpec spec = Spec(50);
    spec.epochs = 20;
    spec.slabs = 2;
    auto reader = Open(MakeFeed(kPartitions), spec);
    BatchPtr kept = *reader->Next();
    while (auto batch = *reader->Next()) {
    }
    const SlabStats after = GetSlabStats();
    EXPECT_LE(after.mapped - before.mapped, 6);
    EXPECT_GE(after.recycled - before.recycled, 200);
    reader.reset();
    EXPECT_EQ(Ids(*kept).front(), 0);
    kept->Retain();
    BatchPtr again(kept.get());
    kept.reset();
    EXPECT_EQ(Ids(*again).back(), 49);
  }
  EXPECT_EQ(GetSlabStats().slabs, before.slabs);
  EXPECT_EQ(GetSlabStats().bytes, before.bytes);
}

TEST(SlabPool, LargeSlabsLieOnHugePageBoundaries) {
  auto pool = std::make_shared<SlabPool>(1);
  auto slab = *pool->Get(5 << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slab->data()) % (2 << 20), 0);
  EXPECT_EQ(slab->capacity(), 6 << 20);
  const uint8_t* data = slab->data();
  pool->Put(std::move(slab));
  EXPECT_EQ((*pool->Get(1 << 20))->data(), data) << "the idle slab comes back";
  EXPECT_GE((*pool->Get(6 << 20))->capacity(), 6 << 20);
}

}  // namespace
}  // namespace flightbridge::batch
