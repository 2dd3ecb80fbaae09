// Writers, readers, commits, drops and sweeps at once; most telling under ThreadSanitizer.
#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Numbered;
using testing::RowsOf;
using testing::TestStore;

void Churn(const std::string& data_dir, int rounds) {
  TestStore store(16 << 20, data_dir);
  const auto batch = Numbered(0, 500);
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0}, commits{0}, broken{0};
  std::vector<std::thread> writers, others;
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 random(static_cast<uint32_t>(w));
      for (int i = 0; i < rounds; ++i) {
        const std::string feed = "f" + std::to_string(random() % 2);
        const std::string job = std::to_string(w) + "-" + std::to_string(i);
        const auto mode = i % 3 == 0 ? proto::WriteMode::kAppend : proto::WriteMode::kOverwrite;
        if (!store.Begin(feed, job, batch->schema(), mode).ok()) continue;
        proto::CommitWrite commit{feed, job, {}};
        bool staged = true;
        for (int64_t p = 0; p < 3; ++p) {
          // Two attempts of each partition; the second one wins.
          static_cast<void>(store.Put(feed, job, p, 2 * p, {batch}));
          const auto ref = store.Put(feed, job, p, 2 * p + 1, {batch, batch});
          staged = staged && ref.ok();
          if (ref.ok()) commit.attempts.push_back(*ref);
        }
        if (!staged || i % 5 == 4) {
          broken += store->AbortWrite({feed, job}).ok() ? 0 : 1;
        } else {
          const auto done = store->CommitWrite(commit);
          if (done.ok()) ++commits;
          const auto again = store->CommitWrite(commit);
          broken += done.ok() && again.ok() && again->already_committed &&
                            again->feed->feed_id == done->feed->feed_id
                        ? 0
                        : 1;
        }
      }
    });
  }
  for (int r = 0; r < 2; ++r) {
    others.emplace_back([&] {
      while (!stop) {
        for (const auto& info : store->List()) {
          const auto snapshot = store->Find(info.feed);
          if (!snapshot.ok()) continue;
          const auto rows = RowsOf(**snapshot);
          torn += rows.size() == static_cast<size_t>((*snapshot)->rows) && rows.size() % 3000 == 0
                      ? 0
                      : 1;
          for (size_t i = 0; i < rows.size(); ++i) {
            if (rows[i] != static_cast<int64_t>(i % 500)) ++torn;
          }
        }
        std::this_thread::yield();
      }
    });
  }
  others.emplace_back([&] {
    std::mt19937 random(99);
    while (!stop) {
      static_cast<void>(store->DropFeed({"f" + std::to_string(random() % 2), true}));
      static_cast<void>(store->SweepOrphans());
      if (store->budget().held_bytes() > 16 << 20) ++broken;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (auto& writer : writers) writer.join();
  stop = true;
  for (auto& other : others) other.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(broken, 0);
  EXPECT_GT(commits, rounds);
  if (!data_dir.empty()) {
    const auto before = store->List();
    store.Reopen();
    EXPECT_EQ(store->List(), before);
  }
  for (const char* feed : {"f0", "f1"}) EXPECT_TRUE(store->DropFeed({feed, true}).ok());
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(FeedStress, InMemory) { Churn("", 40); }

TEST(FeedStress, InADataDirectory) {
  testing::TempDir dir;
  Churn(dir.path(), 15);
}

}  // namespace
}  // namespace flightbridge::feed
