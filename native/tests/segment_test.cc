#include "segment/segment.h"

#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "testing/store.h"

namespace flightbridge::segment {
namespace {

constexpr int64_t kMiB = 1 << 20;

std::shared_ptr<SegmentStore> OpenMemory(int64_t limit_bytes) {
  SegmentStoreOptions options;
  options.memory_limit_bytes = limit_bytes;
  return SegmentStore::Open(options).ValueOrDie();
}

TEST(Segment, AllocatesAlignedUntilFull) {
  auto store = OpenMemory(kMiB);
  auto segment = store->New(1000, 1000).ValueOrDie();
  const int64_t capacity = segment->capacity();
  uint8_t* first = segment->Allocate(10);
  uint8_t* second = segment->Allocate(10);
  EXPECT_EQ(second - first, 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(segment->Allocate(capacity - 64), nullptr);
  EXPECT_EQ(segment->Allocate(-1), nullptr);
  EXPECT_NE(segment->Allocate(capacity - 128), nullptr);
  EXPECT_EQ(segment->Allocate(1), nullptr);
}

TEST(Segment, SlicesKeepItAlive) {
  auto store = OpenMemory(kMiB);
  auto segment = store->New(4096, 4096).ValueOrDie();
  std::memcpy(segment->Allocate(5), "hello", 5);
  auto slice = segment->Slice(0, 5);
  segment.reset();
  EXPECT_GT(store->budget().used_bytes(), 0);
  EXPECT_EQ(slice->ToString(), "hello");
  slice.reset();
  EXPECT_EQ(store->budget().used_bytes(), 0);
}

TEST(Segment, TrimGivesTheTailBack) {
  auto store = OpenMemory(4 * kMiB);
  auto segment = store->New(2 * kMiB, 2 * kMiB).ValueOrDie();
  std::memset(segment->Allocate(5000), 7, 5000);
  segment->Trim();
  EXPECT_EQ(segment->capacity(), 8192);
  EXPECT_EQ(store->budget().used_bytes(), 8192);
  EXPECT_EQ(segment->data()[4999], 7);
  EXPECT_TRUE(store->New(3 * kMiB, 3 * kMiB).ok()) << "pooled pages are given up when needed";
}

TEST(SegmentStore, RecyclesWarmPages) {
  auto store = OpenMemory(8 * kMiB);
  auto segment = store->New(kMiB, kMiB).ValueOrDie();
  const uint8_t* data = segment->data();
  segment.reset();
  EXPECT_EQ(store->budget().pooled_bytes(), kMiB);
  segment = store->New(kMiB, kMiB).ValueOrDie();
  EXPECT_EQ(segment->data(), data);
  EXPECT_EQ(store->budget().pooled_bytes(), 0);
  segment.reset();
  store->ReleasePool();
  EXPECT_EQ(store->budget().held_bytes(), 0);
}

TEST(SegmentStore, LargerThanAChunkAndSmallerThanWanted) {
  SegmentStoreOptions options;
  options.memory_limit_bytes = 8 * kMiB;
  options.segment_bytes = kMiB;
  auto store = SegmentStore::Open(options).ValueOrDie();
  auto large = store->New(5 * kMiB, 0).ValueOrDie();
  EXPECT_GE(large->capacity(), 5 * kMiB);
  auto rest = store->New(kMiB, 8 * kMiB).ValueOrDie();
  EXPECT_GE(rest->capacity(), kMiB) << "what there is, when not all that was wanted";
  EXPECT_LE(store->budget().held_bytes(), 8 * kMiB);
  const auto status = store->New(4 * kMiB, 4 * kMiB).status();
  EXPECT_EQ(CodeOf(status), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("memory limit"), std::string::npos);
}

TEST(SegmentStore, NoLimitIsRefused) {
  SegmentStoreOptions options;
  options.memory_limit_bytes = 0;
  EXPECT_EQ(CodeOf(SegmentStore::Open(options).status()), Code::kInvalidArgument);
}

// Random life of many segments: no two overlap, the budget holds, nothing is left at the end.
TEST(SegmentStore, RandomUseNeverOverlapsNorExceeds) {
  for (const bool on_disk : {false, true}) {
    testing::TempDir dir;
    SegmentStoreOptions options;
    options.memory_limit_bytes = 4 * kMiB;
    options.segment_bytes = kMiB;
    if (on_disk) options.data_dir = dir.path();
    auto store = SegmentStore::Open(options).ValueOrDie();
    std::mt19937 random(3);
    struct Live {
      std::shared_ptr<Segment> segment;
      uint8_t mark;
      int64_t bytes;
    };
    std::vector<Live> live;
    for (int step = 0; step < (on_disk ? 600 : 3000); ++step) {
      if (random() % 2 == 0 && live.size() < 60) {
        const int64_t bytes = 1 + random() % (random() % 8 == 0 ? 700'000 : 20'000);
        auto segment = store->New(bytes, random() % (2 * kMiB));
        if (!segment.ok()) {
          ASSERT_EQ(CodeOf(segment.status()), Code::kResourceExhausted);
          ASSERT_FALSE(on_disk);
          continue;
        }
        const auto mark = static_cast<uint8_t>(random());
        std::memset((*segment)->Allocate(bytes), mark, static_cast<size_t>(bytes));
        if (random() % 2 == 0) (*segment)->Trim();
        live.push_back({*segment, mark, bytes});
      } else if (!live.empty()) {
        const size_t i = random() % live.size();
        for (int64_t at = 0; at < live[i].bytes; at += 511) {
          ASSERT_EQ(live[i].segment->data()[at], live[i].mark);
        }
        live[i] = live.back();
        live.pop_back();
      }
      ASSERT_LE(store->budget().held_bytes(), 4 * kMiB);
    }
    live.clear();
    EXPECT_EQ(store->budget().used_bytes(), 0);
    store->ReleasePool();
    EXPECT_EQ(store->budget().held_bytes(), 0);
    if (on_disk) EXPECT_TRUE(std::filesystem::is_empty(dir.path() + "/segments"));
  }
}

}  // namespace
}  // namespace flightbridge::segment
