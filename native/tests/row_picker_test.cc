#include "feed/row_picker.h"

#include <algorithm>
#include <random>

#include <arrow/api.h>
#include <arrow/compute/api_vector.h>
#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "random_columns.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::TestStore;

proto::RowPicks PicksOf(int64_t partition, const std::vector<int64_t>& rows) {
  proto::RowPicks picks;
  picks.partition = partition;
  int64_t before = 0;
  for (const int64_t row : rows) {
    picks.steps.push_back(row - before);
    before = row;
  }
  return picks;
}

std::vector<int64_t> RandomRows(int64_t of, size_t count, std::mt19937_64& rng, bool ascending) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < count; ++i) rows.push_back(static_cast<int64_t>(rng() % of));
  if (ascending) std::ranges::sort(rows);
  return rows;
}

std::shared_ptr<arrow::Table> Drain(RowPicker& picker,
                                    const std::shared_ptr<arrow::Schema>& schema) {
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (;;) {
    const auto batch = picker.Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || *batch == nullptr) break;
    EXPECT_TRUE((*batch)->Validate().ok()) << (*batch)->Validate();
    batches.push_back(*batch);
  }
  return arrow::Table::FromRecordBatches(schema, batches).ValueOrDie();
}

std::shared_ptr<arrow::Array> Decoded(const std::shared_ptr<arrow::Array>& array) {
  if (array->type_id() != arrow::Type::DICTIONARY) return array;
  const auto& coded = static_cast<const arrow::DictionaryArray&>(*array);
  return arrow::compute::Take(*coded.dictionary(), *coded.indices()).ValueOrDie();
}

// One row of a column, with values in the place of dictionary codes, also in a list.
std::shared_ptr<arrow::Array> ValuesAt(const arrow::ChunkedArray& column, int64_t row) {
  const auto one = column.Slice(row, 1)->chunk(0);
  const auto scalar = one->GetScalar(0).ValueOrDie();
  if (!scalar->is_valid || !arrow::is_list_like(one->type_id())) return Decoded(one);
  return Decoded(static_cast<const arrow::BaseListScalar&>(*scalar).value);
}

// Compares rows one by one, the slow way.
void ExpectRows(const arrow::Table& found, const arrow::Table& whole,
                const std::vector<int64_t>& rows) {
  ASSERT_EQ(found.num_rows(), static_cast<int64_t>(rows.size()));
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (int c = 0; c < whole.num_columns(); ++c) {
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto expected = ValuesAt(*whole.column(c), rows[i]);
      const auto got = ValuesAt(*found.column(c), static_cast<int64_t>(i));
      ASSERT_TRUE(got->Equals(*expected, options))
          << whole.field(c)->ToString() << " row " << rows[i] << ": " << got->ToString() << " for "
          << expected->ToString();
    }
  }
}

void PickFrom(const Snapshot& snapshot, const std::vector<Batches>& partitions, bool ascending,
              std::mt19937_64& rng) {
  std::vector<PickedRows> picks;
  std::vector<int64_t> global;
  Batches all;
  int64_t first = 0;
  for (size_t p = 0; p < partitions.size(); ++p) {
    const auto& partition = snapshot.partitions.at(p);
    const auto rows = RandomRows(partition->rows, 1 + rng() % 60, rng, ascending);
    picks.push_back(ResolvePicks(partition, PicksOf(static_cast<int64_t>(p), rows)).ValueOrDie());
    for (const int64_t row : rows) global.push_back(first + row);
    first += partition->rows;
    all.insert(all.end(), partitions[p].begin(), partitions[p].end());
  }
  RowPicker picker(snapshot.schema, {}, std::move(picks));
  const auto found = Drain(picker, snapshot.schema);
  ExpectRows(*found, *arrow::Table::FromRecordBatches(all).ValueOrDie(), global);
}

TEST(RowPicker, PicksRowsOfEveryStoredType) {
  TestStore store;
  std::mt19937_64 rng(1);
  int feed = 0;
  for (const auto& [name, batch] : testing::BatchesOfManyTypes()) {
    if (batch->num_rows() == 0) continue;
    SCOPED_TRACE(name);
    const std::vector<Batches> partitions = {{batch, batch}, {batch}};
    const auto snapshot = store.Write("f" + std::to_string(feed++), partitions);
    PickFrom(*snapshot, partitions, true, rng);
    PickFrom(*snapshot, partitions, false, rng);
  }
}

TEST(RowPicker, PicksRandomRowsOfRandomColumns) {
  std::mt19937_64 rng(2);
  int feed = 0;
  for (const auto& type : batch::AcceptedTypes()) {
    SCOPED_TRACE(type->ToString());
    TestStore store;
    const auto schema = arrow::schema({arrow::field("x", type)});
    std::vector<Batches> partitions(3);
    for (auto& batches : partitions) {
      for (int i = 0; i < 3; ++i) {
        const auto rows = static_cast<int64_t>(1 + rng() % 40);
        const double nulls = i == 0 ? 0 : 0.3;
        batches.push_back(
            arrow::RecordBatch::Make(schema, rows, {batch::RandomArray(type, rows, nulls, rng)}));
      }
    }
    const auto snapshot = store.Write("f" + std::to_string(feed++), partitions);
    PickFrom(*snapshot, partitions, true, rng);
    PickFrom(*snapshot, partitions, false, rng);
  }
}

TEST(RowPicker, CutsManyRowsIntoBatchesAndTakesTheColumnsAskedFor) {
  TestStore store;
  const auto snapshot =
      store.Write("f", {Batches{Numbered(0, 200'000)}, {Numbered(200'000, 100'000)}});
  std::vector<int64_t> rows(400'000);
  std::mt19937_64 rng(3);
  for (auto& row : rows) row = static_cast<int64_t>(rng() % 200'000);
  std::vector<PickedRows> picks = {
      ResolvePicks(snapshot->partitions[1], PicksOf(1, {99'999, 0})).ValueOrDie(),
      ResolvePicks(snapshot->partitions[0], PicksOf(0, rows)).ValueOrDie()};
  RowPicker picker(arrow::schema({snapshot->schema->field(0)}), {0}, std::move(picks));
  std::vector<int64_t> found;
  int batches = 0;
  while (const auto batch = picker.Next().ValueOrDie()) {
    ++batches;
    ASSERT_EQ(batch->num_columns(), 1);
    const auto& ids = static_cast<const arrow::Int64Array&>(*batch->column(0));
    for (int64_t i = 0; i < ids.length(); ++i) found.push_back(ids.Value(i));
  }
  EXPECT_GT(batches, 1);
  rows.insert(rows.begin(), {299'999, 200'000});
  EXPECT_EQ(found, rows);
}

TEST(RowPicker, RowsOutsideAndNoRowsAreRefused) {
  TestStore store;
  const auto snapshot = store.Write("f", {Batches{Numbered(0, 10)}});
  for (const std::vector<int64_t>& steps :
       {std::vector<int64_t>{10}, {-1}, {9, 1}, {5, INT64_MAX}, {0, INT64_MIN}, {}}) {
    const auto picked = ResolvePicks(snapshot->partitions[0], {0, steps});
    EXPECT_EQ(CodeOf(picked.status()), Code::kInvalidArgument);
  }
}

// Picks go on being right, and verified, where the store has to bring segments back from disk.
TEST(RowPicker, PicksFromWhatIsOnDisk) {
  const testing::TempDir dir;
  TestStore store(4 << 20, dir.path());
  std::vector<Batches> partitions;
  for (int64_t p = 0; p < 8; ++p) partitions.push_back({Numbered(p * 100'000, 100'000)});
  const auto snapshot = store.Write("f", partitions);
  std::mt19937_64 rng(4);
  for (int round = 0; round < 3; ++round) PickFrom(*snapshot, partitions, true, rng);
}

}  // namespace
}  // namespace flightbridge::feed
