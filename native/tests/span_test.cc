// Feeds that span three stores: what homes decide and the others do, without a network.
#include "feed/span.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "feed/placement.h"
#include "flightbridge/error.h"
#include "testing/batches.h"
#include "testing/cluster.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using proto::WriteMode;

using testing::Cluster;
using testing::kServers;

TEST(Span, CommitIsTheHomesAndTheOthersFollow) {
  Cluster cluster;
  const auto commit = cluster.Stage("job", 12, 0);
  for (size_t i = 0; i < 3; ++i) {
    if (i == cluster.home()) continue;
    const auto status = (*cluster.stores[i])->CommitWrite(commit).status();
    EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
    EXPECT_FALSE((*cluster.stores[i])->Find("f").ok());
  }
  ASSERT_TRUE(cluster.Decide(commit).ok());
  cluster.TellAll();
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, 12));
  EXPECT_TRUE(cluster.Decide(commit).ok()) << "a commit can be repeated";
  for (const auto& store : cluster.stores) EXPECT_TRUE((*store)->JobsInDoubt("").empty());
}

TEST(Span, HasTheFingerprintOfTheSameFeedOnOneServer) {
  Cluster cluster;
  ASSERT_TRUE(cluster.Decide(cluster.Stage("job", 5, 0)).ok());
  testing::TestStore one;
  std::vector<testing::Batches> partitions;
  for (int64_t p = 0; p < 5; ++p)
    partitions.push_back({testing::FromJson(arrow::int64(), "[" + std::to_string(p) + "]")});
  const auto alone = one.Write("f", partitions);
  const auto whole = (*cluster.stores[cluster.home()])->Find("f").ValueOrDie();
  EXPECT_EQ(whole->fingerprint, alone->fingerprint);
  EXPECT_EQ(whole->rows, 5);
}

TEST(Span, AServerThatWasNotToldFindsOutAfterARestart) {
  Cluster cluster;
  ASSERT_TRUE(cluster.Decide(cluster.Stage("one", 12, 0, WriteMode::kAppend)).ok());
  ASSERT_TRUE(cluster.Decide(cluster.Stage("two", 12, 12, WriteMode::kAppend)).ok());
  for (const auto& store : cluster.stores) store->Reopen();
  cluster.TellAll();
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, 24));
  for (const auto& store : cluster.stores) store->Reopen();
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(0, 24));
}

TEST(Span, OverwritesAreDoneInTheHomesOrder) {
  Cluster cluster;
  ASSERT_TRUE(cluster.Decide(cluster.Stage("z-first", 12, 0, WriteMode::kOverwrite)).ok());
  ASSERT_TRUE(cluster.Decide(cluster.Stage("a-second", 12, 100, WriteMode::kOverwrite)).ok());
  cluster.TellAll();
  EXPECT_EQ(cluster.Rows(), Cluster::Numbers(100, 112));
}

TEST(Span, JobsThatTheHomeNeverDecidedAreDiscarded) {
  Cluster cluster;
  cluster.Stage("job", 12, 0);
  cluster.TellAll();
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ((*cluster.stores[i])->JobsInDoubt("").empty(), i == cluster.home());
  ASSERT_TRUE((*cluster.stores[cluster.home()])->AbortWrite({"f", "job"}).ok());
  cluster.TellAll();
  for (const auto& store : cluster.stores) {
    EXPECT_TRUE((*store)->JobsInDoubt("").empty());
    EXPECT_FALSE((*store)->Find("f").ok());
    EXPECT_EQ((*store)->Describe("f").ok(), false);
  }
}

TEST(Span, OnlyTheHomeLetsAJobExpire) {
  Cluster cluster;
  const auto commit = cluster.Stage("job", 12, 0);
  for (size_t i = 0; i < 3; ++i) {
    cluster.stores[i]->now_ms += 10'000'000;
    if (i == cluster.home()) continue;
    EXPECT_EQ((*cluster.stores[i])->SweepOrphans(), 0);
  }
  EXPECT_EQ((*cluster.stores[cluster.home()])->SweepOrphans(), 1);
  EXPECT_FALSE(cluster.Decide(commit).ok());
  cluster.TellAll();
  for (const auto& store : cluster.stores) EXPECT_TRUE((*store)->JobsInDoubt("").empty());
}

TEST(Span, ActivityAnywhereKeepsTheJobOpenAtHome) {
  Cluster cluster;
  const auto commit = cluster.Stage("job", 12, 0);
  cluster.stores[cluster.home()]->now_ms += 3'600'000;
  cluster.TellAll();  // the others' clocks stand still: they had activity just now
  cluster.stores[cluster.home()]->now_ms += 1000;
  EXPECT_EQ((*cluster.stores[cluster.home()])->SweepOrphans(), 0);
  EXPECT_TRUE(cluster.Decide(commit).ok());
}

TEST(Span, RefusesAnotherListOfServersAndAPartitionOfAnotherServer) {
  Cluster cluster;
  ASSERT_TRUE(cluster.Decide(cluster.Stage("job", 12, 0)).ok());
  cluster.TellAll();
  for (const auto& store : cluster.stores) {
    const auto status = store->Begin("f", "alone", cluster.schema, WriteMode::kOverwrite).status();
    EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
  }
  cluster.Stage("next", 0, 0, WriteMode::kAppend);
  for (int64_t p = 0; p < 12; ++p) {
    const size_t wrong = (ServerOf(kServers, "f", p) + 1) % 3;
    const auto put =
        cluster.stores[wrong]->Put("f", "next", p, 1, {testing::FromJson(arrow::int64(), "[1]")});
    EXPECT_EQ(CodeOf(put.status()), Code::kInvalidArgument) << put.status();
  }
  proto::BeginWrite begin;
  begin.feed = "g";
  begin.job_id = "job";
  begin.mode = WriteMode::kAppend;
  begin.schema = EncodeSchema(*cluster.schema).ValueOrDie();
  begin.servers = kServers;
  begin.home = static_cast<uint32_t>((HomeOf(kServers, "g") + 1) % 3);
  EXPECT_EQ(CodeOf((*cluster.stores[0])->BeginWrite(begin).status()), Code::kInvalidArgument);
  begin.home = static_cast<uint32_t>(HomeOf(kServers, "g"));
  std::ranges::reverse(begin.servers);
  EXPECT_EQ(CodeOf((*cluster.stores[0])->BeginWrite(begin).status()), Code::kInvalidArgument);
}

}  // namespace
}  // namespace flightbridge::feed
