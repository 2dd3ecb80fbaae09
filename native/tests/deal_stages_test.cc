#include "deal/stages.h"

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "deal/buckets.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "testing/store.h"

namespace flightbridge::deal {
namespace {

constexpr int64_t kMiB = 1 << 20;

// A store with a data directory, and spaces in it.
class StagesTest : public ::testing::Test {
 protected:
  std::shared_ptr<Space> NewSpace(int64_t bytes) {
    return Space::OnDisk(store_.get()->segments(), dir_.path(), bytes).ValueOrDie();
  }
  static std::vector<uint8_t> Read(const Space& space, int64_t begin, int64_t end) {
    std::vector<uint8_t> bytes(end - begin);
    EXPECT_TRUE(space.Read(bytes.data(), end - begin, begin).ok());
    return bytes;
  }

  testing::TempDir dir_;
  testing::TestStore store_{64 * kMiB, dir_.path()};
  std::mt19937_64 rng_{7};
};

// What a thread appends: its number and length lead it, and the rest follows from them.
struct Piece {
  int64_t bucket = 0;
  std::vector<uint8_t> bytes;
};

std::vector<uint8_t> MakeBytes(uint32_t number, uint32_t size) {
  std::vector<uint8_t> bytes(size);
  std::memcpy(bytes.data(), &number, 4);
  std::memcpy(bytes.data() + 4, &size, 4);
  for (uint32_t i = 8; i < size; ++i) bytes[i] = static_cast<uint8_t>(number * 31 + i);
  return bytes;
}

// Of all sizes, up to several stages, in the midst of others' appends: each lies in one piece.
TEST_F(StagesTest, WhatManyThreadsAppendLiesInOnePiece) {
  constexpr int64_t kBuckets = 5;
  constexpr size_t kThreads = 4;
  for (const int64_t limit : {int64_t{0}, kBuckets * Stages::kBlock}) {
    std::vector<std::vector<Piece>> pieces(kThreads);
    std::vector<int64_t> starts(kBuckets + 1);
    uint32_t count = 0;
    for (auto& mine : pieces) {
      for (int i = 0; i < 400; ++i) {
        const auto size = static_cast<uint32_t>(8 + rng_() % (i % 50 == 0 ? 300'000 : 3000));
        const auto bucket = static_cast<int64_t>(rng_() % kBuckets);
        mine.push_back({bucket, MakeBytes(count++, size)});
        starts[bucket + 1] += size;
      }
    }
    for (size_t b = 1; b < starts.size(); ++b) starts[b] += starts[b - 1];
    const auto space = NewSpace(starts.back());
    Stages stages(space, starts, limit);
    std::vector<std::thread> threads;
    for (const auto& mine : pieces) {
      threads.emplace_back([&] {
        for (const Piece& piece : mine) {
          ASSERT_TRUE(stages.Append(piece.bucket, piece.bytes).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const auto status = stages.Finish();
    ASSERT_TRUE(status.ok()) << status;
    std::map<uint32_t, int64_t> bucket_of;
    for (const auto& mine : pieces) {
      for (const Piece& piece : mine) {
        uint32_t number = 0;
        std::memcpy(&number, piece.bytes.data(), 4);
        bucket_of[number] = piece.bucket;
      }
    }
    for (int64_t b = 0; b < kBuckets; ++b) {
      const auto bytes = Read(*space, starts[b], starts[b + 1]);
      EXPECT_EQ(segment::Crc32c(0, bytes.data(), bytes.size()), stages.crc32c(b));
      for (size_t at = 0; at < bytes.size();) {
        uint32_t head[2] = {0, 0};
        ASSERT_LE(at + sizeof(head), bytes.size());
        std::memcpy(head, bytes.data() + at, sizeof(head));
        const auto found = bucket_of.find(head[0]);
        ASSERT_TRUE(found != bucket_of.end() && found->second == b) << "at " << at;
        ASSERT_LE(at + head[1], bytes.size());
        const auto expected = MakeBytes(head[0], head[1]);
        ASSERT_EQ(std::memcmp(bytes.data() + at, expected.data(), head[1]), 0) << "at " << at;
        bucket_of.erase(found);  // once
        at += head[1];
      }
    }
    EXPECT_TRUE(bucket_of.empty());
  }
}

TEST_F(StagesTest, WhatWasNotCountedIsRefused) {
  const std::vector<int64_t> starts = {0, 100, 300};
  const auto space = NewSpace(300);
  const std::vector<uint8_t> bytes(101);
  Stages more(space, starts, 0);
  EXPECT_EQ(CodeOf(more.Append(0, bytes)), Code::kInternal);
  Stages less(space, starts, 0);
  ASSERT_TRUE(less.Append(0, std::span(bytes).first(100)).ok());
  ASSERT_TRUE(less.Append(1, std::span(bytes).first(100)).ok());
  const auto status = less.Finish();
  EXPECT_EQ(CodeOf(status), Code::kInternal) << status;
  EXPECT_NE(status.message().find("bucket 1"), std::string::npos) << status;
}

// A bucket that is not what was written is not handed out; the others are.
TEST_F(StagesTest, DamageIsFoundWhereItIs) {
  constexpr int64_t kRows = 2000;
  const auto schema = arrow::schema({arrow::field("n", arrow::int64(), /*nullable=*/false)});
  const auto codec = std::make_shared<const RowCodec>(schema, std::vector<int>{0},
                                                      std::vector<bool>{false}, /*headers=*/true);
  const BucketCut cut = BucketCut::Of(kRows, codec->row_bytes(), 4096, 1 << 12);
  ASSERT_GE(cut.count(), 3);
  std::vector<int64_t> starts;
  for (int64_t b = 0; b <= cut.count(); ++b) {
    starts.push_back(std::min(kRows, cut.begin(b)) * codec->row_bytes());
  }
  const auto space = NewSpace(starts.back());
  Buckets buckets(cut, codec, space, starts, 0);
  std::vector<int64_t> values(kRows);
  std::vector<int64_t> places(kRows);
  for (int64_t i = 0; i < kRows; ++i) {
    values[i] = i * i;
    places[i] = kRows - 1 - i;
  }
  feed::PickColumn column;
  column.values = reinterpret_cast<const uint8_t*>(values.data());
  Buckets::Room room;
  ASSERT_TRUE(buckets.Add(&column, 0, places, {}, &room).ok());
  ASSERT_TRUE(buckets.Finish().ok());
  const uint8_t wrong = 0xA5;
  ASSERT_TRUE(space->Write(&wrong, 1, starts[1] + 11).ok());
  std::vector<uint8_t> buffer;
  for (int64_t b = 0; b < cut.count(); ++b) {
    const auto bytes = buckets.Load(b, &buffer);
    if (b == 1) {
      EXPECT_EQ(CodeOf(bytes.status()), Code::kDataLoss) << bytes.status();
      continue;
    }
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    BucketIndex index;
    index.Build(*codec, *bytes, cut.end(b) - cut.begin(b));
    for (int64_t place = cut.begin(b); place < cut.end(b); ++place) {
      int64_t value = 0;
      std::memcpy(&value, index.RowAt(place - cut.begin(b)) + sizeof(RowHeader::place),
                  sizeof(value));
      EXPECT_EQ(value, values[kRows - 1 - place]);
    }
  }
}

}  // namespace
}  // namespace flightbridge::deal
