// Not a test of correctness: how fast the store takes batches, beside memcpy in the same run.
// fb_tests --gtest_also_run_disabled_tests --gtest_filter='StorageBench.*'
#include <chrono>
#include <cstdio>
#include <cstring>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"
#include "segment/checksum.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::shared_ptr<arrow::RecordBatch> DoublesBatch(int64_t rows, int columns) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (int c = 0; c < columns; ++c) {
    arrow::DoubleBuilder builder;
    EXPECT_TRUE(builder.Reserve(rows).ok());
    for (int64_t i = 0; i < rows; ++i) builder.UnsafeAppend(static_cast<double>(i * c));
    fields.push_back(arrow::field("c" + std::to_string(c), arrow::float64()));
    arrays.push_back(builder.Finish().ValueOrDie());
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), rows, arrays);
}

// The same buffers copied into warm memory as large as a round writes.
double MemcpyGbps(const arrow::RecordBatch& batch, int batches) {
  size_t size = 0;
  for (const auto& column : batch.columns()) {
    size += static_cast<size_t>(column->data()->buffers[1]->size());
  }
  static std::vector<uint8_t> target(size * static_cast<size_t>(batches), 1);
  const double begin = Seconds();
  uint8_t* to = target.data();
  for (int i = 0; i < batches; ++i) {
    for (const auto& column : batch.columns()) {
      const auto& buffer = column->data()->buffers[1];
      std::memcpy(to, buffer->data(), static_cast<size_t>(buffer->size()));
      to += buffer->size();
    }
  }
  return static_cast<double>(to - target.data()) / (Seconds() - begin) / 1e9;
}

TEST(StorageBench, DISABLED_Append) {
  FeedStoreOptions options;
  options.segments.memory_limit_bytes = int64_t{1} << 30;
  if (const char* dir = std::getenv("FB_BENCH_DATA_DIR")) options.segments.data_dir = dir;
  auto store = FeedStore::Open(options).ValueOrDie();
  const auto batch = DoublesBatch(16384, 12);  // 1.5 MiB
  const auto schema = EncodeSchema(*batch->schema()).ValueOrDie();
  const int64_t batch_bytes = 16384 * 12 * 8;
  constexpr int kBatches = 160;
  for (int round = 0; round < 6; ++round) {
    const double copy = MemcpyGbps(*batch, kBatches);
    const double crc_begin = Seconds();
    for (int i = 0; i < kBatches; ++i) {
      ASSERT_TRUE(segment::BatchChecksum(*batch).ok());
    }
    const double crc = batch_bytes * kBatches / (Seconds() - crc_begin) / 1e9;
    const std::string job = "j" + std::to_string(round);
    ASSERT_TRUE(store->BeginWrite({"f", job, proto::WriteMode::kOverwrite, schema, {}}).ok());
    auto writer = store->OpenAttempt({"f", job, 0, 0}, batch->schema()).ValueOrDie();
    const double begin = Seconds();
    for (int i = 0; i < kBatches; ++i) {
      auto status = writer->Append(*batch, std::nullopt);
      ASSERT_TRUE(status.ok()) << status;
    }
    const double append = batch_bytes * kBatches / (Seconds() - begin) / 1e9;
    auto put = writer->Finish(std::nullopt);
    ASSERT_TRUE(put.ok()) << put.status();
    const double finish = batch_bytes * kBatches / (Seconds() - begin) / 1e9;
    ASSERT_TRUE(
        store->CommitWrite({"f", job, {{0, 0, put->rows, put->batches, put->crc32c}}}).ok());
    std::printf(
        "round %d: append %.2f GB/s (with finish %.2f), checksum only %.2f, memcpy %.2f, ratio "
        "%.2f\n",
        round, append, finish, crc, copy, append / copy);
    ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  }
}

// How long a server with a thousand partitions in its data directory takes to come back.
TEST(StorageBench, DISABLED_Recovery) {
  constexpr int64_t kPartitions = 1000;
  testing::TempDir dir;
  FeedStoreOptions options;
  options.segments.data_dir = dir.path();
  auto store = FeedStore::Open(options).ValueOrDie();
  const auto batch = DoublesBatch(1024, 12);
  const auto schema = EncodeSchema(*batch->schema()).ValueOrDie();
  ASSERT_TRUE(store->BeginWrite({"f", "j", proto::WriteMode::kOverwrite, schema}).ok());
  proto::CommitWrite commit{"f", "j", {}};
  for (int64_t i = 0; i < kPartitions; ++i) {
    auto writer = store->OpenAttempt({"f", "j", i, i}, batch->schema()).ValueOrDie();
    ASSERT_TRUE(writer->Append(*batch, std::nullopt).ok());
    const auto put = writer->Finish(std::nullopt).ValueOrDie();
    commit.attempts.push_back({i, i, put.rows, put.batches, put.crc32c});
  }
  ASSERT_TRUE(store->CommitWrite(commit).ok());
  for (int round = 0; round < 3; ++round) {
    store.reset();
    const double begin = Seconds();
    store = FeedStore::Open(options).ValueOrDie();
    const double took = Seconds() - begin;
    ASSERT_EQ(store->Find("f").ValueOrDie()->rows, kPartitions * 1024);
    std::printf("round %d: recovery of %lld partitions %.3f s\n", round,
                static_cast<long long>(kPartitions), took);
  }
}

}  // namespace
}  // namespace flightbridge::feed
