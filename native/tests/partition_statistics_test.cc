#include "feed/partition_statistics.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "server/statistics_internal.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::TestStore;
using Clock = std::chrono::steady_clock;

std::vector<proto::ColumnStatistics> Of(const Partition& partition,
                                        const std::vector<int>& columns) {
  const auto found =
      partition.statistics->Of(partition, columns, Clock::now() + std::chrono::minutes(1), true);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.ok() && *found ? **found : std::vector<proto::ColumnStatistics>{};
}

TEST(PartitionStatistics, CoverAllBatchesAndKeepTheirOrder) {
  TestStore store;
  const auto snapshot = store.Write(
      "f", {Batches{Numbered(10, 5), Numbered(0, 0), Numbered(2, 4)}, Batches{Numbered(0, 0)}});
  const auto found = Of(*snapshot->partitions[0], {1, 0});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].nulls, 2) << "of 10 to 14 and 2 to 5 those that three divides";
  EXPECT_EQ(found[0].min->bytes_value, "w10");
  EXPECT_EQ(found[0].max->bytes_value, "w5");
  EXPECT_EQ(found[1].min->int_value, 2);
  EXPECT_EQ(found[1].max->int_value, 14);
  const auto empty = Of(*snapshot->partitions[1], {0, 1});
  EXPECT_EQ(empty, (std::vector<proto::ColumnStatistics>(2)));
}

TEST(PartitionStatistics, WorkThroughDictionaries) {
  TestStore store;
  const auto coded = [](const std::string& indices, const std::string& words) {
    return testing::OneColumn(arrow::json::DictArrayFromJSONString(
                                  arrow::dictionary(arrow::int32(), arrow::utf8()), indices, words)
                                  .ValueOrDie());
  };
  const auto snapshot = store.Write(
      "f", {Batches{coded("[0, 1, null]", R"(["a", null])"), coded("[null, 0]", R"(["x", "y"])")}});
  const auto found = Of(*snapshot->partitions[0], {0});
  EXPECT_EQ(found, std::vector{proto::ColumnStatistics{.nulls = 3}});
}

TEST(PartitionStatistics, AreMadeOnceAndKept) {
  TestStore store;
  const auto snapshot = store.Write("f", {Batches{Numbered(0, 100)}});
  const int64_t before = store->budget().used_bytes();
  const Partition& partition = *snapshot->partitions[0];
  const auto found = Of(partition, {0});
  const int64_t kept = store->budget().used_bytes() - before;
  EXPECT_GT(kept, 0) << "they are counted";
  // Past its deadline a call reads nothing: what it answers was kept.
  const auto past = Clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(partition.statistics->Of(partition, {0}, past, false).ValueOrDie(), found);
  EXPECT_FALSE(partition.statistics->Of(partition, {0, 1}, past, false).ValueOrDie().has_value());
  EXPECT_EQ(store->budget().used_bytes(), before + 2 * kept);
}

TEST(PartitionStatistics, AreGivenBackWithTheFeed) {
  TestStore store;
  {
    const auto snapshot = store.Write("f", {Batches{Numbered(0, 100)}});
    Of(*snapshot->partitions[0], {0, 1});
  }
  EXPECT_GT(store->budget().used_bytes(), 0);
  ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(PartitionStatistics, GoOnWhereTheDeadlineCame) {
  TestStore store;
  Batches batches;
  for (int i = 0; i < 5; ++i) batches.push_back(Numbered(i * 10, 10));
  const auto snapshot = store.Write("f", {batches});
  const Partition& partition = *snapshot->partitions[0];
  const auto past = Clock::now() - std::chrono::seconds(1);
  EXPECT_FALSE(partition.statistics->Of(partition, {0}, past, false).ValueOrDie().has_value());
  int calls = 0;
  while (!partition.statistics->Of(partition, {0}, past, true).ValueOrDie().has_value()) ++calls;
  EXPECT_EQ(calls, 4) << "one batch each";
  // A second column begins anew, the first has no more to do.
  EXPECT_FALSE(partition.statistics->Of(partition, {1, 0}, past, true).ValueOrDie().has_value());
  const auto found = Of(partition, {0, 1});
  EXPECT_EQ(found[0].max->int_value, 49);
  EXPECT_EQ(found[1].nulls, 17);
}

TEST(PartitionStatistics, ThatFindNoRoomAreMadeAgain) {
  TestStore store(1 << 20);  // room for 16 KiB of them
  std::vector<std::shared_ptr<const Snapshot>> feeds;
  for (int i = 0; i < 100; ++i) {
    feeds.push_back(store.Write("f" + std::to_string(i), {Batches{Numbered(i, 3)}}));
  }
  const int64_t before = store->budget().used_bytes();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) {
      const auto found = Of(*feeds[i]->partitions[0], {0, 1});
      ASSERT_EQ(found[0].min->int_value, i);
      ASSERT_LE(store->budget().used_bytes() - before, (1 << 20) / StatisticsRoom::kPart);
    }
  }
  EXPECT_GT(store->budget().used_bytes(), before);
  const Partition& last = *feeds.back()->partitions[0];
  EXPECT_TRUE(last.statistics->Of(last, {0}, Clock::now(), false).ValueOrDie().has_value());
  const Partition& first = *feeds.front()->partitions[0];
  EXPECT_FALSE(first.statistics->Of(first, {0}, Clock::now(), false).ValueOrDie().has_value());
}

TEST(PartitionStatistics, ManyAskAtOnce) {
  TestStore store(1 << 20);
  std::vector<std::shared_ptr<const Snapshot>> feeds;
  for (int i = 0; i < 40; ++i) {
    feeds.push_back(store.Write("f" + std::to_string(i), {Batches{Numbered(i, 50)}}));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 400; ++i) {
        const int feed = (i * 7 + t * 13) % 40;
        const Partition& partition = *feeds[feed]->partitions[0];
        const auto found = Of(partition, i % 2 == 0 ? std::vector{0} : std::vector{1, 0});
        if (found.back().max->int_value != feed + 49) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(PartitionStatistics, OfARestoredServerAreTheSame) {
  testing::TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto before = Of(*store.Write("f", {Batches{Numbered(5, 100)}})->partitions[0], {0, 1});
  store.Reopen();
  EXPECT_EQ(Of(*store->Find("f").ValueOrDie()->partitions[0], {0, 1}), before);
}

TEST(PartitionStatistics, OfDamagedRowsAreDataLoss) {
  testing::TempDir dir;
  TestStore store(64 << 20, dir.path());
  const segment::SegmentRef ref =
      store.Write("f", {Batches{Numbered(0, 50'000)}})->partitions[0]->segments.at(0);
  store.Close();
  const std::string digits = std::to_string(ref.chunk);
  const std::string path =
      dir.path() + "/segments/" + std::string(8 - digits.size(), '0') + digits + ".seg";
  const int fd = open(path.c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, ref.offset + ref.used / 2), 1);
  byte = static_cast<char>(byte ^ 1);
  ASSERT_EQ(pwrite(fd, &byte, 1, ref.offset + ref.used / 2), 1);
  close(fd);
  store.Reopen();
  const auto snapshot = store->Find("f").ValueOrDie();
  const Partition& partition = *snapshot->partitions[0];
  for (int i = 0; i < 2; ++i) {
    const auto status = partition.statistics->Of(partition, {0}, Clock::now(), true).status();
    EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
  }
}

// ---- the action ------------------------------------------------------------------------------

class StatisticsAction : public ::testing::Test {
 protected:
  StatisticsAction() {
    state_.store = store_.get();
    state_.auth = *server::Authenticator::Open("");
    state_.peers = std::make_unique<server::Peers>(state_.store);
    state_.max_streams = 1;
  }
  arrow::Result<proto::FeedStatisticsResult> Ask(proto::FeedStatistics request) {
    return server::FeedStatistics(&state_, server::Caller::Trusted(), request);
  }

  TestStore store_;
  server::ServiceState state_;
};

TEST_F(StatisticsAction, AnswersByPartition) {
  const auto snapshot = store_.Write(
      "f", {Batches{Numbered(0, 10)}, Batches{Numbered(10, 0)}, Batches{Numbered(10, 5)}});
  const auto all = Ask({"f", snapshot->feed_id, {"n"}, 0, 10'000}).ValueOrDie();
  EXPECT_FALSE(all.more);
  EXPECT_EQ(all.feed_id, snapshot->feed_id);
  ASSERT_EQ(all.partitions.size(), 3u);
  EXPECT_EQ(all.partitions[0].rows, 10);
  EXPECT_EQ(all.partitions[1].columns.at(0), proto::ColumnStatistics{});
  EXPECT_EQ(all.partitions[2].columns.at(0).min->int_value, 10);
  const auto last = Ask({"f", 0, {"w", "n"}, 2, 10'000}).ValueOrDie();
  ASSERT_EQ(last.partitions.size(), 1u);
  EXPECT_EQ(last.partitions[0].partition, 2);
  EXPECT_EQ(last.partitions[0].columns.at(1), all.partitions[2].columns.at(0));
}

TEST_F(StatisticsAction, WithoutTimeComesToAnEndPartByPart) {
  store_.Write("f", {Batches{Numbered(0, 10), Numbered(10, 10)}, Batches{Numbered(20, 5)},
                     Batches{Numbered(25, 5)}});
  proto::FeedStatistics request{"f", 0, {"n"}};
  std::vector<int64_t> seen;
  int calls = 0;
  for (;; ++calls) {
    ASSERT_LT(calls, 20);
    const auto answer = Ask(request).ValueOrDie();
    for (const auto& partition : answer.partitions) seen.push_back(partition.partition);
    if (!answer.more) break;
    request.first_partition = answer.next_partition;
  }
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(calls, 3) << "of four record batches one in each call";
  request.first_partition = 0;
  EXPECT_FALSE(Ask(request).ValueOrDie().more) << "what is kept takes no time";
}

TEST_F(StatisticsAction, RefusesByName) {
  const auto snapshot = store_.Write("f", {Batches{Numbered(0, 10)}});
  const auto refused = [&](const proto::FeedStatistics& request, Code code, const char* word) {
    const auto status = Ask(request).status();
    EXPECT_EQ(CodeOf(status), code) << status;
    EXPECT_NE(status.message().find(word), std::string::npos) << status;
  };
  refused({"../f", 0, {"n"}}, Code::kInvalidArgument, "feed name");
  refused({"g", 0, {"n"}}, Code::kNotFound, "'g'");
  refused({"f", 0, {"x"}}, Code::kNotFound, "'x'");
  refused({"f", 0, {}}, Code::kInvalidArgument, "at least one");
  refused({"f", 0, {"n", "n"}}, Code::kInvalidArgument, "more than once");
  refused({"f", snapshot->feed_id + 1, {"n"}}, Code::kFailedPrecondition, "replaced");
  const auto slot = server::StreamSlot::Take(&state_);
  refused({"f", 0, {"n"}}, Code::kResourceExhausted, "stream");
}

}  // namespace
}  // namespace flightbridge::feed
