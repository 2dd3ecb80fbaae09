// What happens where memory or disk is full: allocations wait, give up or go on; file segments
// leave memory and come back.
#include <sys/resource.h>

#include <atomic>
#include <barrier>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "segment/segment.h"
#include "testing/store.h"

namespace flightbridge::segment {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr std::chrono::minutes kForEver{10};

std::shared_ptr<SegmentStore> Open(int64_t memory, const std::string& data_dir = "",
                                   int64_t spill = SegmentStoreOptions::kNoSpillLimit) {
  SegmentStoreOptions options;
  options.memory_limit_bytes = memory;
  options.data_dir = data_dir;
  options.spill_limit_bytes = spill;
  options.segment_bytes = 4 * kMiB;
  return SegmentStore::Open(options).ValueOrDie();
}

// A patience that tells when its allocation has begun to wait.
struct Waiting {
  std::promise<void> begun;
  std::atomic<bool> told = false;
  std::function<arrow::Status()> answer = [] { return arrow::Status::OK(); };

  Patience patience() {
    return {kForEver, [this] {
              if (!told.exchange(true)) begun.set_value();
              return answer();
            }};
  }
};

TEST(SegmentRoom, FullStoreSaysWhatIsFull) {
  auto memory = Open(kMiB);
  auto held = memory->New(kMiB, kMiB).ValueOrDie();
  const auto status = memory->New(1, 1).status();
  EXPECT_EQ(CodeOf(status), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("memory limit of 1.0 MiB"), std::string::npos) << status;
  testing::TempDir dir;
  auto disk = Open(64 * kMiB, dir.path(), kMiB);
  auto on_disk = disk->New(kMiB, kMiB).ValueOrDie();
  EXPECT_EQ(disk->disk_budget().used_bytes(), kMiB);
  const auto spill = disk->New(1, 1).status();
  EXPECT_EQ(CodeOf(spill), Code::kResourceExhausted);
  EXPECT_NE(spill.message().find("spill limit of 1.0 MiB"), std::string::npos) << spill;
}

TEST(SegmentRoom, AllocationGoesOnOnceRoomReturns) {
  for (const bool on_disk : {false, true}) {
    testing::TempDir dir;
    auto store = on_disk ? Open(64 * kMiB, dir.path(), kMiB) : Open(kMiB);
    auto held = store->New(kMiB, kMiB).ValueOrDie();
    Waiting waiting;
    auto made = std::async(std::launch::async,
                           [&] { return store->New(kMiB / 2, kMiB / 2, waiting.patience()); });
    waiting.begun.get_future().wait();
    held.reset();
    auto segment = made.get();
    ASSERT_TRUE(segment.ok()) << segment.status();
    EXPECT_EQ((*segment)->capacity(), kMiB / 2);
  }
}

TEST(SegmentRoom, WaitEndsWhenItsCallerGoes) {
  auto store = Open(kMiB);
  auto held = store->New(kMiB, kMiB).ValueOrDie();
  Waiting waiting;
  waiting.answer = [] { return Error(Code::kCancelled, "the client went away"); };
  EXPECT_EQ(CodeOf(store->New(1, 1, waiting.patience()).status()), Code::kCancelled);
}

TEST(SegmentRoom, WaitEndsWhenTheServerStops) {
  auto store = Open(kMiB);
  auto held = store->New(kMiB, kMiB).ValueOrDie();
  Waiting waiting;
  auto made = std::async(std::launch::async, [&] { return store->New(1, 1, waiting.patience()); });
  waiting.begun.get_future().wait();
  store->StopWaiting();
  const auto status = made.get().status();
  EXPECT_EQ(CodeOf(status), Code::kUnavailable) << status;
  EXPECT_NE(status.message().find("stopping"), std::string::npos) << status;
}

TEST(SegmentRoom, WhatNeverFitsIsRefusedAtOnce) {
  testing::TempDir dir;
  Waiting waiting;
  for (const auto& store : {Open(kMiB), Open(kMiB, dir.path())}) {
    const auto status = store->New(2 * kMiB, 0, waiting.patience()).status();
    EXPECT_EQ(CodeOf(status), Code::kResourceExhausted) << status;
    EXPECT_NE(status.message().find("--memory-limit 1.0 MiB"), std::string::npos) << status;
  }
  EXPECT_FALSE(waiting.told) << "no wait can help";
}

TEST(SegmentRoom, SpillWithoutADataDirectoryIsRefused) {
  SegmentStoreOptions options;
  options.spill_limit_bytes = kMiB;
  const auto status = SegmentStore::Open(options).status();
  EXPECT_EQ(CodeOf(status), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("--data-dir"), std::string::npos) << status;
}

std::vector<std::shared_ptr<Segment>> WriteMarked(SegmentStore& store, int count) {
  std::vector<std::shared_ptr<Segment>> segments;
  for (int i = 0; i < count; ++i) {
    segments.push_back(store.New(kMiB, kMiB).ValueOrDie());
    std::memset(segments.back()->Allocate(kMiB), i + 1, kMiB);
    segments.back()->Trim();
    EXPECT_LE(store.budget().held_bytes(), store.budget().limit_bytes());
  }
  return segments;
}

int64_t MappedFileBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::atoll(line.c_str() + 8) * 1024;
  }
  return -1;
}

TEST(SegmentRoom, FilesLargerThanMemoryStayInsideItAndComeBackWhole) {
  testing::TempDir dir;
  const int64_t before = MappedFileBytes();
  auto store = Open(8 * kMiB, dir.path());
  auto segments = WriteMarked(*store, 64);
  EXPECT_EQ(store->disk_budget().used_bytes(), 64 * kMiB);
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < segments.size(); ++i) {
      ASSERT_TRUE(segments[i]->Touch().ok());
      for (int64_t at = 0; at < kMiB; at += 4096) {
        ASSERT_EQ(segments[i]->data()[at], i + 1) << "segment " << i << " at " << at;
      }
      ASSERT_LE(store->budget().held_bytes(), 8 * kMiB);
    }
  }
  EXPECT_LT(MappedFileBytes() - before, 24 * kMiB) << "pages left behind are unmapped";
  EXPECT_GT(segments[0]->loads(), 0u);
  segments.clear();
  EXPECT_EQ(store->disk_budget().held_bytes(), 0);
  EXPECT_EQ(store->budget().held_bytes(), 0);
}

TEST(SegmentRoom, EvictedBytesAreDurableAfterSync) {
  testing::TempDir dir;
  std::vector<SegmentRef> refs;
  {
    auto store = Open(4 * kMiB, dir.path());
    auto segments = WriteMarked(*store, 16);
    for (auto& segment : segments) {
      ASSERT_TRUE(segment->Sync().ok());
      refs.push_back(segment->ref());
    }
    store->Retire();
  }
  auto store = Open(4 * kMiB, dir.path());
  for (size_t i = 0; i < refs.size(); ++i) {
    auto segment = store->Reopen(refs[i]).ValueOrDie();
    EXPECT_EQ(segment->loads(), 1u) << "what an earlier run wrote came from disk";
    ASSERT_TRUE(segment->Touch().ok());
    EXPECT_EQ(segment->data()[kMiB - 1], i + 1);
    store->Retire();
  }
}

TEST(SegmentRoom, ManyThreadsReadMoreThanMemoryHolds) {
  testing::TempDir dir;
  auto store = Open(6 * kMiB, dir.path());
  const auto segments = WriteMarked(*store, 24);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  for (size_t reader = 0; reader < 4; ++reader) {
    readers.emplace_back([&, reader] {
      for (size_t step = 0; step < 120; ++step) {
        const size_t i = (step * (2 * reader + 1) + reader * 5) % segments.size();
        if (!segments[i]->Touch().ok()) ++wrong;
        for (int64_t at = 0; at < kMiB; at += 4096) {
          if (segments[i]->data()[at] != i + 1) ++wrong;
        }
      }
    });
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

// However many need a segment at once, it takes room once, and one other goes for it.
TEST(SegmentRoom, ManyThreadsBringOneSegmentBackOnce) {
  testing::TempDir dir;
  auto store = Open(6 * kMiB, dir.path());
  const auto segments = WriteMarked(*store, 24);
  for (size_t i = 0; i < segments.size(); ++i) {  // the first ones have been out for longest
    const uint32_t before = segments[i]->loads();
    std::barrier start(4);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 4; ++reader) {
      readers.emplace_back([&] {
        start.arrive_and_wait();
        if (!segments[i]->Touch().ok() || segments[i]->data()[kMiB - 1] != i + 1) ++wrong;
      });
    }
    for (auto& reader : readers) reader.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(segments[i]->loads(), before + 1);
    EXPECT_EQ(store->budget().held_bytes(), 6 * kMiB) << "of segment " << i;
  }
}

TEST(SegmentRoom, FileSizeLimitIsAFullDisk) {
  testing::TempDir dir;
  auto store = Open(64 * kMiB, dir.path());
  struct rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {static_cast<rlim_t>(kMiB), old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto refused = store->New(2 * kMiB, 2 * kMiB).status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(CodeOf(refused), Code::kResourceExhausted) << refused;
  EXPECT_EQ(store->disk_budget().held_bytes(), 0);
  EXPECT_EQ(store->budget().held_bytes(), 0);
  EXPECT_TRUE(store->New(2 * kMiB, 2 * kMiB).ok()) << "it goes on by itself";
}

// Everything that a process under ASan, too, would die of if it touched it.
TEST(SegmentRoom, AFileThatIsCutUnderTheServerIsNeitherReadNorWritten) {
  testing::TempDir dir;
  auto store = Open(64 * kMiB, dir.path());
  const auto filled = [&](uint8_t with) {
    auto segment = store->New(kMiB, kMiB).ValueOrDie();
    std::memset(segment->Allocate(kMiB / 2), with, kMiB / 2);
    return segment;
  };
  const auto first = filled(1);
  const auto second = filled(2);
  ASSERT_EQ(first->ref().chunk, second->ref().chunk);
  const auto file = std::filesystem::directory_iterator(dir.path() + "/segments")->path();
  std::filesystem::resize_file(file, second->ref().offset + 4096);
  EXPECT_TRUE(first->Touch().ok());
  for (int i = 0; i < 2; ++i) {
    const auto status = second->Touch();
    EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
    EXPECT_NE(status.message().find("was cut to"), std::string::npos) << status;
    EXPECT_EQ(CodeOf(second->Sync()), Code::kDataLoss);
    EXPECT_EQ(second->Allocate(64), nullptr);
    const auto third = filled(3);  // in another file, and not behind what is gone
    EXPECT_NE(third->ref().chunk, first->ref().chunk);
    EXPECT_TRUE(third->Touch().ok());
    // What is longer again holds zeros.
    std::filesystem::resize_file(file, 8 * kMiB);
  }
  EXPECT_TRUE(first->Touch().ok());
  EXPECT_EQ(first->data()[kMiB / 2 - 1], 1);
}

}  // namespace
}  // namespace flightbridge::segment
