// How fast the reader assembles batches from memory, beside memcpy of the same bytes.
//
//   fb_batch_bench [seconds per case] [only ragged columns of this type, such as string]
//
// 12 columns of 8 bytes, then ragged columns: lists, strings, lists of strings, lists of lists.
// memcpy is measured in turn with each case, between warm buffers of the batch's size spread over
// the same source memory.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <sys/resource.h>

#include "../tests/fake_source.h"
#include "batch/reader.h"

namespace {

using namespace flightbridge;         // NOLINT(google-build-using-namespace)
using namespace flightbridge::batch;  // NOLINT(google-build-using-namespace)
using Clock = std::chrono::steady_clock;

constexpr int kColumns = 12;
constexpr int64_t kFeedRows = 1 << 20;
constexpr int64_t kSourceBatchRows = 1 << 16;
constexpr int64_t kRowBytes = kColumns * 8;
constexpr int64_t kRaggedRows = 1 << 18;
constexpr int64_t kRaggedBatchRows = 1 << 15;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) { return t.tv_sec + t.tv_usec / 1e6; };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

std::shared_ptr<FakeFeed> MakeFeed() {
  arrow::FieldVector fields;
  for (int c = 0; c < kColumns; ++c) {
    fields.push_back(arrow::field("c" + std::to_string(c), arrow::int64()));
  }
  auto feed = std::make_shared<FakeFeed>();
  feed->schema = arrow::schema(fields);
  auto& batches = feed->partitions.emplace_back();
  for (int64_t row = 0; row < kFeedRows; row += kSourceBatchRows) {
    arrow::ArrayVector columns;
    for (int c = 0; c < kColumns; ++c) {
      auto data = *arrow::AllocateBuffer(kSourceBatchRows * 8);
      std::memset(data->mutable_data(), c + 1, data->size());
      columns.push_back(std::make_shared<arrow::Int64Array>(kSourceBatchRows, std::move(data)));
    }
    batches.push_back(arrow::RecordBatch::Make(feed->schema, kSourceBatchRows, columns));
  }
  return feed;
}

// Bytes per second of copying the feed's columns, `rows` values at a time.
double MemcpyRate(const FakeFeed& feed, int64_t rows, double seconds) {
  std::vector<uint8_t> to(rows * kRowBytes, 1);
  const auto begin = Clock::now();
  int64_t bytes = 0;
  while (Seconds(begin) < seconds) {
    for (const auto& batch : feed.partitions[0]) {
      for (int64_t row = 0; row + rows <= batch->num_rows(); row += rows) {
        for (int c = 0; c < kColumns; ++c) {
          const uint8_t* from = batch->column_data(c)->buffers[1]->data();
          std::memcpy(to.data() + c * rows * 8, from + row * 8, rows * 8);
          bytes += rows * 8;
        }
      }
    }
  }
  return static_cast<double>(bytes) / Seconds(begin);
}

// Lists of 0 to 8, strings of 0 to 32 bytes.
std::shared_ptr<arrow::Array> MakeArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length, std::mt19937& rng) {
  if (!arrow::is_list(type->id()) && type->id() != arrow::Type::STRING) {
    const int64_t bytes = length * static_cast<const arrow::FixedWidthType&>(*type).byte_width();
    std::shared_ptr<arrow::Buffer> data = *arrow::AllocateBuffer(bytes);
    std::memset(data->mutable_data(), 1, bytes);
    return arrow::MakeArray(arrow::ArrayData::Make(type, length, {nullptr, data}));
  }
  const bool text = type->id() == arrow::Type::STRING;
  std::shared_ptr<arrow::Buffer> offsets = *arrow::AllocateBuffer((length + 1) * 4);
  auto* to = reinterpret_cast<int32_t*>(offsets->mutable_data());
  to[0] = 0;
  for (int64_t i = 0; i < length; ++i) {
    to[i + 1] = to[i] + static_cast<int32_t>(rng() % (text ? 33 : 9));
  }
  if (text) {
    std::shared_ptr<arrow::Buffer> data = *arrow::AllocateBuffer(to[length]);
    std::memset(data->mutable_data(), 'x', data->size());
    return arrow::MakeArray(arrow::ArrayData::Make(type, length, {nullptr, offsets, data}));
  }
  const auto values = MakeArrayOf(type->field(0)->type(), to[length], rng);
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, length, {nullptr, offsets}, {values->data()}));
}

// Four columns of a type.
std::shared_ptr<FakeFeed> MakeRaggedFeed(const std::shared_ptr<arrow::DataType>& type) {
  auto feed = std::make_shared<FakeFeed>();
  arrow::FieldVector fields;
  for (int c = 0; c < 4; ++c) fields.push_back(arrow::field("c" + std::to_string(c), type));
  feed->schema = arrow::schema(fields);
  auto& batches = feed->partitions.emplace_back();
  std::mt19937 rng(1);
  for (int64_t row = 0; row < kRaggedRows; row += kRaggedBatchRows) {
    arrow::ArrayVector columns;
    for (int c = 0; c < 4; ++c) columns.push_back(MakeArrayOf(type, kRaggedBatchRows, rng));
    batches.push_back(arrow::RecordBatch::Make(feed->schema, kRaggedBatchRows, columns));
  }
  return feed;
}

int64_t BytesOf(const Batch& batch) {
  int64_t bytes = 0;
  for (const fb_column& c : batch.columns()) {
    bytes += c.data_bytes;
    if (c.offsets != nullptr) bytes += (c.length + 1) * 8;
    for (int i = 0; i < c.num_levels; ++i) bytes += c.row_splits_length[i] * 8;
  }
  return bytes;
}

double PlainMemcpyRate(int64_t bytes, double seconds) {
  std::vector<uint8_t> from(64 << 20, 1);
  std::vector<uint8_t> to(bytes, 1);
  const auto begin = Clock::now();
  int64_t copied = 0;
  while (Seconds(begin) < seconds) {
    for (size_t at = 0; at + bytes <= from.size(); at += bytes) {
      std::memcpy(to.data(), from.data() + at, bytes);
      copied += bytes;
    }
  }
  return static_cast<double>(copied) / Seconds(begin);
}

void RunRagged(const std::shared_ptr<arrow::DataType>& type, int64_t window, double seconds) {
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = 4096;
  spec.epochs = -1;
  spec.num_shards = 1;
  spec.shuffle_window = window;
  auto reader = *Reader::Open(spec, ConnectFake(MakeRaggedFeed(type)), true);
  const int64_t batch_bytes = BytesOf(**reader->Next());
  const double memcpy_rate = PlainMemcpyRate(batch_bytes, seconds / 4);
  const double cpu = CpuSeconds();
  const auto begin = Clock::now();
  int64_t bytes = 0;
  while (Seconds(begin) < seconds) bytes += BytesOf(**reader->Next());
  const double rate = static_cast<double>(bytes) / Seconds(begin);
  const double cpu_rate = static_cast<double>(bytes) / (CpuSeconds() - cpu);
  std::printf("%s, window %ld: %.2f GB/s  memcpy %.2f GB/s  ratio %.2f, by CPU time %.2f\n",
              type->ToString().c_str(), static_cast<long>(window), rate / 1e9, memcpy_rate / 1e9,
              rate / memcpy_rate, cpu_rate / memcpy_rate);
}

void Run(const std::shared_ptr<FakeFeed>& feed, int64_t batch_size, int64_t window,
         double seconds) {
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = batch_size;
  spec.epochs = -1;
  spec.num_shards = 1;
  spec.shuffle_window = window;
  const double memcpy_rate = MemcpyRate(*feed, batch_size, seconds / 4);
  auto reader = *Reader::Open(spec, ConnectFake(feed), true);
  if (!reader->Next().ok()) std::abort();
  const double cpu = CpuSeconds();
  const auto begin = Clock::now();
  int64_t batches = 0;
  while (Seconds(begin) < seconds) {
    for (int i = 0; i < 16; ++i) {
      if (!reader->Next().ok()) std::abort();
      ++batches;
    }
  }
  const double wall = Seconds(begin);
  const double rate = static_cast<double>(batches * batch_size * kRowBytes) / wall;
  std::printf(
      "%7ld rows, window %8ld: %8.0f batches/s  %6.2f GB/s  memcpy %6.2f GB/s  ratio %.2f  "
      "CPU %.1f us/batch\n",
      static_cast<long>(batch_size), static_cast<long>(window), static_cast<double>(batches) / wall,
      rate / 1e9, memcpy_rate / 1e9, rate / memcpy_rate,
      (CpuSeconds() - cpu) / static_cast<double>(batches) * 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  const std::string only = argc > 2 ? argv[2] : "";
  const auto feed = only.empty() ? MakeFeed() : nullptr;
  for (const int64_t batch_size : {1024, 16384}) {
    if (feed == nullptr) break;
    for (const int64_t window : {0, 65536, -1}) Run(feed, batch_size, window, seconds);
  }
  for (const auto& type : {arrow::list(arrow::int64()), arrow::utf8(), arrow::list(arrow::utf8()),
                           arrow::list(arrow::list(arrow::float32()))}) {
    if (!only.empty() && type->ToString() != only) continue;
    for (const int64_t window : {0, 65536}) RunRagged(type, window, seconds);
  }
  return 0;
}
