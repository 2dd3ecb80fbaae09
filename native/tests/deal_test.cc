#include "deal/dealer.h"

#include <filesystem>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include <arrow/api.h>
#include <arrow/compute/api_vector.h>
#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "plan/full_order.h"
#include "random_columns.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::deal {
namespace {

using std::chrono::milliseconds;
using testing::Batches;
using testing::TempDir;
using testing::TestStore;

constexpr int64_t kMiB = 1 << 20;

// Types that are dealt: all but codes, views, and what is made of them.
std::vector<std::shared_ptr<arrow::DataType>> DealtTypes() {
  std::vector<std::shared_ptr<arrow::DataType>> types = batch::AcceptedTypes();
  std::erase_if(types, [](const auto& type) { return !feed::IsDealt(*type); });
  return types;
}

std::shared_ptr<arrow::RecordBatch> RandomBatch(const std::shared_ptr<arrow::Schema>& schema,
                                                int64_t rows, double nulls, batch::Rng& rng) {
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  for (const auto& field : schema->fields()) {
    arrays.push_back(batch::RandomArray(field->type(), rows, nulls, rng));
  }
  return arrow::RecordBatch::Make(schema, rows, std::move(arrays));
}

// Fixed-width rows of 24 bytes.
std::shared_ptr<arrow::RecordBatch> Plain(int64_t rows, batch::Rng& rng) {
  return RandomBatch(
      arrow::schema({arrow::field("a", arrow::int64()), arrow::field("b", arrow::float64()),
                     arrow::field("c", arrow::int64())}),
      rows, 0, rng);
}

std::shared_ptr<arrow::Table> Whole(const std::vector<Batches>& partitions) {
  Batches all;
  for (const Batches& batches : partitions) all.insert(all.end(), batches.begin(), batches.end());
  return arrow::Table::FromRecordBatches(all).ValueOrDie()->CombineChunks().ValueOrDie();
}

arrow::Result<std::shared_ptr<arrow::Table>> Drain(feed::OrderReader& reader,
                                                   const std::shared_ptr<arrow::Schema>& schema) {
  Batches batches;
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(auto batch, reader.Next(milliseconds(100)));
    if (batch == nullptr) break;
    ARROW_RETURN_NOT_OK(batch->Validate());
    batches.push_back(std::move(batch));
  }
  return arrow::Table::FromRecordBatches(schema, batches);
}

// What `order` is by the plan, taken out of the table the slow way.
std::shared_ptr<arrow::Table> Expected(const arrow::Table& whole, const std::vector<int>& columns,
                                       const proto::RowOrder& order) {
  const plan::Permutation permutation = plan::PermutationOf(order, whole.num_rows());
  arrow::Int64Builder rows;
  for (int64_t i = order.begin; i < order.end; ++i) {
    EXPECT_TRUE(rows.Append(permutation.At(i)).ok());
  }
  const auto indices = rows.Finish().ValueOrDie();
  const auto selected = whole.SelectColumns(columns).ValueOrDie();
  return arrow::compute::Take(selected, indices).ValueOrDie().table();
}

void ExpectSame(const arrow::Table& found, const arrow::Table& expected) {
  ASSERT_EQ(found.num_rows(), expected.num_rows());
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (int c = 0; c < expected.num_columns(); ++c) {
    ASSERT_TRUE(found.column(c)->type()->Equals(*expected.column(c)->type()));
    ASSERT_TRUE(found.column(c)->Equals(*expected.column(c), options))
        << expected.field(c)->ToString();
  }
}

std::shared_ptr<arrow::Schema> Select(const arrow::Schema& schema,
                                      const std::vector<int>& columns) {
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(schema.field(column));
  return arrow::schema(fields);
}

// A store, a feed in it and a dealer of it.
class DealTest : public ::testing::Test {
 protected:
  void Open(int64_t memory_limit, bool on_disk, int64_t spill_limit = -1) {
    const std::string data_dir = on_disk ? dir_.path() + "/data" + std::to_string(++opened_) : "";
    store_.emplace(memory_limit, data_dir);
    store_->options.segments.spill_limit_bytes = spill_limit;
    store_->options.segments.segment_bytes = kMiB;
    store_->Reopen();
    options_.data_dir = data_dir;
    options_.memory_limit_bytes = memory_limit;
    options_.least_bytes = 0;
    options_.threads = 3;
    MakeDealer();
  }
  void MakeDealer() {
    dealer_.reset();
    dealer_ = std::make_unique<Dealer>(store_->get(), options_);
  }
  std::shared_ptr<const feed::Snapshot> Write(
      std::vector<Batches> partitions, proto::WriteMode mode = proto::WriteMode::kErrorIfExists) {
    snapshot_ = store_->Write("f", partitions, mode);
    whole_ = Whole(partitions);
    return snapshot_;
  }
  arrow::Result<std::shared_ptr<arrow::Table>> Read(const proto::RowOrder& order,
                                                    std::vector<int> columns) {
    const auto schema = Select(*snapshot_->schema, columns);
    {
      const std::lock_guard lock(schemas_mutex_);
      schemas_.push_back(schema);
    }
    ARROW_ASSIGN_OR_RAISE(const auto reader,
                          dealer_->Open(snapshot_, schema, std::move(columns), order));
    return Drain(*reader, schema);
  }
  void ExpectOrder(const proto::RowOrder& order, const std::vector<int>& columns) {
    const auto found = Read(order, columns);
    ASSERT_TRUE(found.ok()) << found.status();
    ExpectSame(**found, *Expected(*whole_, columns, order));
  }
  std::vector<int> AllColumns() const {
    std::vector<int> columns(snapshot_->schema->num_fields());
    for (size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<int>(i);
    return columns;
  }
  proto::RowOrder WholeOrder(int64_t epoch) const {
    proto::RowOrder order;
    order.seed = 5;
    order.epoch = epoch;
    order.end = snapshot_->rows;
    return order;
  }
  void TearDown() override { dealer_.reset(); }

  // Outlive what Arrow's library makes with them: its last release of one would look like a race to
  // ThreadSanitizer, which does not see into it.
  std::mutex schemas_mutex_;
  std::vector<std::shared_ptr<arrow::Schema>> schemas_;

  TempDir dir_;
  int opened_ = 0;
  std::optional<TestStore> store_;
  DealerOptions options_;
  std::unique_ptr<Dealer> dealer_;
  std::shared_ptr<const feed::Snapshot> snapshot_;
  std::shared_ptr<arrow::Table> whole_;
  batch::Rng rng_{7};
};

// Random columns, partitions, orders and parts of them; in memory and, where that is short, on
// disk, with columns that vary in size and without.
class DealOrder : public DealTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(, DealOrder, ::testing::Bool(), [](const auto& param) {
  return std::string(param.param ? "OnDisk" : "InMemory");
});

TEST_P(DealOrder, IsThatOfThePlan) {
  const bool on_disk = GetParam();
  const auto types = DealtTypes();
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    const bool fixed = round % 3 == 0;
    arrow::FieldVector fields;
    while (fields.size() < 1 + rng_() % 12) {
      const auto& type = types[rng_() % types.size()];
      if (fixed && (arrow::is_base_binary_like(type->id()) || type->num_fields() > 0)) continue;
      fields.push_back(
          arrow::field("c" + std::to_string(fields.size()), type, /*nullable=*/rng_() % 4 != 0));
    }
    const auto schema = arrow::schema(fields);
    std::vector<Batches> partitions(1 + rng_() % 4);
    for (Batches& batches : partitions) {
      for (uint64_t b = 0; b < 1 + rng_() % 3; ++b) {
        const auto rows = static_cast<int64_t>(rng_() % (round < 9 ? 900 : 40'000));
        std::vector<std::shared_ptr<arrow::Array>> arrays;
        for (const auto& field : fields) {
          const double nulls = field->nullable() && rng_() % 2 == 0 ? 0.3 : 0;
          arrays.push_back(batch::RandomArray(field->type(), rows, nulls, rng_));
        }
        batches.push_back(arrow::RecordBatch::Make(schema, rows, arrays));
      }
    }
    Open(256 * kMiB, on_disk);
    // On disk a deal may take half of the memory that the dealer knows of.
    if (on_disk) options_.memory_limit_bytes = round % 2 == 0 ? 1 : 4096;
    MakeDealer();
    Write(partitions);
    if (snapshot_->rows == 0) continue;
    std::vector<int> columns = AllColumns();
    std::ranges::shuffle(columns, rng_);
    columns.resize(1 + rng_() % columns.size());
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      proto::RowOrder order = WholeOrder(epoch);
      ExpectOrder(order, columns);
      if (epoch == 2) order.shard = 1, order.num_shards = 3;
      for (int part = 0; part < 4; ++part) {
        order.begin = static_cast<int64_t>(rng_() % snapshot_->rows);
        order.end =
            order.begin + static_cast<int64_t>(rng_() % (snapshot_->rows - order.begin + 1));
        ExpectOrder(order, columns);
      }
    }
    snapshot_ = nullptr;
    ASSERT_TRUE(store_->get()->DropFeed({"f", false}).ok());
    dealer_.reset();
  }
}

// Strings of any length, most of them short, and one that is larger than all others together.
// Buckets are as large as their rows turn out to be, whichever columns are read.
TEST_P(DealOrder, OfStringsOfAnyLength) {
  const auto schema =
      arrow::schema({arrow::field("short", arrow::utf8()), arrow::field("n", arrow::int32()),
                     arrow::field("long", arrow::large_binary(), /*nullable=*/false)});
  constexpr int64_t kRows = 6000;
  std::vector<Batches> partitions(3);
  for (size_t p = 0; p < partitions.size(); ++p) {
    for (int b = 0; b < 3; ++b) {
      arrow::StringBuilder shorts;
      arrow::Int32Builder numbers;
      arrow::LargeBinaryBuilder longs;
      for (int64_t i = 0; i < kRows; ++i) {
        const bool null = rng_() % 5 == 0;
        ASSERT_TRUE(
            (null ? shorts.AppendNull() : shorts.Append(std::string(rng_() % 9, 's'))).ok());
        ASSERT_TRUE(numbers.Append(static_cast<int32_t>(i)).ok());
        const bool giant = p == 1 && b == 1 && i == 4321;
        const uint64_t size = giant ? 24 * kMiB : rng_() % (i % 100 == 0 ? 20'000 : 60);
        ASSERT_TRUE(longs.Append(std::string(size, static_cast<char>('a' + i % 26))).ok());
      }
      partitions[p].push_back(
          arrow::RecordBatch::Make(schema, kRows,
                                   {shorts.Finish().ValueOrDie(), numbers.Finish().ValueOrDie(),
                                    longs.Finish().ValueOrDie()}));
    }
  }
  Open(256 * kMiB, GetParam());
  if (GetParam()) options_.memory_limit_bytes = 4 * kMiB;  // as far as the dealer knows
  MakeDealer();
  Write(partitions);
  for (const std::vector<int>& columns : std::vector<std::vector<int>>{{0, 1, 2}, {0}, {2, 1}}) {
    ExpectOrder(WholeOrder(0), columns);
    EXPECT_GT(dealer_->held_bytes(), 0);
    const int64_t held = GetParam() ? store_->get()->disk_budget().used_bytes()
                                    : store_->get()->budget().used_bytes();
    EXPECT_GE(held, dealer_->held_bytes());
  }
}

// What is reserved for strings beforehand need not be what they take: the rest comes as it is
// needed, or the deal is refused.
TEST_F(DealTest, ADiskThatFillsUnderADealOfStringsIsSaid) {
  Open(8 * kMiB, true, /*spill_limit=*/60 * kMiB);
  const auto schema =
      arrow::schema({arrow::field("a", arrow::utf8()), arrow::field("b", arrow::utf8())});
  std::vector<Batches> partitions(1);
  for (int i = 0; i < 16; ++i) {
    arrow::StringBuilder a;
    arrow::StringBuilder b;
    for (int row = 0; row < 20'000; ++row) {
      ASSERT_TRUE(a.Append(std::string(100, 'a')).ok());
      ASSERT_TRUE(b.Append("b").ok());
    }
    partitions[0].push_back(arrow::RecordBatch::Make(
        schema, 20'000, {a.Finish().ValueOrDie(), b.Finish().ValueOrDie()}));
  }
  Write(partitions);  // 36 MB
  const int64_t before = store_->get()->disk_budget().used_bytes();
  for (const std::vector<int>& columns : std::vector<std::vector<int>>{{0, 1}, {0}}) {
    const auto refused = Read(WholeOrder(0), columns).status();
    EXPECT_EQ(CodeOf(refused), Code::kResourceExhausted) << refused;
    EXPECT_NE(refused.message().find("--spill-limit"), std::string::npos) << refused;
    EXPECT_EQ(store_->get()->disk_budget().used_bytes(), before);
  }
  ExpectOrder(WholeOrder(1), {1});
}

// The rows of small feeds are picked; in that order, too.
TEST_F(DealTest, SmallFeedsArePickedInTheSameOrder) {
  Open(64 * kMiB, false);
  options_.least_bytes = 64 * kMiB;
  MakeDealer();
  const auto schema =
      arrow::schema({arrow::field("s", arrow::utf8()), arrow::field("n", arrow::int32())});
  Write({{RandomBatch(schema, 70'000, 0.1, rng_), RandomBatch(schema, 3, 0.1, rng_)},
         {RandomBatch(schema, 30'000, 0, rng_)}});
  ExpectOrder(WholeOrder(0), {0, 1});
  EXPECT_EQ(dealer_->held_bytes(), 0);
}

TEST_F(DealTest, ReadersOfAnEpochShareOneDeal) {
  Open(256 * kMiB, false);
  Write({{Plain(200'000, rng_)}, {Plain(100'001, rng_)}});
  const int64_t before = store_->get()->budget().used_bytes();
  std::vector<std::future<void>> readers;
  for (int shard = 0; shard < 4; ++shard) {
    readers.push_back(std::async(std::launch::async, [&, shard] {
      proto::RowOrder order = WholeOrder(3);
      const plan::Interval part = plan::ShardInterval(snapshot_->rows, shard, 4);
      order.begin = part.begin;
      order.end = part.end;
      ExpectOrder(order, {0, 1, 2});
    }));
  }
  for (auto& reader : readers) reader.get();
  EXPECT_EQ(dealer_->held_bytes(), snapshot_->rows * 24);
  EXPECT_EQ(store_->get()->budget().used_bytes(), before + snapshot_->rows * 24);
}

// Once its readers have gone through an epoch, its memory is the next one's.
TEST_F(DealTest, EpochsThatFollowOneAnotherTakeTheRoomOfOne) {
  Open(24 * kMiB, false);
  Write({{Plain(300'000, rng_)}});  // 7.2 MB: two deals would fit beside it, three would not
  for (int64_t epoch = 0; epoch < 6; ++epoch) {
    ExpectOrder(WholeOrder(epoch), {0, 1, 2});
    EXPECT_EQ(dealer_->held_bytes(), snapshot_->rows * 24);
  }
}

TEST_F(DealTest, WhoStoresHasTheMemoryOfDealsAtOnce) {
  Open(24 * kMiB, false);
  Write({{Plain(300'000, rng_)}});
  const auto reader = dealer_->Open(snapshot_, snapshot_->schema, {}, WholeOrder(0)).ValueOrDie();
  std::shared_ptr<arrow::RecordBatch> first;
  while (first == nullptr || first->num_rows() == 0) first = *reader->Next(milliseconds(100));
  EXPECT_EQ(dealer_->held_bytes(), snapshot_->rows * 24);
  const auto other = store_->Write("g", {{Plain(600'000, rng_)}});
  EXPECT_EQ(dealer_->held_bytes(), 0);
  // The reader that is in the middle of it goes on, by picks.
  Batches batches = {first};
  while (auto batch = *reader->Next(milliseconds(100))) batches.push_back(batch);
  ExpectSame(*arrow::Table::FromRecordBatches(batches).ValueOrDie(),
             *Expected(*whole_, {0, 1, 2}, WholeOrder(0)));
}

TEST_F(DealTest, WithoutMemoryRowsArePicked) {
  Open(9 * kMiB, false);
  Write({{Plain(300'000, rng_)}});
  ExpectOrder(WholeOrder(0), {0, 1, 2});
  EXPECT_EQ(dealer_->held_bytes(), 0);
}

TEST_F(DealTest, AFeedLargerThanMemoryIsDealtToDisk) {
  Open(8 * kMiB, true);
  std::vector<Batches> partitions(4);
  for (Batches& batches : partitions) {
    for (int i = 0; i < 8; ++i) batches.push_back(Plain(40'000, rng_));
  }
  Write(partitions);  // 30 MB
  const int64_t disk = store_->get()->disk_budget().used_bytes();
  ExpectOrder(WholeOrder(0), {0, 1, 2});
  EXPECT_GE(store_->get()->disk_budget().used_bytes(), disk + snapshot_->rows * 24);
  EXPECT_LE(store_->get()->budget().used_bytes(), 8 * kMiB);
  ExpectOrder(WholeOrder(1), {2, 0});
  dealer_.reset();
  EXPECT_EQ(store_->get()->disk_budget().used_bytes(), disk);
  size_t files = 0;  // what is left are the store's own
  for (const auto& entry : std::filesystem::directory_iterator(options_.data_dir)) {
    files += entry.is_regular_file() ? 1 : 0;
    EXPECT_EQ(entry.path().filename().string().find("dealt"), std::string::npos);
  }
  EXPECT_LE(files, 3U);
}

TEST_F(DealTest, AFullDiskIsSaidAndPasses) {
  Open(8 * kMiB, true, /*spill_limit=*/44 * kMiB);
  std::vector<Batches> partitions(1);
  for (int i = 0; i < 24; ++i) partitions[0].push_back(Plain(40'000, rng_));
  Write(partitions);  // 23 MB, which do not fit twice
  const auto refused = Read(WholeOrder(0), {0, 1, 2}).status();
  EXPECT_EQ(CodeOf(refused), Code::kResourceExhausted) << refused;
  EXPECT_NE(refused.message().find("--spill-limit"), std::string::npos) << refused;
  ExpectOrder(WholeOrder(1), {1});  // there is room for one of its columns
}

TEST_F(DealTest, DroppedAndOverwrittenFeedsLetGo) {
  Open(256 * kMiB, false);
  Write({{Plain(300'000, rng_)}});
  ExpectOrder(WholeOrder(0), {0, 1, 2});
  // Being dealt still, perhaps, and nobody reads.
  (void)dealer_->Open(snapshot_, snapshot_->schema, {}, WholeOrder(1)).ValueOrDie();
  Write({{Plain(200'000, rng_)}}, proto::WriteMode::kOverwrite);
  dealer_->Sweep();
  EXPECT_EQ(dealer_->held_bytes(), 0);
  ExpectOrder(WholeOrder(0), {0, 1, 2});
  ASSERT_TRUE(store_->get()->DropFeed({"f", false}).ok());
  snapshot_ = nullptr;
  dealer_->Sweep();
  dealer_->Stop();
  EXPECT_EQ(dealer_->held_bytes(), 0);
  EXPECT_EQ(store_->get()->budget().used_bytes(), 0);
}

TEST_F(DealTest, DealsThatNobodyReadsEnd) {
  Open(256 * kMiB, false);
  options_.keep_used = milliseconds(1);
  options_.keep_unused = milliseconds(1);
  MakeDealer();
  Write({{Plain(300'000, rng_)}});
  const int64_t before = store_->get()->budget().used_bytes();
  ExpectOrder(WholeOrder(0), {0, 1, 2});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (store_->get()->budget().used_bytes() != before &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(store_->get()->budget().used_bytes(), before);
}

TEST_F(DealTest, AServerThatStopsEndsWhatWaits) {
  Open(2 * kMiB, true);
  std::vector<Batches> partitions(1);
  for (int i = 0; i < 16; ++i) partitions[0].push_back(Plain(40'000, rng_));
  Write(partitions);
  const auto reader = dealer_->Open(snapshot_, snapshot_->schema, {}, WholeOrder(0)).ValueOrDie();
  auto read = std::async(std::launch::async, [&] { return Drain(*reader, snapshot_->schema); });
  dealer_->Stop();
  const auto status = read.get().status();
  EXPECT_TRUE(status.ok() || CodeOf(status) == Code::kUnavailable) << status;
  const auto late = dealer_->Open(snapshot_, snapshot_->schema, {}, WholeOrder(0)).status();
  EXPECT_EQ(CodeOf(late), Code::kUnavailable) << late;
}

TEST_F(DealTest, WhatCannotBeDealtIsRefusedByName) {
  Open(64 * kMiB, false);
  const auto type = arrow::struct_({arrow::field("view", arrow::utf8_view())});
  const auto schema = arrow::schema({arrow::field("s", type)});
  Write({{RandomBatch(schema, 3, 0, rng_)}});
  EXPECT_EQ(CodeOf(Read(WholeOrder(0), {0}).status()), Code::kUnsupportedType);
  Write({{Plain(10, rng_)}}, proto::WriteMode::kOverwrite);
  proto::RowOrder order = WholeOrder(0);
  order.end = 11;
  EXPECT_EQ(CodeOf(Read(order, {0}).status()), Code::kInvalidArgument);
  order.end = 5;
  order.begin = 6;
  EXPECT_EQ(CodeOf(Read(order, {0}).status()), Code::kInvalidArgument);
}

// Readers, writers, drops and stops in no order: what is read is right, and nothing is left.
TEST_F(DealTest, ManyAtOnce) {
  for (const bool on_disk : {false, true}) {
    Open(on_disk ? 4 * kMiB : 40 * kMiB, on_disk);
    options_.keep_used = milliseconds(5);
    MakeDealer();
    std::vector<Batches> partitions(2);
    for (Batches& batches : partitions) {
      for (int i = 0; i < 4; ++i) batches.push_back(Plain(30'000, rng_));
    }
    Write(partitions);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        batch::Rng rng(t);
        for (int i = 0; i < 6; ++i) {
          proto::RowOrder order = WholeOrder(static_cast<int64_t>(rng() % 3));
          order.begin = static_cast<int64_t>(rng() % snapshot_->rows);
          const auto reader = dealer_->Open(snapshot_, snapshot_->schema, {}, order).ValueOrDie();
          if (i % 3 == 2) continue;  // gone at once
          auto found = Drain(*reader, snapshot_->schema);
          if (!found.ok() && CodeOf(found.status()) == Code::kUnavailable) continue;
          ASSERT_TRUE(found.ok()) << found.status();
          ExpectSame(**found, *Expected(*whole_, {0, 1, 2}, order));
        }
      });
    }
    threads.emplace_back([&] {
      batch::Rng rng(9);
      for (int i = 0; i < 6; ++i) {
        const auto other = store_->Write("g", {{Plain(50'000, rng)}}, proto::WriteMode::kOverwrite);
        dealer_->Sweep();
      }
    });
    for (std::thread& thread : threads) thread.join();
    ASSERT_TRUE(store_->get()->DropFeed({"f", false}).ok());
    ASSERT_TRUE(store_->get()->DropFeed({"g", false}).ok());
    snapshot_ = nullptr;
    dealer_.reset();
    EXPECT_EQ(store_->get()->budget().used_bytes(), 0);
    EXPECT_EQ(store_->get()->disk_budget().used_bytes(), 0);
  }
}

}  // namespace
}  // namespace flightbridge::deal
