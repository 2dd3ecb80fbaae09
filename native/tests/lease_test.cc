// The lease table with a clock of the test's own: who gets what, expiry, fencing, going on.
#include "lease/lease_table.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "flightbridge/error.h"

namespace flightbridge::lease {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kFingerprint = 77;

class Leases : public testing::Test {
 protected:
  // Four partitions of 100 rows; splits of 20 rows: 20 of them.
  proto::AcquireSplits Request(uint64_t holder) {
    proto::AcquireSplits request;
    request.group = "g";
    request.feed = "f";
    request.fingerprint = kFingerprint;
    request.split_rows = 20;
    request.holder = holder;
    request.token = tokens_[holder];
    request.sequence = ++sequence_;
    request.max_splits = 1;
    request.lease_timeout_ms = 30'000;
    request.held = {held_[holder].begin(), held_[holder].end()};
    return request;
  }
  proto::AcquireSplits JoinRequest(uint64_t holder) {
    tokens_[holder] = ++last_token_;
    held_[holder].clear();
    proto::AcquireSplits request = Request(holder);
    request.join = true;
    return request;
  }

  arrow::Result<proto::AcquireSplitsResult> Send(const proto::AcquireSplits& request) {
    auto result = table_.Acquire(request, {kFingerprint, [this] { return rows_; }});
    if (result.ok()) {
      for (const auto& split : result->splits) held_[request.holder].insert(split.split);
    }
    return result;
  }
  std::vector<int64_t> Numbers(const arrow::Result<proto::AcquireSplitsResult>& result) {
    EXPECT_TRUE(result.ok()) << result.status();
    std::vector<int64_t> numbers;
    if (result.ok()) {
      for (const auto& split : result->splits) numbers.push_back(split.split);
    }
    return numbers;
  }
  std::vector<int64_t> Join(uint64_t holder) { return Numbers(Send(JoinRequest(holder))); }
  std::vector<int64_t> Take(uint64_t holder) { return Numbers(Send(Request(holder))); }
  arrow::Status Done(uint64_t holder, std::vector<int64_t> splits, int64_t epoch = 0) {
    for (const int64_t split : splits) held_[holder].erase(split);
    return table_.Release({"g", "f", holder, tokens_[holder], epoch, std::move(splits), {}, false});
  }
  arrow::Status Renew(uint64_t holder) { return table_.Renew({"g", "f", holder, tokens_[holder]}); }

  std::shared_ptr<const plan::FeedRows> rows_ = std::make_shared<const plan::FeedRows>(
      std::vector<plan::PartitionRows>{{0, 100}, {3, 100}, {5, 100}, {9, 100}});
  Time now_{seconds(1000)};
  LeaseTable table_{[this] { return now_; }};
  std::map<uint64_t, uint64_t> tokens_;
  std::map<uint64_t, std::set<int64_t>> held_;
  uint64_t last_token_ = 100;
  uint64_t sequence_ = 0;
};

void ExpectFenced(const arrow::Status& status) {
  EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
}

TEST_F(Leases, FirstComeFirstServedInOrderAndEveryoneHearsOfTheEnd) {
  EXPECT_EQ(Join(1), (std::vector<int64_t>{0}));
  EXPECT_EQ(Join(2), (std::vector<int64_t>{1}));
  auto request = Request(1);
  request.max_splits = 64;
  const auto rest = Send(request);
  EXPECT_EQ(Numbers(rest).size(), 18);
  EXPECT_EQ(rest->splits.back().partition, 9);
  EXPECT_EQ(rest->splits.back().row_begin, 80);
  EXPECT_EQ(rest->splits.back().row_end, 100);
  const auto none = Send(Request(2));
  EXPECT_TRUE(none->drained);
  EXPECT_FALSE(none->epoch_done);
  std::vector<int64_t> all = {0};
  for (int64_t split = 2; split < 20; ++split) all.push_back(split);
  ASSERT_TRUE(Done(1, all).ok());
  EXPECT_FALSE(Send(Request(1))->epoch_done);
  ASSERT_TRUE(Done(2, {1}).ok());
  for (const uint64_t holder : {1, 2}) {
    const auto end = Send(Request(holder));
    EXPECT_TRUE(end->epoch_done);
    EXPECT_TRUE(end->splits.empty());
  }
  EXPECT_TRUE(Send(JoinRequest(3))->epoch_done) << "one that comes late hears it too";
  auto next = Request(1);
  next.epoch = 1;
  EXPECT_EQ(Numbers(Send(next)), (std::vector<int64_t>{0}));
  EXPECT_TRUE(Send(Request(2))->epoch_done) << "of the epoch it still reads";
}

TEST_F(Leases, ALeaseWithoutASignOfLifeEndsAndItsSplitsGoToOthers) {
  Join(1);
  Join(2);
  now_ += seconds(20);
  ASSERT_TRUE(Renew(2).ok());
  now_ += seconds(11);  // 31 s without a word of 1
  EXPECT_EQ(Take(2), (std::vector<int64_t>{0}));
  ExpectFenced(Renew(1));
  ExpectFenced(Done(1, {0}));
  ExpectFenced(Send(Request(1)).status());
  ASSERT_TRUE(Done(2, {0, 1}).ok());
  EXPECT_EQ(Join(1), (std::vector<int64_t>{2})) << "done is done";
}

TEST_F(Leases, HeartbeatsKeepALeaseForAsLongAsTheyCome) {
  Join(1);
  Join(2);
  for (int i = 0; i < 100; ++i) {
    now_ += seconds(29);
    ASSERT_TRUE(Renew(1).ok());
    ASSERT_TRUE(Renew(2).ok());
  }
  EXPECT_EQ(table_.open_leases(), 2);
  ASSERT_TRUE(Done(1, {0}).ok());
  now_ += seconds(31);
  EXPECT_EQ(table_.open_leases(), 0);
}

// Row 34 of the fault matrix: only the time that passes counts, and the table asks no other clock.
TEST_F(Leases, TimeThatStandsStillEndsNothing) {
  Join(1);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(table_.open_leases(), 1);
  now_ += milliseconds(29'999);
  EXPECT_EQ(table_.open_leases(), 1);
  now_ += milliseconds(1);
  EXPECT_EQ(table_.open_leases(), 0);
}

TEST_F(Leases, AnExpiredReaderJoinsAgainAndGoesOnWhereNobodyElseDid) {
  Join(1);
  Take(1);
  Join(2);
  ASSERT_TRUE(Done(1, {0}).ok());
  now_ += seconds(31);
  ExpectFenced(Renew(1));
  // Nobody took split 1 meanwhile, of which 7 rows were handed out.
  auto again = JoinRequest(1);
  again.resume = proto::ResumeLease{false, {0, 1}, proto::SplitCursor{1, 7}};
  const auto result = Send(again);
  ASSERT_EQ(Numbers(result), (std::vector<int64_t>{1}));
  EXPECT_EQ(result->splits[0].cursor, 7);
}

TEST_F(Leases, AnExpiredReaderDropsWhatAnotherHasTaken) {
  Join(1);
  now_ += seconds(31);
  EXPECT_EQ(Join(2), (std::vector<int64_t>{0}));
  auto again = JoinRequest(1);
  again.resume = proto::ResumeLease{false, {}, proto::SplitCursor{0, 7}};
  EXPECT_EQ(Numbers(Send(again)), (std::vector<int64_t>{1}));
}

TEST_F(Leases, OneThatLeavesGivesBackAndSaysHowFarItIs) {
  Join(1);
  Take(1);
  ASSERT_TRUE(
      table_.Release({"g", "f", 1, tokens_[1], 0, {0}, proto::SplitCursor{1, 13}, true}).ok());
  EXPECT_EQ(table_.open_leases(), 0);
  const auto result = Send(JoinRequest(2));
  ASSERT_EQ(Numbers(result), (std::vector<int64_t>{1}));
  EXPECT_EQ(result->splits[0].cursor, 13);
  ExpectFenced(Renew(1));
}

TEST_F(Leases, WhatALostAnswerGaveIsGivenAgain) {
  Join(1);
  ASSERT_EQ(Take(1), (std::vector<int64_t>{1}));
  held_[1] = {0};  // the answer with split 1 never came
  EXPECT_EQ(Take(1), (std::vector<int64_t>{1}));
}

TEST_F(Leases, CallsThatComeLateOrTwiceDoNoHarm) {
  auto join = JoinRequest(1);
  Send(join);
  const auto late = Request(1);
  Take(1);
  ExpectFenced(Send(late).status());
  ExpectFenced(Send(join).status());
  ASSERT_TRUE(Done(1, {0}).ok());
  ASSERT_TRUE(Done(1, {0}).ok());
  ExpectFenced(Done(1, {5}));  // never leased to it
  EXPECT_EQ(Take(1), (std::vector<int64_t>{2}));
}

// A checkpoint was saved when split 0 was done and 5 rows of split 1 were handed out. The reader
// went on, completed 1 and 2, and was killed.
TEST_F(Leases, ARestoredReaderUndoesWhatCameAfterItsCheckpoint) {
  Join(1);
  Take(1);
  Take(1);
  Join(2);
  ASSERT_TRUE(Done(1, {0, 1, 2}).ok());
  ASSERT_TRUE(Done(2, {3}).ok());
  auto restored = JoinRequest(1);
  restored.resume = proto::ResumeLease{true, {0, 1}, proto::SplitCursor{1, 5}};
  restored.max_splits = 3;
  const auto result = Send(restored);
  EXPECT_EQ(Numbers(result), (std::vector<int64_t>{1, 2, 4}));
  EXPECT_EQ(result->splits[0].cursor, 5);
  // And again from the same checkpoint: what the restored one did never happened either.
  ASSERT_TRUE(Done(1, {1, 2}).ok());
  restored = JoinRequest(1);
  restored.resume = proto::ResumeLease{true, {0, 1}, proto::SplitCursor{1, 5}};
  EXPECT_EQ(Numbers(Send(restored)), (std::vector<int64_t>{1}));
  EXPECT_EQ(Take(1), (std::vector<int64_t>{2}));
}

// The checkpoint is of the last splits of epoch 0; the reader was killed in epoch 1.
TEST_F(Leases, ARestoredReaderGoesBackToTheEpochBeforeOnceNobodyReadsTheNext) {
  auto request = JoinRequest(1);
  request.max_splits = 64;
  Send(request);
  std::vector<int64_t> all(20);
  std::iota(all.begin(), all.end(), 0);
  ASSERT_TRUE(Done(1, all).ok());
  auto next = JoinRequest(2);
  next.epoch = 1;
  EXPECT_EQ(Numbers(Send(next)), (std::vector<int64_t>{0}));

  const auto restore = [&] {
    auto restored = JoinRequest(1);
    restored.resume = proto::ResumeLease{true, {0, 18}, proto::SplitCursor{18, 5}};
    restored.max_splits = 2;
    return Send(restored);
  };
  EXPECT_TRUE(restore()->not_joined);
  now_ += seconds(31);
  EXPECT_EQ(Numbers(restore()), (std::vector<int64_t>{18, 19}));
  ASSERT_TRUE(Done(1, {18, 19}).ok());
  EXPECT_TRUE(Send(Request(1))->epoch_done);
  next = JoinRequest(2);
  next.epoch = 1;
  EXPECT_EQ(Numbers(Send(next)), (std::vector<int64_t>{0})) << "epoch 1 begins anew";
  next = Request(2);
  next.epoch = 2;
  EXPECT_TRUE(Numbers(Send(next)).empty());
}

TEST_F(Leases, ARestoredReaderTakesThePlaceOfTheOneThatHangs) {
  Join(1);
  const auto old = Request(1);
  auto restored = JoinRequest(1);
  restored.resume = proto::ResumeLease{true, {}, proto::SplitCursor{0, 5}};
  EXPECT_EQ(Numbers(Send(restored)), (std::vector<int64_t>{0}));
  ExpectFenced(Send(old).status());
  // The old one wants to go on: it is told that there is another.
  auto again = JoinRequest(1);
  again.resume = proto::ResumeLease{};
  const auto status = Send(again).status();
  EXPECT_NE(status.message().find("another reader"), std::string::npos) << status;
}

TEST_F(Leases, AServerThatForgotWaitsForAllToSayWhatTheyCompleted) {
  auto first = JoinRequest(1);
  first.resume = proto::ResumeLease{false, {0, 2}, proto::SplitCursor{4, 3}};
  const auto result = Send(first);
  ASSERT_EQ(Numbers(result), (std::vector<int64_t>{4}));
  EXPECT_GT(result->retry_after_ms, 0);
  EXPECT_FALSE(result->drained);
  EXPECT_TRUE(Take(1).empty()) << "2 and 3 may be done by one that has not come back yet";
  now_ += seconds(10);
  auto second = JoinRequest(2);
  second.resume = proto::ResumeLease{false, {2, 1}, std::nullopt};
  EXPECT_TRUE(Numbers(Send(second)).empty());
  now_ += seconds(15);
  ASSERT_TRUE(Renew(1).ok());
  now_ += seconds(6);
  EXPECT_EQ(Take(1), (std::vector<int64_t>{3}));
  EXPECT_EQ(Take(2), (std::vector<int64_t>{5}));
}

TEST_F(Leases, SettingsThatDifferAreRefusedByName) {
  Join(1);
  auto other = JoinRequest(2);
  other.split_rows = 30;
  auto status = Send(other).status();
  EXPECT_NE(status.message().find("split_rows=20, this reader asks for split_rows=30"),
            std::string::npos)
      << status;
  other = JoinRequest(2);
  other.shuffled = true;
  status = Send(other).status();
  EXPECT_NE(status.message().find("shuffle=0"), std::string::npos) << status;
  other = JoinRequest(2);
  other.fingerprint = 1;
  EXPECT_NE(Send(other).status().message().find("written again"), std::string::npos);
  for (auto change : std::vector<void (*)(proto::AcquireSplits*)>{
           [](auto* r) { r->group = ""; }, [](auto* r) { r->split_rows = 0; },
           [](auto* r) { r->epoch = -1; }, [](auto* r) { r->max_splits = 65; },
           [](auto* r) { r->lease_timeout_ms = 99; }, [](auto* r) { r->held.resize(5000); },
           [](auto* r) { r->resume = proto::ResumeLease{false, {0, 21}, {}}; },
           [](auto* r) { r->resume = proto::ResumeLease{false, {}, proto::SplitCursor{0, 20}}; },
           [](auto* r) { r->resume = proto::ResumeLease{false, {}, proto::SplitCursor{20, 0}}; }}) {
    other = JoinRequest(3);
    change(&other);
    EXPECT_EQ(CodeOf(Send(other).status()), Code::kInvalidArgument);
  }
}

TEST_F(Leases, AnEpochThatWasLeftIsAnErrorAndNotAWaitWithoutEnd) {
  Join(1);
  auto next = JoinRequest(2);
  next.epoch = 1;
  EXPECT_TRUE(Numbers(Send(next)).empty()) << "1 still reads epoch 0";
  now_ += seconds(31);
  next = JoinRequest(2);
  next.epoch = 1;
  const auto status = Send(next).status();
  EXPECT_NE(status.message().find("left in epoch 0 with 20 of 20 splits unread"), std::string::npos)
      << status;
}

TEST(LeaseTable, KeepsNoMoreThanItMayAndForgetsWhatIsIdle) {
  Time now{seconds(1)};
  LeaseLimits limits{.max_groups = 2, .max_splits = 100, .keep_idle = seconds(100)};
  LeaseTable table([&] { return now; }, limits);
  const auto rows =
      std::make_shared<const plan::FeedRows>(std::vector<plan::PartitionRows>{{0, 60}});
  const auto join = [&](const std::string& group, int64_t split_rows) {
    proto::AcquireSplits request;
    request.group = group;
    request.feed = "f";
    request.split_rows = split_rows;
    request.holder = request.token = request.sequence = 1;
    request.join = true;
    request.max_splits = 1;
    request.lease_timeout_ms = 1000;
    return table.Acquire(request, {0, [&] { return rows; }}).status();
  };
  ASSERT_TRUE(join("a", 1).ok());
  const auto many = join("b", 1);
  EXPECT_EQ(CodeOf(many), Code::kResourceExhausted);
  EXPECT_NE(many.message().find("raise split_rows"), std::string::npos) << many;
  ASSERT_TRUE(join("b", 10).ok());
  EXPECT_EQ(CodeOf(join("c", 10)), Code::kResourceExhausted);
  now += seconds(101);
  ASSERT_TRUE(join("c", 10).ok());
  EXPECT_EQ(table.num_groups(), 1);
}

// Readers that come, go, die, return, restore and lose answers, in any order: an epoch ends with
// every split completed, none by two, and none completed by one that was fenced.
TEST_F(Leases, AnyLifeOfItsReadersCompletesEverySplitOnce) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 rng(seed);
    Time now{seconds(5)};
    LeaseTable table([&] { return now; });
    struct Reader {
      uint64_t token = 0;
      std::set<int64_t> held;
      plan::SplitSet done;
    };
    std::vector<Reader> readers(4);
    std::map<int64_t, int> completed;
    bool over = false;
    uint64_t sequence = 0;
    for (int step = 0; step < 2000 && !over; ++step) {
      const size_t who = rng() % readers.size();
      Reader& reader = readers[who];
      const auto choice = rng() % 100;
      if (choice < 4) {
        now += seconds(rng() % 40);
      } else if (reader.token == 0 || choice < 60) {
        proto::AcquireSplits request;
        request.group = "g";
        request.feed = "f";
        request.split_rows = 20;
        request.shuffled = seed % 2 == 0;
        request.seed = seed;
        request.holder = who + 1;
        request.join = reader.token == 0;
        if (request.join) {
          request.resume = proto::ResumeLease{false, reader.done.Encode(), std::nullopt};
          reader.token = rng() | 1;
          reader.held.clear();
        }
        request.token = reader.token;
        request.sequence = ++sequence;
        request.max_splits = 1 + static_cast<int64_t>(rng() % 3);
        request.held = {reader.held.begin(), reader.held.end()};
        request.lease_timeout_ms = 30'000;
        const auto result = table.Acquire(request, {0, [&] { return rows_; }});
        if (!result.ok()) {
          ASSERT_EQ(CodeOf(result.status()), Code::kFailedPrecondition) << result.status();
          reader.token = 0;
          reader.held.clear();
          continue;
        }
        over = result->epoch_done;
        if (choice < 10) continue;  // the answer is lost
        for (const auto& split : result->splits) reader.held.insert(split.split);
      } else if (!reader.held.empty()) {
        const int64_t split = *reader.held.begin();
        reader.held.erase(reader.held.begin());
        const auto status = table.Release({"g", "f", who + 1, reader.token, 0, {split}, {}, false});
        if (status.ok()) {
          ++completed[split];
          reader.done.Insert(split);
        } else {
          ASSERT_EQ(CodeOf(status), Code::kFailedPrecondition) << status;
          reader.token = 0;
          reader.held.clear();
        }
      }
    }
    ASSERT_TRUE(over);
    ASSERT_EQ(completed.size(), 20);
    for (const auto& [split, times] : completed) ASSERT_EQ(times, 1) << split;
  }
}

}  // namespace
}  // namespace flightbridge::lease
