// Readers under DYNAMIC over a server in memory with a real lease table: every row once whatever
// the readers do, stop and restore anywhere, a server that forgets.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "batch/reader.h"
#include "fake_source.h"
#include "flightbridge/error.h"
#include "lease/lease_table.h"

namespace flightbridge::batch {
namespace {

constexpr int64_t kRows = 1200;

// Twelve partitions of 100 rows, one column: the row's number.
struct Server {
  Server() {
    feed = std::make_shared<FakeFeed>();
    feed->schema = arrow::schema({arrow::field("id", arrow::int64())});
    std::vector<plan::PartitionRows> partitions;
    for (int64_t row = 0; row < kRows; row += 100) {
      arrow::Int64Builder ids;
      for (int64_t i = row; i < row + 100; ++i) EXPECT_TRUE(ids.Append(i).ok());
      partitions.push_back({static_cast<int64_t>(feed->partitions.size()), 100});
      feed->partitions.push_back(
          {arrow::RecordBatch::Make(feed->schema, 100, {ids.Finish().ValueOrDie()})});
    }
    rows = std::make_shared<const plan::FeedRows>(std::move(partitions));
    feed->on_action = [this](const std::string& action, const std::string& body) {
      return Act(action, body);
    };
    Restart();
  }

  // What it knew of leases is gone.
  void Restart() {
    const std::lock_guard lock(mutex);
    table = std::make_shared<lease::LeaseTable>();
  }
  std::shared_ptr<lease::LeaseTable> Table() {
    const std::lock_guard lock(mutex);
    return table;
  }

  arrow::Result<std::string> Act(const std::string& action, const std::string& body) {
    ++calls;
    if (away) return Error(Code::kUnavailable, "gone");
    if (action == "AcquireSplits") {
      ARROW_ASSIGN_OR_RAISE(const auto result,
                            Table()->Acquire(*proto::Parse<proto::AcquireSplits>(body),
                                             {feed->fingerprint, [this] { return rows; }}));
      return result.Encode();
    }
    if (action == "RenewLease") {
      ARROW_RETURN_NOT_OK(Table()->Renew(*proto::Parse<proto::RenewLease>(body)));
      return "";
    }
    const auto release = *proto::Parse<proto::ReleaseSplits>(body);
    if (release.leave && crash) return Error(Code::kUnavailable, "it was killed");
    ARROW_RETURN_NOT_OK(Table()->Release(release));
    return "";
  }

  std::shared_ptr<FakeFeed> feed;
  std::shared_ptr<const plan::FeedRows> rows;
  std::mutex mutex;
  std::shared_ptr<lease::LeaseTable> table;
  std::atomic<bool> away = false;
  std::atomic<bool> crash = false;  // readers end without a word
  std::atomic<int> calls = 0;
};

proto::ReaderSpec Spec() {
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = 16;
  spec.epochs = 1;
  spec.num_shards = 1;
  spec.policy = proto::ShardPolicy::kDynamic;
  spec.group = "g";
  spec.split_rows = 30;
  spec.lease_timeout_s = 1;
  spec.prefetch_bytes = 1;  // holds little ahead, so that there is something for others
  spec.slabs = 1;
  spec.timeout_s = 20;
  return spec;
}

std::unique_ptr<Reader> Open(Server& server, const proto::ReaderSpec& spec) {
  auto reader = Reader::Open(spec, ConnectFake(server.feed), false);
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

std::vector<int64_t> Ids(const Batch& batch) {
  const auto* ids = static_cast<const int64_t*>(batch.columns()[0].data);
  return {ids, ids + batch.rows()};
}

// At most `batches`; false at the end.
bool Read(Reader& reader, int64_t batches, std::vector<int64_t>* out) {
  for (; batches > 0; --batches) {
    auto batch = reader.Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || *batch == nullptr) return false;
    const auto ids = Ids(**batch);
    out->insert(out->end(), ids.begin(), ids.end());
  }
  return true;
}

void ExpectEveryRow(std::vector<int64_t> ids, int times) {
  std::ranges::sort(ids);
  ASSERT_EQ(static_cast<int64_t>(ids.size()), kRows * times);
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], static_cast<int64_t>(i) / times);
}

TEST(LeasedReader, ReadersOfAGroupHaveEveryRowOnceInEveryEpoch) {
  for (const int64_t window : {0, -1, 40}) {
    Server server;
    proto::ReaderSpec spec = Spec();
    spec.epochs = 3;
    spec.shuffle_window = window;
    if (window > 0) spec.split_rows = 0;  // it is the window then
    std::vector<std::vector<int64_t>> parts(4);
    std::vector<std::thread> threads;
    for (auto& part : parts) {
      threads.emplace_back([&] {
        auto reader = Open(server, spec);
        Read(*reader, INT64_MAX, &part);
        EXPECT_EQ(reader->stats().lost_leases, 0);
      });
    }
    for (auto& thread : threads) thread.join();
    std::vector<int64_t> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    ExpectEveryRow(std::move(all), 3);
    EXPECT_EQ(server.Table()->open_leases(), 0);
    EXPECT_EQ(server.feed->live_streams, 0);
  }
}

TEST(LeasedReader, CallsPerSplitAreFew) {
  Server server;
  proto::ReaderSpec spec = Spec();
  spec.split_rows = 5;  // 240 splits
  std::vector<int64_t> ids;
  Read(*Open(server, spec), INT64_MAX, &ids);
  ExpectEveryRow(std::move(ids), 1);
  EXPECT_LE(server.calls, 2 * 240 + 20);
}

TEST(LeasedReader, OneAloneReadsTheOrderOfTheEpochAndSoDoesItsRestore) {
  Server server;
  proto::ReaderSpec spec = Spec();
  spec.shuffle_window = -1;
  spec.seed = 9;
  std::vector<int64_t> expected;
  const plan::SplitOrder order(server.rows, {30, true, 9}, 0);
  for (int64_t split = 0; split < order.size(); ++split) {
    const plan::Interval rows = order.Rows(split);
    std::vector<int64_t> part;
    for (int64_t row = rows.begin; row < rows.end; ++row) part.push_back(row);
    plan::Random random = order.RowRandom(split);
    plan::Shuffle(std::span(part), random);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  std::mt19937_64 rng(4);
  for (int round = 0; round < 30; ++round) {
    server.Restart();
    server.crash = round % 2 == 0;
    std::vector<int64_t> got;
    auto reader = Open(server, spec);
    const bool more = Read(*reader, rng() % 80, &got);
    const proto::Position position = *proto::Parse<proto::Position>(reader->position().Encode());
    if (more && round % 3 == 0) {  // goes on behind the checkpoint, and is killed there
      std::vector<int64_t> lost;
      Read(*reader, rng() % 10, &lost);
    }
    reader.reset();
    auto restored = Open(server, spec);
    ASSERT_TRUE(restored->Seek(position).ok());
    Read(*restored, INT64_MAX, &got);
    ASSERT_EQ(got, expected) << "round " << round;
  }
}

TEST(LeasedReader, OneThatLeavesIsFollowedAtTheExactRow) {
  Server server;
  std::vector<int64_t> ids;
  auto first = Open(server, Spec());
  Read(*first, 7, &ids);  // 112 rows: in the middle of a split
  first.reset();
  Read(*Open(server, Spec()), INT64_MAX, &ids);
  ExpectEveryRow(std::move(ids), 1);
}

TEST(LeasedReader, APositionIsRefusedByNameWhereSplitsDiffer) {
  Server server;
  auto reader = Open(server, Spec());
  const proto::Position position = reader->position();
  proto::ReaderSpec other = Spec();
  other.split_rows = 31;
  auto status = Open(server, other)->Seek(position);
  EXPECT_EQ(CodeOf(status), Code::kPositionMismatch);
  EXPECT_NE(status.message().find("split_rows=30, this reader has split_rows=31"),
            std::string::npos)
      << status;
  other = Spec();
  other.policy = proto::ShardPolicy::kStatic;
  other.group = "";
  status = Open(server, other)->Seek(position);
  EXPECT_NE(status.message().find("policy=dynamic, this reader has policy=static"),
            std::string::npos)
      << status;
}

TEST(LeasedReader, AServerThatForgetsIsToldAndNothingIsReadTwice) {
  Server server;
  proto::ReaderSpec spec = Spec();
  spec.lease_timeout_s = 3;  // time for all to join again, on a busy machine too
  std::vector<std::vector<int64_t>> parts(3);
  std::vector<std::thread> threads;
  std::atomic<int64_t> read = 0;
  std::atomic<bool> forgot = false;
  std::atomic<int64_t> lost = 0;
  // A server without memory takes a reader that comes for the first time for one of a new epoch.
  std::barrier all_joined(static_cast<std::ptrdiff_t>(parts.size()));
  for (auto& part : parts) {
    threads.emplace_back([&] {
      auto reader = Open(server, spec);
      Read(*reader, 1, &part);
      all_joined.arrive_and_wait();
      while (Read(*reader, 1, &part)) {
        if (++read == 20) {
          server.Restart();
          forgot = true;
        }
      }
      lost += reader->stats().lost_leases;
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<int64_t> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  EXPECT_TRUE(forgot);
  EXPECT_GE(lost, 1);
  ExpectEveryRow(std::move(all), 1);
}

TEST(LeasedReader, AServerThatIsAwayForAWhileIsWaitedFor) {
  Server server;
  std::vector<int64_t> ids;
  auto reader = Open(server, Spec());
  Read(*reader, 5, &ids);
  server.away = true;
  std::thread back([&] {
    const int before = server.calls;
    while (server.calls < before + 2) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    server.away = false;
  });
  Read(*reader, INT64_MAX, &ids);
  back.join();
  ExpectEveryRow(std::move(ids), 1);
}

TEST(LeasedReader, AServerThatStaysAwayIsAnErrorWithinTheTimeout) {
  Server server;
  proto::ReaderSpec spec = Spec();
  spec.timeout_s = 0.5;
  auto reader = Open(server, spec);
  server.away = true;
  EXPECT_EQ(CodeOf(reader->Next().status()), Code::kUnavailable);
}

TEST(LeasedReader, ShortBatchesAreLeftOutWhereAskedAndTheEpochStillEnds) {
  Server server;
  proto::ReaderSpec spec = Spec();
  spec.drop_remainder = true;
  spec.epochs = 2;
  auto reader = Open(server, spec);
  for (int batches = 0;; ++batches) {
    auto batch = reader->Next();
    ASSERT_TRUE(batch.ok()) << batch.status();
    if (*batch == nullptr) {
      EXPECT_GE(batches, 2 * (kRows / 16) - 8);
      break;
    }
    EXPECT_EQ((*batch)->rows(), 16);
  }
  reader.reset();  // it leaves in a thread of its own, which has ended then
  EXPECT_EQ(server.Table()->open_leases(), 0);
}

TEST(LeasedReader, EmptyFeedsEndAndClosingWorksAtAnyMoment) {
  Server empty;
  empty.feed->partitions.clear();
  empty.rows = std::make_shared<const plan::FeedRows>();
  for (const int64_t epochs : {1, -1}) {
    proto::ReaderSpec spec = Spec();
    spec.epochs = epochs;
    EXPECT_EQ(*Open(empty, spec)->Next(), nullptr);
  }
  std::mt19937_64 rng(3);
  for (int round = 0; round < 40; ++round) {
    Server server;
    proto::ReaderSpec spec = Spec();
    spec.epochs = -1;
    auto reader = Open(server, spec);
    std::vector<int64_t> ids;
    if (round % 4 == 0) {
      std::thread caller([&] {
        while (reader->Next().ok()) {
        }
      });
      while (server.calls < 5) std::this_thread::yield();
      reader->Cancel();
      caller.join();
    } else {
      Read(*reader, rng() % 100, &ids);
    }
    reader.reset();
    EXPECT_EQ(server.feed->live_streams, 0);
    EXPECT_EQ(server.Table()->open_leases(), 0);
  }
}

TEST(LeasedReader, RefusesWrongSettingsByName) {
  Server server;
  const std::vector<std::pair<const char*, void (*)(proto::ReaderSpec*)>> cases = {
      {"group=''", [](auto* s) { s->group = ""; }},
      {"num_shards=2", [](auto* s) { s->num_shards = 2; }},
      {"uneven is 'pad'", [](auto* s) { s->uneven = proto::UnevenShards::kPad; }},
      {"split_rows=-1", [](auto* s) { s->split_rows = -1; }},
      {"lease_timeout_s=0.01", [](auto* s) { s->lease_timeout_s = 0.01; }},
      {"group='g'", [](auto* s) { s->policy = proto::ShardPolicy::kStatic; }},
  };
  for (const auto& [words, change] : cases) {
    proto::ReaderSpec spec = Spec();
    change(&spec);
    const auto status = Reader::Open(spec, ConnectFake(server.feed), false).status();
    EXPECT_EQ(CodeOf(status), Code::kInvalidArgument) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace flightbridge::batch
