// How long feeds over several servers keep their rows: readers confirm at home, the others ask it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "feed/retention.h"
#include "feed/span.h"
#include "flightbridge/error.h"
#include "plan/order.h"
#include "plan/position.h"
#include "plan/rows.h"
#include "plan/shard.h"
#include "server/confirm_internal.h"
#include "server/planned_rows_internal.h"
#include "testing/batches.h"
#include "testing/cluster.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using proto::WriteMode;
using testing::Cluster;
using testing::kServers;
using testing::TestStore;

constexpr int64_t kPartitions = 12;
constexpr int64_t kRows = 10;  // of each
constexpr proto::Retention kOnce{.epochs = 1};

class Retained : public Cluster {
 public:
  explicit Retained(proto::Retention kept = kOnce, const std::string& job = "job") {
    retention = kept;
    rows_each = kRows;
    Write(job);
  }

  void Write(const std::string& job, WriteMode mode = WriteMode::kErrorIfExists) {
    const auto status = Decide(Stage(job, kPartitions, 0, mode));
    EXPECT_TRUE(status.ok()) << status;
    TellAll();
  }

  TestStore& at_home() { return *stores[home()]; }
  std::shared_ptr<const Snapshot> Whole() { return at_home()->Find("f").ValueOrDie(); }

  // Another server that holds some of the feed.
  size_t other() {
    for (const auto& info : Whole()->Info().partitions) {
      if (info.server != home()) return info.server;
    }
    ADD_FAILURE() << "all partitions are at home";
    return (home() + 1) % 3;
  }

  void Confirm(const std::set<int64_t>& partitions) {
    std::vector<proto::RowRange> rows;
    for (const int64_t p : partitions) rows.push_back({p, 0, kRows});
    const auto confirmed = at_home()->Confirm("f", Whole()->feed_id, rows);
    EXPECT_TRUE(confirmed.ok()) << confirmed.status();
  }

  std::set<int64_t> ReleasedOn(size_t server) {
    std::set<int64_t> found;
    const auto snapshot = (*stores[server])->Find("f").ValueOrDie();
    for (const auto& p : snapshot->partitions) {
      if (p->released) found.insert(p->partition);
    }
    return found;
  }
  std::set<int64_t> Released() {  // on all servers
    std::set<int64_t> found;
    for (size_t i = 0; i < stores.size(); ++i) found.merge(ReleasedOn(i));
    return found;
  }
  std::set<int64_t> Described() {
    std::set<int64_t> found;
    for (const auto& info : at_home()->Describe("f").ValueOrDie().partitions) {
      if (info.released) found.insert(info.partition);
    }
    return found;
  }
  bool Has(size_t server) { return (*stores[server])->Find("f").ok(); }

  // Everywhere.
  void Pass(int64_t ms) {
    for (auto& store : stores) store->now_ms += ms;
  }
};

std::set<int64_t> Numbers(int64_t begin, int64_t end) {
  std::set<int64_t> numbers;
  for (int64_t i = begin; i < end; ++i) numbers.insert(i);
  return numbers;
}

// Until the journal has been compacted: schemas of half a MiB.
void Compact(TestStore* store) {
  const auto batch = testing::Numbered(0, 1)->ReplaceSchemaMetadata(
      arrow::key_value_metadata({"words"}, {std::string(500'000, 'x')}));
  for (int i = 0; i < 4; ++i) {
    const std::string name = "g" + std::to_string(i);
    store->Write(name, {testing::Batches{batch}});
    ASSERT_TRUE((*store)->DropFeed({name}).ok());
  }
}

TEST(SpanRetention, TheOthersReleaseWhatReadersConfirmAtHome) {
  Retained cluster;
  const uint64_t fingerprint = cluster.Whole()->fingerprint;
  cluster.Confirm(Numbers(0, 5));
  EXPECT_EQ(cluster.Described(), Numbers(0, 5)) << "the home knows at once";
  std::set<int64_t> own = cluster.ReleasedOn(cluster.home());
  EXPECT_EQ(cluster.Released(), own) << "the others have not asked yet";
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, 5));
  // Part of a partition frees nothing, wherever it is.
  for (int64_t p = 5; p < kPartitions; ++p) {
    const auto result =
        cluster.at_home()->Confirm("f", cluster.Whole()->feed_id, {{p, 0, kRows - 1}}).ValueOrDie();
    EXPECT_EQ(result.released_partitions, 5);
    EXPECT_EQ(result.confirmed_rows, 5 * kRows + (p - 4) * (kRows - 1));
  }
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, 5));

  cluster.Confirm(Numbers(0, kPartitions));
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, kPartitions));
  for (const auto& store : cluster.stores) EXPECT_EQ((*store)->budget().used_bytes(), 0);
  const auto whole = cluster.Whole();
  EXPECT_EQ(whole->fingerprint, fingerprint) << "positions stay good";
  EXPECT_EQ(whole->Info().confirmed_rows, kPartitions * kRows);
  EXPECT_EQ(ConfirmResult(*whole).released_partitions, kPartitions);
  for (const int64_t p : cluster.ReleasedOn(cluster.other())) {
    const auto status =
        (*cluster.stores[cluster.other()])->Find("f").ValueOrDie()->Find(p).status();
    EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
    EXPECT_NE(status.message().find("retention=once"), std::string::npos) << status;
  }
}

TEST(SpanRetention, AFeedThatIsKeptAsksNothing) {
  Retained cluster{proto::Retention{}};
  cluster.Confirm(Numbers(0, kPartitions));
  for (const auto& store : cluster.stores) EXPECT_TRUE((*store)->RetainedParts().empty());
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, kPartitions * kRows));
}

TEST(SpanRetention, HoldsThroughRestartsAtEveryPoint) {
  Retained cluster;
  const uint64_t id = cluster.Whole()->feed_id;
  cluster.Confirm(Numbers(0, 6));
  cluster.at_home().Reopen();  // before it told anybody
  EXPECT_EQ(cluster.Described(), Numbers(0, 6));
  for (const auto& store : cluster.stores) store->Reopen();
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, 6));
  for (int round = 0; round < 2; ++round) {
    for (const auto& store : cluster.stores) {
      if (round == 1) Compact(store.get());
      store->Reopen();
    }
    EXPECT_EQ(cluster.Released(), Numbers(0, 6)) << "in round " << round;
    EXPECT_EQ(cluster.Described(), Numbers(0, 6));
    EXPECT_EQ(cluster.Whole()->feed_id, id);
    for (size_t i = 0; i < 3; ++i) {
      const auto part = (*cluster.stores[i])->Find("f").ValueOrDie();
      EXPECT_EQ(part->retention.epochs, 1);
      for (const auto& p : part->partitions) {
        EXPECT_EQ(p->segments.empty(), p->released);
        if (!p->released) EXPECT_TRUE(p->Decode(0).ok());
      }
    }
  }
  cluster.Confirm(Numbers(6, kPartitions));
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, kPartitions));
  for (const auto& store : cluster.stores) EXPECT_EQ((*store)->disk_budget().used_bytes(), 0);
}

TEST(SpanRetention, AServerThatWasAwaySinceBeforeTheCommitCatchesUp) {
  Retained cluster;
  ASSERT_TRUE(cluster.Decide(cluster.Stage("next", kPartitions, 0, WriteMode::kOverwrite)).ok());
  const size_t late = cluster.other();
  cluster.stores[late]->Reopen();
  cluster.Confirm(Numbers(0, kPartitions));
  // It has the feed before that one, of which nothing was confirmed.
  ASSERT_TRUE(cluster.AskRetained(late).ok());
  EXPECT_TRUE(cluster.ReleasedOn(late).empty());
  ASSERT_TRUE(cluster.Tell(late).ok());
  ASSERT_TRUE(cluster.AskRetained(late).ok());
  EXPECT_EQ((*cluster.stores[late])->budget().used_bytes(), 0);
}

TEST(SpanRetention, AnAnswerAboutAnotherFeedDoesNothing) {
  Retained cluster;
  const size_t late = cluster.other();
  const auto parts = (*cluster.stores[late])->RetainedParts();
  ASSERT_EQ(parts.size(), 1u);
  cluster.Confirm(Numbers(0, kPartitions));
  const auto answer = cluster.at_home()->RetentionStatus(parts[0].question).ValueOrDie();
  EXPECT_TRUE(answer.here);
  EXPECT_FALSE(answer.released.empty());
  auto dropped = answer;
  dropped.dropped = true;
  cluster.Write("next", WriteMode::kOverwrite);
  for (const auto& old : {answer, dropped}) {
    EXPECT_TRUE((*cluster.stores[late])->ResolveRetention(parts[0], old).ok());
    EXPECT_TRUE(cluster.Released().empty());
    EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, kPartitions * kRows));
  }
  // Nor does one about a feed that is gone, or what is no partition.
  ASSERT_TRUE((*cluster.stores[late])->DropFeed({"f"}).ok());
  for (const auto& old : {answer, dropped}) {
    EXPECT_TRUE((*cluster.stores[late])->ResolveRetention(parts[0], old).ok());
  }
  const size_t another = 3 - cluster.home() - late;
  const auto part = (*cluster.stores[another])->RetainedParts().at(0);
  proto::RetentionStatusResult wrong;
  wrong.here = true;
  wrong.released = {-1, -7, 1'000'000};
  EXPECT_TRUE((*cluster.stores[another])->ResolveRetention(part, wrong).ok());
  EXPECT_TRUE(cluster.ReleasedOn(another).empty());
}

TEST(SpanRetention, AnswersAreTheHomesAndForTheServersOfTheFeed) {
  Retained cluster;
  const size_t other = cluster.other();
  auto question = (*cluster.stores[other])->RetainedParts().at(0).question;
  EXPECT_EQ(question.server, kServers[other]);
  const auto not_home = (*cluster.stores[other])->RetentionStatus(question).status();
  EXPECT_EQ(CodeOf(not_home), Code::kFailedPrecondition) << not_home;
  question.server = "grpc://stranger:1";
  const auto stranger = cluster.at_home()->RetentionStatus(question).status();
  EXPECT_EQ(CodeOf(stranger), Code::kInvalidArgument) << stranger;
  question.feed = "../f";
  EXPECT_EQ(CodeOf(cluster.at_home()->RetentionStatus(question).status()), Code::kInvalidArgument);
}

TEST(SpanRetention, WhatTheHomeDroppedTheOthersDrop) {
  for (const bool compacted : {false, true}) {
    Retained cluster;
    ASSERT_TRUE(cluster.at_home()->DropFeed({"f"}).ok());  // and the client died
    if (compacted) Compact(&cluster.at_home());
    cluster.at_home().Reopen();
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(cluster.Has(i), i != cluster.home());
    cluster.AskRetainedAll();
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_FALSE(cluster.Has(i));
      EXPECT_EQ((*cluster.stores[i])->budget().used_bytes(), 0);
      cluster.stores[i]->Reopen();
      EXPECT_FALSE(cluster.Has(i));
    }
  }
}

TEST(SpanRetention, APartIsNotDroppedWhereItsHomeDoesNotKnowOfIt) {
  Retained cluster;
  const size_t other = cluster.other();
  const auto part = (*cluster.stores[other])->RetainedParts().at(0);
  TestStore empty;  // as if the home were started with another data directory
  const auto answer = empty->RetentionStatus(part.question).ValueOrDie();
  EXPECT_FALSE(answer.here || answer.dropped);
  EXPECT_TRUE((*cluster.stores[other])->ResolveRetention(part, answer).ok());
  EXPECT_TRUE(cluster.Has(other));
  // One that had another feed of that name knows as little.
  empty.Write("f", {testing::Batches{testing::Numbered(0, 1)}});
  EXPECT_FALSE(empty->RetentionStatus(part.question).ValueOrDie().dropped);
}

TEST(SpanRetention, APartIsNotDroppedWhileAWriteMayTakeItsPlace) {
  Retained cluster;
  const size_t other = cluster.other();
  ASSERT_TRUE(cluster.at_home()->DropFeed({"f"}).ok());
  auto commit = cluster.Stage("again", kPartitions, 1000);
  cluster.AskRetainedAll();
  EXPECT_TRUE(cluster.Has(other)) << "a job is open there";
  ASSERT_TRUE(cluster.Decide(commit).ok());
  cluster.AskRetainedAll();
  EXPECT_TRUE(cluster.Has(other)) << "it has not heard of the commit yet";
  cluster.TellAll();
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(1000, 1000 + kPartitions * kRows));

  // An append that the home has decided and the other has not heard of is another feed, too.
  commit = cluster.Stage("more", kPartitions, 5000, WriteMode::kAppend);
  ASSERT_TRUE(cluster.Decide(commit).ok());
  cluster.AskRetainedAll();
  cluster.TellAll();
  EXPECT_EQ(cluster.Rows().size(), 2u * kPartitions * kRows);

  // Once the job is aborted nothing takes the place.
  ASSERT_TRUE(cluster.at_home()->DropFeed({"f"}).ok());
  cluster.Stage("never", kPartitions, 1000);
  cluster.AskRetainedAll();
  EXPECT_TRUE(cluster.Has(other));
  ASSERT_TRUE(cluster.at_home()->AbortWrite({"f", "never"}).ok());
  cluster.TellAll();
  cluster.AskRetainedAll();
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(cluster.Has(i));
}

TEST(SpanRetention, AppendsAgreeWithTheHomesFeed) {
  Retained cluster(proto::Retention{.epochs = 2, .ttl_ms = 5000});
  cluster.retention = kOnce;
  const auto other = cluster.BeginOn(cluster.home(), "wrong", WriteMode::kAppend);
  EXPECT_EQ(CodeOf(other), Code::kFailedPrecondition) << other;
  EXPECT_NE(other.message().find("epochs=2"), std::string::npos) << other;
  cluster.retention = std::nullopt;
  cluster.Write("more", WriteMode::kAppend);
  for (const auto& store : cluster.stores) {
    store->Reopen();
    const auto part = (*store)->Find("f").ValueOrDie();
    EXPECT_EQ(part->retention.epochs, 2);
    EXPECT_EQ(part->retention.ttl_ms, 5000);
  }
  cluster.Confirm({0});
  const auto late = cluster.BeginOn(cluster.home(), "late", WriteMode::kAppend);
  EXPECT_EQ(CodeOf(late), Code::kFailedPrecondition) << late;
  EXPECT_NE(late.message().find("readers have confirmed rows"), std::string::npos) << late;

  cluster.Write("whole", WriteMode::kOverwrite);
  for (const auto& store : cluster.stores) {
    EXPECT_TRUE(KeepsForEver((*store)->Find("f").ValueOrDie()->retention))
        << "an overwrite without a word keeps the rows";
  }

  // One that was begun before the confirmation is refused by its commit.
  cluster.retention = kOnce;
  cluster.Write("last", WriteMode::kOverwrite);
  const auto refused = cluster.Stage("refused", kPartitions, 1000, WriteMode::kAppend);
  cluster.Confirm({1});
  EXPECT_EQ(CodeOf(cluster.Decide(refused)), Code::kFailedPrecondition);
  ASSERT_TRUE(cluster.at_home()->AbortWrite({"f", "refused"}).ok());
  cluster.TellAll();
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), std::set<int64_t>{1});
}

TEST(SpanRetention, AServerThatLagsBehindDoesNotRefuseWhatItsHomeAdmits) {
  Retained cluster;
  cluster.Confirm(Numbers(0, kPartitions));
  cluster.AskRetainedAll();
  ASSERT_TRUE(cluster.at_home()->DropFeed({"f"}).ok());  // the others have it still
  cluster.retention = {.epochs = 3};
  cluster.Write("again", WriteMode::kAppend);
  EXPECT_TRUE(cluster.Released().empty());
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, kPartitions * kRows));
  for (const auto& store : cluster.stores) {
    EXPECT_EQ((*store)->Find("f").ValueOrDie()->retention.epochs, 3);
  }
}

TEST(SpanRetention, AFeedIsDroppedOnceNoServerUsedItForItsTtl) {
  Retained cluster(proto::Retention{.ttl_ms = 1000});
  cluster.AskRetainedAll();
  cluster.Pass(999);
  cluster.AskRetainedAll();
  for (const auto& store : cluster.stores) EXPECT_EQ((*store)->DropIdleFeeds(), 0);
  // A reader at one of the others.
  const size_t other = cluster.other();
  ASSERT_TRUE((*cluster.stores[other])->FindToRead("f").ok());
  cluster.Pass(600);
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0) << "it was read 600 ms ago";
  {
    const auto reading = (*cluster.stores[other])->Find("f").ValueOrDie();
    cluster.Pass(5000);
    cluster.AskRetainedAll();
    EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0) << "a stream is open there";
  }
  cluster.Pass(999);
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0);
  cluster.Pass(1);
  for (size_t i = 0; i < 3; ++i) {
    if (i != cluster.home()) EXPECT_EQ((*cluster.stores[i])->DropIdleFeeds(), 0) << "not theirs";
  }
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0) << "who knows what was in the last moment";
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 1);
  cluster.AskRetainedAll();
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(cluster.Has(i));
}

TEST(SpanRetention, AServerThatIsAwayMayUseTheFeed) {
  Retained cluster(proto::Retention{.ttl_ms = 1000});
  const size_t other = cluster.other();
  const size_t third = 3 - cluster.home() - other;
  cluster.AskRetainedAll();
  for (int i = 0; i < 5; ++i) {
    cluster.Pass(1000);
    ASSERT_TRUE(cluster.AskRetained(third).ok());
    EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0) << "the other one has not been heard of";
  }
  cluster.stores[other]->Reopen();  // it was killed, and its time begins anew
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0);
  cluster.Pass(999);
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0);
  cluster.Pass(1);
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 1);
}

TEST(SpanRetention, TheTimeBeginsAnewWithTheHome) {
  Retained cluster(proto::Retention{.ttl_ms = 1000});
  cluster.AskRetainedAll();
  cluster.Pass(5000);
  cluster.at_home().Reopen();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0);
  cluster.Pass(5000);
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0) << "the others have said nothing since";
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 1);
}

TEST(SpanRetention, APartWithoutRowsLeftHoldsNothingUp) {
  Retained cluster(proto::Retention{.epochs = 1, .ttl_ms = 1000});
  std::set<int64_t> elsewhere;
  for (const auto& info : cluster.Whole()->Info().partitions) {
    if (info.server != cluster.home()) elsewhere.insert(info.partition);
  }
  cluster.Confirm(elsewhere);
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 0);
  cluster.at_home().now_ms += 1000;
  EXPECT_EQ(cluster.at_home()->DropIdleFeeds(), 1);
}

// Everything at the same time that servers do of their own accord, while the feed is written again
// and again and its rows are confirmed.
TEST(SpanRetention, ServersAskWhileTheFeedIsConfirmedAndWrittenAgain) {
  Retained cluster(proto::Retention{.epochs = 1, .ttl_ms = 1'000'000});
  const size_t home = cluster.home();
  std::atomic<bool> stop{false};
  std::atomic<int64_t> asked{0};
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        const auto status = cluster.AskRetained(i);
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_EQ((*cluster.stores[i])->DropIdleFeeds(), 0);
        EXPECT_TRUE((*cluster.stores[home])->Describe("f").ok());
        ++asked;
      }
    });
  }
  for (int round = 0; round < 4; ++round) {
    for (int64_t p = 0; p < kPartitions; ++p) cluster.Confirm({(p * 5) % kPartitions});
    const int64_t before = asked;
    cluster.Write("again-" + std::to_string(round), WriteMode::kOverwrite);
    EXPECT_TRUE(cluster.Released().empty()) << "what was confirmed of the feed before";
    while (asked < before + 6) std::this_thread::yield();
  }
  cluster.Confirm(Numbers(0, kPartitions));
  stop = true;
  threads.clear();
  cluster.AskRetainedAll();
  EXPECT_EQ(cluster.Released(), Numbers(0, kPartitions));
  for (const auto& store : cluster.stores) EXPECT_EQ((*store)->budget().used_bytes(), 0);
}

// What the shards of all readers confirm at the end is all of it, wherever it is; in the middle
// nothing that is still to come.
TEST(SpanRetention, PositionsConfirmRowsOfTheWholeFeed) {
  for (const int64_t window : {int64_t{0}, int64_t{7}, plan::kWholeShard}) {
    Retained cluster;
    const auto whole = cluster.Whole();
    const auto rows = server::RowsOf(*whole);
    ASSERT_EQ(rows->rows(), kPartitions * kRows);
    proto::Position position;
    position.format = plan::kPositionFormat;
    position.feed = "f";
    position.fingerprint = whole->fingerprint;
    position.num_shards = 3;
    position.policy = plan::ShardPolicy::kStatic;
    position.uneven = plan::UnevenShards::kJoin;
    position.shuffle_window = window;
    position.seed = 5;
    const auto confirm = [&](int64_t shard, int64_t cursor) {
      position.shard = shard;
      position.cursor = cursor;
      const auto done = server::ConfirmedRows(position, *cluster.Whole()).ValueOrDie();
      ASSERT_TRUE(cluster.at_home()->Confirm("f", whole->feed_id, done).ok());
      cluster.AskRetainedAll();
    };
    std::set<int64_t> to_come;  // rows of all shards, from their cursors on
    const int64_t half = kPartitions * kRows / 6;
    for (int64_t shard = 0; shard < 3; ++shard) {
      confirm(shard, half);
      const plan::ShardRows own(rows, {position.policy, position.uneven, shard, 3});
      const auto order =
          plan::EpochOrder({.shard = shard, .num_shards = 3, .window = window, .seed = 5}, own, 0);
      for (size_t i = half; i < order.size(); ++i) to_come.insert(order[i]);
    }
    for (const int64_t p : cluster.Released()) {
      for (int64_t row = p * kRows; row < (p + 1) * kRows; ++row) {
        EXPECT_FALSE(to_come.contains(row)) << row << " with window " << window;
      }
    }
    if (window == 0) EXPECT_FALSE(cluster.Released().empty());
    for (int64_t shard = 0; shard < 3; ++shard) {
      EXPECT_LT(cluster.Released().size(), static_cast<size_t>(kPartitions));
      confirm(shard, kPartitions * kRows / 3);
      if (window == plan::kWholeShard && shard == 1) {  // places alone, through the journal
        EXPECT_TRUE(cluster.Released().empty());
        cluster.at_home().Reopen();
        EXPECT_EQ(cluster.Whole()->Info().confirmed_rows, 2 * kPartitions * kRows / 3 + half);
      }
    }
    EXPECT_EQ(cluster.Released(), Numbers(0, kPartitions)) << "with window " << window;
  }
}

}  // namespace
}  // namespace flightbridge::feed
