// Feeds of mode STREAM whose writers commit at once, and whose journal ends in the middle of a
// record.
#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Numbered;
using testing::RowsOf;
using testing::TempDir;
using testing::TestStore;

constexpr int64_t kRows = 3;        // of a partition
constexpr int64_t kPartitions = 2;  // of a generation

proto::BeginWrite StreamOf(const std::string& job, const proto::WriterEpoch& epoch) {
  proto::BeginWrite begin;
  begin.feed = "f";
  begin.job_id = job;
  begin.mode = proto::WriteMode::kStream;
  begin.schema = EncodeSchema(*Numbered(0, 1)->schema()).ValueOrDie();
  begin.epoch = epoch;
  return begin;
}

// The rows of an epoch, the same in every run of its writer.
int64_t FirstRow(int writer, int64_t epoch) {
  return writer * 1'000'000 + epoch * kRows * kPartitions;
}

void AddRows(int writer, int64_t epoch, std::vector<int64_t>* rows) {
  for (int64_t i = 0; i < kRows * kPartitions; ++i) rows->push_back(FirstRow(writer, epoch) + i);
}

arrow::Result<proto::CommitWrite> Stage(FeedStore* store, int writer, int run, int64_t epoch) {
  const std::string job =
      std::to_string(writer) + "-" + std::to_string(run) + "-" + std::to_string(epoch);
  proto::CommitWrite commit{"f", job, {}};
  commit.epoch = proto::WriterEpoch{"w" + std::to_string(writer), epoch};
  ARROW_ASSIGN_OR_RAISE(const auto begun, store->BeginWrite(StreamOf(job, *commit.epoch)));
  if (begun.already_committed) return commit;
  for (int64_t p = 0; p < kPartitions; ++p) {
    const auto batch = Numbered(FirstRow(writer, epoch) + p * kRows, kRows);
    ARROW_ASSIGN_OR_RAISE(auto attempt, store->OpenAttempt({"f", job, p, run}, batch->schema()));
    ARROW_RETURN_NOT_OK(attempt->Append(*batch, std::nullopt));
    ARROW_ASSIGN_OR_RAISE(const auto put, attempt->Finish(std::nullopt));
    commit.attempts.push_back({p, run, put.rows, put.batches, put.crc32c});
  }
  return commit;
}

std::vector<int64_t> SortedRows(const TestStore& store) {
  auto rows = RowsOf(*store->Find("f").ValueOrDie());
  std::ranges::sort(rows);
  return rows;
}

// The chain as a reader hears of it that waits until the feed is ended.
std::vector<proto::GenerationInfo> Follow(FeedStore* store) {
  std::vector<proto::GenerationInfo> chain = store->Describe("f", 0).ValueOrDie().generations;
  while (true) {
    const int64_t last = chain.back().generation;
    const auto info = store->WaitForChange("f", last, std::chrono::minutes(10), last);
    if (!info.ok()) {
      ADD_FAILURE() << info.status();
      return chain;
    }
    EXPECT_EQ(info->generations.front(), chain.back()) << "what was read stays";
    EXPECT_EQ(info->partitions.size(), (info->generations.size() - 1) * kPartitions) << "whole";
    for (size_t i = 1; i < info->generations.size(); ++i) {
      EXPECT_EQ(info->generations[i].generation, chain.back().generation + 1);
      EXPECT_EQ(info->generations[i].rows, kRows * kPartitions);
      chain.push_back(info->generations[i]);
    }
    if (info->state == proto::FeedState::kCommitted) return chain;
  }
}

// Each writer has two runs, as a query whose old driver is not dead yet.
TEST(GenerationFaults, WritersThatCommitAtOnceHaveEachEpochOnce) {
  constexpr int kWriters = 4;
  constexpr int kRuns = 2;
  constexpr int64_t kEpochs = 12;
  TempDir dir;
  TestStore store(256 << 20, dir.path());
  ASSERT_TRUE(store->BeginWrite(StreamOf("first", {"none", 0})).ok());
  std::vector<proto::GenerationInfo> heard;
  std::thread reader([&] { heard = Follow(store.get().get()); });
  std::atomic<int> fresh{0};
  std::vector<std::thread> runs;
  for (int writer = 0; writer < kWriters; ++writer) {
    for (int run = 0; run < kRuns; ++run) {
      runs.emplace_back([&, writer, run] {
        for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
          const auto commit = Stage(store.get().get(), writer, run, epoch);
          ASSERT_TRUE(commit.ok()) << commit.status();
          const auto done = store->CommitWrite(*commit);
          ASSERT_TRUE(done.ok()) << done.status();
          if (!done->already_committed) ++fresh;
        }
      });
    }
  }
  for (auto& run : runs) run.join();
  const auto ended = store->EndFeed({"f"});
  reader.join();
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(fresh, kWriters * kEpochs) << "of two commits of an epoch one counts";
  EXPECT_EQ(heard, ended->generations);
  EXPECT_EQ(heard.size(), 1u + kWriters * kEpochs);
  std::vector<int64_t> expected;
  for (int writer = 0; writer < kWriters; ++writer) {
    for (int64_t epoch = 0; epoch < kEpochs; ++epoch) AddRows(writer, epoch, &expected);
  }
  EXPECT_EQ(SortedRows(store), expected);
  const auto before = store->Describe("f").ValueOrDie();
  EXPECT_EQ(before.open_jobs, 0);
  store.Reopen();
  EXPECT_EQ(store->Describe("f").ValueOrDie(), before);
  EXPECT_EQ(SortedRows(store), expected);
}

// What was acknowledged is there, and nothing else, also where attempts are recorded behind the
// end.
TEST(GenerationFaults, AnEndAmongCommitsKeepsWhatWasAcknowledged) {
  constexpr int kWriters = 4;
  constexpr int kAtLeast = 8;
  for (int round = 0; round < 5; ++round) {
    TempDir dir;
    TestStore store(256 << 20, dir.path());
    ASSERT_TRUE(store->BeginWrite(StreamOf("first", {"none", 0})).ok());
    std::atomic<int> committed{0};
    std::vector<std::vector<int64_t>> acknowledged(kWriters);
    std::vector<std::thread> writers;
    for (int writer = 0; writer < kWriters; ++writer) {
      writers.emplace_back([&, writer] {
        for (int64_t epoch = 0;; ++epoch) {
          const auto commit = Stage(store.get().get(), writer, 0, epoch);
          const auto done = commit.ok() ? store->CommitWrite(*commit)
                                        : arrow::Result<proto::CommitWriteResult>(commit.status());
          if (!done.ok()) {
            EXPECT_EQ(CodeOf(done.status()), Code::kFailedPrecondition) << done.status();
            return;
          }
          EXPECT_FALSE(done->already_committed);
          AddRows(writer, epoch, &acknowledged[writer]);
          ++committed;
        }
      });
    }
    while (committed < kAtLeast) std::this_thread::yield();
    const auto ended = store->EndFeed({"f"});
    for (auto& writer : writers) writer.join();
    ASSERT_TRUE(ended.ok()) << ended.status();
    std::vector<int64_t> expected;
    for (const auto& rows : acknowledged) expected.insert(expected.end(), rows.begin(), rows.end());
    for (const bool restarted : {false, true}) {
      if (restarted) store.Reopen();
      EXPECT_EQ(SortedRows(store), expected) << restarted;
      const auto info = store->Describe("f").ValueOrDie();
      EXPECT_EQ(info.generations, ended->generations) << "none after the end";
      EXPECT_EQ(info.open_jobs, 0);
    }
    ASSERT_TRUE(store->DropFeed({"f", false}).ok());
    EXPECT_EQ(store->budget().used_bytes(), 0);
  }
}

class Journal {
 public:
  explicit Journal(const std::string& data_dir) : path_(data_dir + "/journal") {}
  std::string Read() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t bytes() const { return Read().size(); }
  void Write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  std::string path_;
};

// The server's machine may lose power at any byte of a record: what is not whole did not happen.
TEST(GenerationFaults, ATornCommitIsNoneAndATornEndLeavesTheFeedOpen) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const Journal journal(dir.path());
  const auto commit = [&](int run, int64_t epoch) {
    return store->CommitWrite(Stage(store.get().get(), 0, run, epoch).ValueOrDie());
  };
  ASSERT_TRUE(commit(0, 0).ok());
  const auto one = store->Describe("f").ValueOrDie();
  const auto staged = Stage(store.get().get(), 0, 0, 1).ValueOrDie();
  const size_t before_commit = journal.bytes();
  ASSERT_FALSE(store->CommitWrite(staged)->already_committed);
  const auto two = store->Describe("f").ValueOrDie();
  const size_t before_end = journal.bytes();
  const auto ended = store->EndFeed({"f"}).ValueOrDie();
  store.Close();
  const std::string whole = journal.Read();
  ASSERT_LT(before_commit, before_end);
  ASSERT_LT(before_end, whole.size());

  for (size_t cut = before_commit; cut <= whole.size(); ++cut) {
    store.Close();  // first, since it may write
    journal.Write(whole.substr(0, cut));
    store.Reopen();
    auto info = store->Describe("f").ValueOrDie();
    if (cut < before_end) {
      EXPECT_EQ(info.open_jobs, 1) << cut;
      info.open_jobs = 0;
    }
    ASSERT_EQ(info, cut < before_end ? one : cut < whole.size() ? two : ended) << cut;
  }

  // The driver that begins anew, and the one before it, which is not dead yet.
  store.Close();
  journal.Write(whole.substr(0, before_end - 1));
  store.Reopen();
  EXPECT_TRUE(commit(1, 0)->already_committed);
  EXPECT_FALSE(commit(1, 1)->already_committed);
  EXPECT_TRUE(store->CommitWrite(staged)->already_committed);
  std::vector<int64_t> expected;
  for (const int64_t epoch : {0, 1}) AddRows(0, epoch, &expected);
  for (const bool restarted : {false, true}) {
    if (restarted) store.Reopen();
    EXPECT_EQ(SortedRows(store), expected);
    EXPECT_EQ(store->Describe("f")->generations, two.generations) << "the same chain";
    EXPECT_EQ(store->Describe("f")->open_jobs, 0);
  }
}

}  // namespace
}  // namespace flightbridge::feed
