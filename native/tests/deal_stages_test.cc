#include "deal/stages.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
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

// What several threads append, of all sizes, up to several stages.
struct Appended {
  std::vector<std::vector<Piece>> of_threads;
  std::vector<int64_t> bytes;  // by bucket

  Appended(int64_t buckets, std::mt19937_64& rng) : of_threads(4), bytes(buckets) {
    uint32_t count = 0;
    for (auto& mine : of_threads) {
      for (int i = 0; i < 400; ++i) {
        const auto size = static_cast<uint32_t>(8 + rng() % (i % 50 == 0 ? 300'000 : 3000));
        const auto bucket = static_cast<int64_t>(rng() % buckets);
        mine.push_back({bucket, MakeBytes(count++, size)});
        bytes[bucket] += size;
      }
    }
  }
  arrow::Status To(Stages& stages) const {
    std::vector<std::thread> threads;
    for (const auto& mine : of_threads) {
      threads.emplace_back([&] {
        for (const Piece& piece : mine) {
          ASSERT_TRUE(stages.Append(piece.bucket, piece.bytes).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return stages.Finish();
  }
};

// Each piece lies in its bucket, whole and once.
void ExpectPieces(const Appended& appended, const Space& space, const Stages& stages) {
  std::map<uint32_t, int64_t> bucket_of;
  for (const auto& mine : appended.of_threads) {
    for (const Piece& piece : mine) {
      uint32_t number = 0;
      std::memcpy(&number, piece.bytes.data(), 4);
      bucket_of[number] = piece.bucket;
    }
  }
  for (int64_t b = 0; b < std::ssize(appended.bytes); ++b) {
    std::vector<uint8_t> bytes;
    for (const Extent& extent : stages.extents(b)) {
      bytes.resize(bytes.size() + extent.bytes);
      uint8_t* const to = bytes.data() + bytes.size() - extent.bytes;
      ASSERT_TRUE(space.Read(to, extent.bytes, extent.at).ok());
    }
    ASSERT_EQ(std::ssize(bytes), appended.bytes[b]);
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

// In the midst of others' appends.
TEST_F(StagesTest, WhatManyThreadsAppendLiesInOnePiece) {
  constexpr int64_t kBuckets = 5;
  for (const int64_t limit : {int64_t{0}, kBuckets * Stages::kBlock}) {
    const Appended appended(kBuckets, rng_);
    std::vector<int64_t> starts(kBuckets + 1);
    std::partial_sum(appended.bytes.begin(), appended.bytes.end(), starts.begin() + 1);
    const auto space = NewSpace(starts.back());
    Stages stages(space, starts, limit);
    const auto status = appended.To(stages);
    ASSERT_TRUE(status.ok()) << status;
    ExpectPieces(appended, *space, stages);
  }
}

// The same where nobody knows how many bytes a bucket will have, whatever was expected; and the
// space is neither too small nor much too large in the end.
TEST_F(StagesTest, BucketsTakeWhatTheyNeed) {
  constexpr int64_t kBuckets = 5;
  for (const int64_t limit : {int64_t{0}, kBuckets * Stages::kBlock}) {
    for (const int64_t expected : {int64_t{1}, kMiB, 20 * kMiB}) {
      SCOPED_TRACE(expected);
      const Appended appended(kBuckets, rng_);
      const int64_t bytes = std::accumulate(appended.bytes.begin(), appended.bytes.end(), 0L);
      const int64_t before = store_.get()->disk_budget().used_bytes();
      const auto space = NewSpace(expected);
      Stages stages(space, kBuckets, expected / kBuckets, limit,
                    [&](int64_t most) { return space->Resize(most); });
      const auto status = appended.To(stages);
      ASSERT_TRUE(status.ok()) << status;
      ExpectPieces(appended, *space, stages);
      EXPECT_EQ(store_.get()->disk_budget().used_bytes() - before, space->bytes());
      EXPECT_GE(space->bytes(), bytes);
      EXPECT_LE(space->bytes(),
                bytes + kBuckets * std::max(2 * stages.stage_bytes(), expected / kBuckets / 8));
      std::set<int64_t> begins;  // extents of one size: none lies in another one
      for (int64_t b = 0; b < kBuckets; ++b) {
        for (const Extent& extent : stages.extents(b)) {
          EXPECT_TRUE(begins.insert(extent.at).second);
          EXPECT_EQ(extent.at % stages.stage_bytes(), 0);
        }
      }
    }
  }
}

// What does not fit is said when it comes, and what is held is given back.
TEST_F(StagesTest, ASpaceThatCannotGrowIsFull) {
  store_.options.segments.spill_limit_bytes = 8 * kMiB;
  store_.Reopen();
  const int64_t before = store_.get()->disk_budget().used_bytes();
  {
    const auto space = NewSpace(kMiB);
    Stages stages(space, 2, kMiB / 2, 0, [&](int64_t bytes) { return space->Resize(bytes); });
    const std::vector<uint8_t> bytes(2 * kMiB);
    ASSERT_TRUE(stages.Append(0, bytes).ok());
    arrow::Status refused;
    for (int i = 0; i < 10 && refused.ok(); ++i) refused = stages.Append(1, bytes);
    EXPECT_EQ(CodeOf(refused), Code::kResourceExhausted) << refused;
    EXPECT_NE(refused.message().find("--spill-limit"), std::string::npos) << refused;
    EXPECT_LE(store_.get()->disk_budget().used_bytes(), 8 * kMiB);
  }
  EXPECT_EQ(store_.get()->disk_budget().used_bytes(), before);
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
  const auto space = NewSpace(kRows * codec->row_bytes());
  Buckets buckets(cut, codec, space, {});
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
  ASSERT_TRUE(space->Write(&wrong, 1, cut.begin(1) * codec->row_bytes() + 11).ok());
  BucketIndex index;
  for (int64_t b = 0; b < cut.count(); ++b) {
    const auto status = buckets.Load(b, &index);
    if (b == 1) {
      EXPECT_EQ(CodeOf(status), Code::kDataLoss) << status;
      continue;
    }
    ASSERT_TRUE(status.ok()) << status;
    for (int64_t place = cut.begin(b); place < cut.end(b); ++place) {
      int64_t value = 0;
      std::memcpy(&value, index.RowAt(place - cut.begin(b)) + sizeof(RowHeader::place),
                  sizeof(value));
      EXPECT_EQ(value, values[kRows - 1 - place]);
    }
  }
}

// Strings, in extents: a byte belongs to one bucket, and a file that was cut lacks something.
TEST_F(StagesTest, DamageOfStringsIsFound) {
  constexpr int64_t kRows = 20'000;
  const auto schema = arrow::schema({arrow::field("s", arrow::binary(), /*nullable=*/false)});
  const auto codec = std::make_shared<const RowCodec>(schema, std::vector<int>{0},
                                                      std::vector<bool>{false}, /*headers=*/false);
  std::vector<int32_t> offsets = {0};
  for (int64_t i = 0; i < kRows; ++i) {
    offsets.push_back(offsets.back() + static_cast<int32_t>(rng_() % 200));
  }
  std::vector<uint8_t> bytes(offsets.back());
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng_());
  feed::PickColumn column;
  column.values = reinterpret_cast<const uint8_t*>(offsets.data());
  column.bytes = bytes.data();
  std::vector<int64_t> places(kRows);
  std::iota(places.begin(), places.end(), 0);
  std::ranges::shuffle(places, rng_);
  std::vector<uint32_t> sizes(kRows);
  ASSERT_TRUE(codec->Sizes(&column, 0, sizes).ok());
  const BucketCut cut = BucketCut::Of(kRows, 112, 1 << 16, 1 << 12);
  ASSERT_GE(cut.count(), 8);
  const auto space = NewSpace(kMiB);
  Buckets buckets(cut, codec, space,
                  {.stage_limit = 0, .bucket_bytes = 1 << 16, .grow = [&](int64_t most) {
                     return space->Resize(most);
                   }});
  Buckets::Room room;
  ASSERT_TRUE(buckets.Add(&column, 0, places, sizes, &room).ok());
  ASSERT_TRUE(buckets.Finish().ok());
  BucketIndex index;
  const auto damaged = [&] {
    int64_t count = 0;
    for (int64_t b = 0; b < cut.count(); ++b) {
      const auto status = buckets.Load(b, &index);
      EXPECT_TRUE(status.ok() || CodeOf(status) == Code::kDataLoss) << status;
      count += status.ok() ? 0 : 1;
    }
    return count;
  };
  EXPECT_EQ(damaged(), 0);
  const int64_t at = 5000;  // in the first extent, which is full
  uint8_t byte = 0;
  ASSERT_TRUE(space->Read(&byte, 1, at).ok());
  byte ^= 0x10;
  ASSERT_TRUE(space->Write(&byte, 1, at).ok());
  EXPECT_EQ(damaged(), 1);
  byte ^= 0x10;
  ASSERT_TRUE(space->Write(&byte, 1, at).ok());
  EXPECT_EQ(damaged(), 0);
  ASSERT_TRUE(space->Resize(space->bytes() / 2).ok());
  EXPECT_GE(damaged(), cut.count() / 4);
}

}  // namespace
}  // namespace flightbridge::deal
