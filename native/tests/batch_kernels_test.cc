// Assembled columns against a value-by-value reading of the same Arrow arrays.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "batch/batch.h"
#include "batch/chunk.h"
#include "batch/kernels.h"
#include "batch/layout.h"
#include "flightbridge/error.h"
#include "random_columns.h"

namespace flightbridge::batch {
namespace {

std::shared_ptr<arrow::RecordBatch> OneColumn(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", array->type())}),
                                  array->length(), {array});
}

// The values of a column of an assembled batch, row by row, read as c_api.h describes them.
std::vector<std::vector<std::string>> ReadBack(const fb_column& c, int64_t rows) {
  std::vector<std::vector<std::string>> out(rows);
  const auto* data = static_cast<const char*>(c.data);
  const int64_t item = ItemBytes(static_cast<fb_dtype>(c.dtype));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t width = std::max<int64_t>(c.width, 1);
    int64_t begin = row * width;
    int64_t end = begin + width;
    if (c.row_splits != nullptr) {
      begin = c.row_splits[row];
      end = c.row_splits[row + 1];
    }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = c.offsets != nullptr ? c.offsets[i] : i * item;
      const int64_t to = c.offsets != nullptr ? c.offsets[i + 1] : from + item;
      out[row].emplace_back(data + from, to - from);
    }
  }
  return out;
}

bool HasNull(const arrow::Array& array, int64_t row) {
  if (array.IsNull(row)) return true;
  std::shared_ptr<arrow::Array> values;
  switch (array.type_id()) {
    case arrow::Type::LIST:
      values = static_cast<const arrow::ListArray&>(array).value_slice(row);
      break;
    case arrow::Type::LARGE_LIST:
      values = static_cast<const arrow::LargeListArray&>(array).value_slice(row);
      break;
    case arrow::Type::FIXED_SIZE_LIST:
      values = static_cast<const arrow::FixedSizeListArray&>(array).value_slice(row);
      break;
    default: return false;
  }
  return values->null_count() > 0;
}

struct Piece {
  std::shared_ptr<arrow::Array> array;
  int64_t row = 0;
};

void ExpectAligned(const fb_column& c) {
  for (const void* p :
       {c.data, static_cast<const void*>(c.offsets), static_cast<const void*>(c.row_splits)}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0);
  }
}

class Kernels : public testing::TestWithParam<std::shared_ptr<arrow::DataType>> {
 protected:
  // Assembles `parts` and compares with `expected`, or expects the error of the first null.
  void Check(const std::vector<Part>& parts, const std::vector<Piece>& expected) {
    const auto batch = Assemble(layouts_, parts, pool_);
    const auto null = std::find_if(expected.begin(), expected.end(),
                                   [](const Piece& p) { return HasNull(*p.array, p.row); });
    if (null != expected.end()) {
      ASSERT_FALSE(batch.ok());
      EXPECT_EQ(CodeOf(batch.status()), Code::kInvalidArgument);
      EXPECT_NE(batch.status().message().find("column 'x'"), std::string::npos);
      return;
    }
    ASSERT_TRUE(batch.ok()) << batch.status().ToString();
    ASSERT_EQ((*batch)->rows(), static_cast<int64_t>(expected.size()));
    const fb_column& column = (*batch)->columns()[0];
    ExpectAligned(column);
    const auto found = ReadBack(column, (*batch)->rows());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(found[i], NaiveValues(*expected[i].array, expected[i].row)) << "row " << i;
    }
  }

  std::vector<ColumnLayout> layouts_;
  std::shared_ptr<SlabPool> pool_ = std::make_shared<SlabPool>(2);
};

TEST_P(Kernels, MatchANaiveReading) {
  Rng rng(std::hash<std::string>{}(GetParam()->ToString()));
  layouts_ = {*LayoutOf(*arrow::field("x", GetParam()))};
  for (int round = 0; round < 30; ++round) {
    const double nulls = round % 5 == 4 ? 0.02 : 0;
    std::vector<std::shared_ptr<arrow::Array>> arrays;
    for (uint64_t n = 1 + rng() % 3; n > 0; --n) {
      auto array = RandomArray(GetParam(), static_cast<int64_t>(rng() % 90), nulls, rng);
      ASSERT_TRUE(array->Validate().ok());  // not full: any bits are a date here
      const auto skip = static_cast<int64_t>(rng() % (array->length() + 1));
      arrays.push_back(array->Slice(skip / 3, array->length() - skip));
    }

    // Contiguous: a run out of each array.
    std::vector<Part> parts;
    std::vector<Piece> expected;
    for (const auto& array : arrays) {
      std::vector<std::unique_ptr<Chunk>> chunks;
      chunks.push_back(*MakeChunk(*OneColumn(array), layouts_));
      Part part;
      part.table = std::make_shared<const ChunkTable>(std::move(chunks), 1);
      part.first = static_cast<int64_t>(rng() % (array->length() + 1));
      part.count = static_cast<int64_t>(rng() % (array->length() - part.first + 1));
      for (int64_t i = 0; i < part.count; ++i) expected.push_back({array, part.first + i});
      parts.push_back(std::move(part));
    }
    Check(parts, expected);

    // Permuted: rows of all arrays, then a second part.
    std::vector<std::unique_ptr<Chunk>> chunks;
    for (const auto& array : arrays) chunks.push_back(*MakeChunk(*OneColumn(array), layouts_));
    auto table = std::make_shared<ChunkTable>(std::move(chunks), 1);
    table->Shuffle(plan::Random(round, 1));
    const auto rows = static_cast<int64_t>(table->order().size());
    Part all;
    all.table = table;
    all.rows = table->order().data();
    all.count = rows;
    Part head = all;
    head.count = rows / 2;
    expected.clear();
    for (const Part* part : {&all, &head}) {
      for (int64_t i = 0; i < part->count; ++i) {
        expected.push_back({arrays[part->rows[i].chunk], part->rows[i].row});
      }
    }
    Check({all, head}, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, Kernels, testing::ValuesIn(AcceptedTypes()), [](const auto& info) {
      std::string name = info.param->ToString();
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name + "_" + std::to_string(info.index);
    });

TEST(NullError, NamesTheColumnTheRowAndTheRemedy) {
  arrow::Int64Builder builder;
  ASSERT_TRUE(builder.AppendValues({1, 2, 3}, {true, true, false}).ok());
  const std::vector<ColumnLayout> layouts = {*LayoutOf(*arrow::field("x", arrow::int64()))};
  auto chunk = *MakeChunk(*OneColumn(*builder.Finish()), layouts);
  chunk->global = {{10, 11}, {500, 502}};
  std::vector<std::unique_ptr<Chunk>> chunks;
  chunks.push_back(std::move(chunk));
  Part part;
  part.table = std::make_shared<const ChunkTable>(std::move(chunks), 1);
  part.count = 2;
  EXPECT_TRUE(CheckNoNulls(layouts[0], 0, std::span(&part, 1)).ok());  // the null is not in these
  part.count = 3;
  const arrow::Status status = CheckNoNulls(layouts[0], 0, std::span(&part, 1));
  EXPECT_EQ(status.message(),
            "column 'x' has a null at row 501 of the feed: tensors have no nulls; fill them before "
            "writing, such as df.fillna({'x': 0}), or leave the column out of columns=[...]");
}

TEST(Layout, UnsupportedTypesAreNamedWithTheirCast) {
  const auto refused = {
      std::pair{arrow::struct_({arrow::field("a", arrow::int8())}), "select('s.*')"},
      std::pair{arrow::map(arrow::utf8(), arrow::int8()), "two list columns"},
      std::pair{arrow::decimal128(10, 2), "cast it to double"},
      std::pair{arrow::list(arrow::list(arrow::int8())), "flatten"},
      std::pair{arrow::list(arrow::struct_({})), "flatten"},
      std::pair{arrow::fixed_size_list(arrow::utf8(), 2), "flatten"},
      std::pair{arrow::null(), "only nulls"},
      std::pair{arrow::run_end_encoded(arrow::int32(), arrow::int8()), "value type"},
      std::pair{arrow::dense_union({arrow::field("a", arrow::int8())}), "cast it"},
      std::pair{arrow::month_interval(), "cast it"},
  };
  for (const auto& [type, remedy] : refused) {
    const arrow::Status status = LayoutOf(*arrow::field("price", type)).status();
    EXPECT_EQ(CodeOf(status), Code::kUnsupportedType) << type->ToString();
    EXPECT_NE(status.message().find("column 'price'"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(type->ToString()), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(remedy), std::string::npos) << status.message();
  }
}

TEST(Layout, ColumnsComeInTheOrderAskedFor) {
  const auto schema =
      arrow::schema({arrow::field("a", arrow::int8()), arrow::field("b", arrow::utf8()),
                     arrow::field("bad", arrow::null())});
  const auto layouts = *LayoutsOf(*schema, {"b", "a"});
  EXPECT_EQ(layouts[0].name, "b");
  EXPECT_TRUE(layouts[0].utf8);
  EXPECT_EQ(layouts[1].dtype, FB_INT8);
  const arrow::Status missing = LayoutsOf(*schema, {"c"}).status();
  EXPECT_EQ(missing.message(), "no column 'c' in the feed; it has: a, b, bad");
  EXPECT_EQ(CodeOf(missing), Code::kNotFound);
  EXPECT_EQ(CodeOf(LayoutsOf(*schema, {}).status()), Code::kUnsupportedType);
}

}  // namespace
}  // namespace flightbridge::batch
