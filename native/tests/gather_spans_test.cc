// Rows of varying length, picked: every length around the steps they are copied in, up to the last
// byte of buffers behind which nothing may be read.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "batch/batch.h"
#include "batch/chunk.h"
#include "batch/gather.h"
#include "batch/layout.h"
#include "testing/tstrings.h"

namespace flightbridge::batch {
namespace {

// Memory of exactly these bytes: reading past its end is an error that AddressSanitizer reports.
class ExactBuffer : public arrow::Buffer {
 public:
  explicit ExactBuffer(std::vector<uint8_t> bytes)
      : Buffer(bytes.data(), static_cast<int64_t>(bytes.size())), bytes_(std::move(bytes)) {
    bytes_.shrink_to_fit();
    data_ = bytes_.data();
  }

 private:
  std::vector<uint8_t> bytes_;
};

template <typename Offset>
std::shared_ptr<arrow::Buffer> Offsets(const std::vector<int64_t>& ends) {
  std::vector<uint8_t> bytes(ends.size() * sizeof(Offset));
  for (size_t i = 0; i < ends.size(); ++i) {
    const auto end = static_cast<Offset>(ends[i]);
    std::memcpy(bytes.data() + i * sizeof(Offset), &end, sizeof(Offset));
  }
  return std::make_shared<ExactBuffer>(std::move(bytes));
}

struct Case {
  std::string name;
  std::shared_ptr<arrow::DataType> type;
  int64_t unit;  // bytes of an entry
};

class SpansTest : public testing::TestWithParam<Case> {
 protected:
  // Row i has `lengths[i]` entries; byte k of it is a function of i and k.
  std::shared_ptr<arrow::RecordBatch> Make(const std::vector<int64_t>& lengths, uint8_t seed) {
    const Case& c = GetParam();
    std::vector<int64_t> ends = {0};
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < lengths.size(); ++i) {
      for (int64_t k = 0; k < lengths[i] * c.unit; ++k) bytes.push_back(ByteOf(seed, i, k));
      ends.push_back(ends.back() + lengths[i]);
    }
    const bool wide = c.type->id() == arrow::Type::LARGE_STRING;
    auto offsets = wide ? Offsets<int64_t>(ends) : Offsets<int32_t>(ends);
    auto data = std::make_shared<ExactBuffer>(std::move(bytes));
    std::shared_ptr<arrow::ArrayData> array;
    const auto rows = static_cast<int64_t>(lengths.size());
    if (c.type->id() == arrow::Type::LIST) {
      auto item = c.type->field(0)->type();
      auto values = arrow::ArrayData::Make(item, ends.back(), {nullptr, data});
      if (item->id() == arrow::Type::FIXED_SIZE_LIST) {
        const auto& fixed = static_cast<const arrow::FixedSizeListType&>(*item);
        auto inner = arrow::ArrayData::Make(fixed.value_type(), ends.back() * fixed.list_size(),
                                            {nullptr, data});
        values = arrow::ArrayData::Make(item, ends.back(), {nullptr}, {inner});
      }
      array = arrow::ArrayData::Make(c.type, rows, {nullptr, offsets}, {values});
    } else {
      array = arrow::ArrayData::Make(c.type, rows, {nullptr, offsets, data});
    }
    return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", c.type)}), rows,
                                    {arrow::MakeArray(array)});
  }

  static uint8_t ByteOf(uint8_t seed, size_t row, int64_t k) {
    return static_cast<uint8_t>(seed * 101 + row * 31 + static_cast<size_t>(k) * 7);
  }
};

TEST_P(SpansTest, EveryLengthUpToTheLastByte) {
  const Case& c = GetParam();
  const auto layouts = *LayoutsOf(*arrow::schema({arrow::field("x", c.type)}), {});
  // Lengths up and down, so that short rows lie at the end of one chunk and long ones of the other.
  std::vector<int64_t> up;
  for (int64_t n = 0; n < 150; ++n) up.push_back(n * n % 301);
  up.push_back(1);
  std::vector<int64_t> down(up.rbegin(), up.rend());
  const std::vector<std::vector<int64_t>> lengths = {up, down, {0, 0, 0}, {5}};
  std::vector<std::unique_ptr<Chunk>> chunks;
  for (size_t i = 0; i < lengths.size(); ++i) {
    chunks.push_back(*MakeChunk(*Make(lengths[i], static_cast<uint8_t>(i)), layouts));
  }
  auto table = std::make_shared<ChunkTable>(std::move(chunks), layouts.size());
  table->Shuffle(plan::Random(3, 1));
  ASSERT_NE(table->spans(0), nullptr);
  const auto pool = std::make_shared<SlabPool>(1);
  for (const int64_t count : {table->rows(), int64_t{65}, int64_t{64}, int64_t{1}, int64_t{0}}) {
    Part part;
    part.table = table;
    part.rows = table->order().data();
    part.count = count;
    const std::vector<Part> parts = {part};
    ASSERT_TRUE(AreSpans(layouts[0], 0, parts));
    const auto batch = *Assemble(layouts, parts, pool);
    const fb_column& column = batch->columns()[0];
    const int64_t* ends = layouts[0].bytes() ? column.offsets : column.row_splits[0];
    ASSERT_EQ(ends[0], 0);
    for (int64_t i = 0; i < count; ++i) {
      const RowRef& row = part.rows[i];
      const int64_t length = lengths[row.chunk][row.row];
      ASSERT_EQ(ends[i + 1] - ends[i], length) << "row " << i;
      const auto* data = static_cast<const uint8_t*>(column.data) + ends[i] * c.unit;
      for (int64_t k = 0; k < length * c.unit; ++k) {
        ASSERT_EQ(data[k], ByteOf(static_cast<uint8_t>(row.chunk), row.row, k)) << i << " " << k;
      }
    }
    EXPECT_EQ(column.data_bytes, ends[count] * c.unit);
  }
}

// Strings whose longest decides where all of them are; in order, and picked from two chunks.
class TStrings : public testing::TestWithParam<int64_t> {};

TEST_P(TStrings, EveryLengthUpToTheLastByte) {
  for (const auto& type : {arrow::utf8(), arrow::large_utf8(), arrow::binary()}) {
    auto layouts = *LayoutsOf(*arrow::schema({arrow::field("x", type)}), {});
    layouts[0].tstrings = true;
    std::vector<std::vector<std::string>> values(2);
    std::vector<std::unique_ptr<Chunk>> chunks;
    for (size_t c = 0; c < values.size(); ++c) {
      std::vector<int64_t> ends = {0};
      std::vector<uint8_t> bytes;
      for (int64_t i = 0; i <= 2 * GetParam(); ++i) {
        // Up in one chunk, so that the longest is last, and down in the other.
        const int64_t length = c == 0 ? i / 2 : GetParam() - i / 2;
        std::string& value = values[c].emplace_back();
        for (int64_t k = 0; k < length; ++k) value += static_cast<char>(c * 101 + i * 31 + k * 7);
        bytes.insert(bytes.end(), value.begin(), value.end());
        ends.push_back(static_cast<int64_t>(bytes.size()));
      }
      const auto rows = static_cast<int64_t>(values[c].size());
      const auto array =
          arrow::ArrayData::Make(type, rows,
                                 {nullptr,
                                  type->id() == arrow::Type::LARGE_STRING ? Offsets<int64_t>(ends)
                                                                          : Offsets<int32_t>(ends),
                                  std::make_shared<ExactBuffer>(std::move(bytes))});
      chunks.push_back(
          *MakeChunk(*arrow::RecordBatch::Make(arrow::schema({arrow::field("x", type)}), rows,
                                               {arrow::MakeArray(array)}),
                     layouts));
    }
    auto table = std::make_shared<ChunkTable>(std::move(chunks), layouts.size());
    const auto pool = std::make_shared<SlabPool>(1);
    const auto expect = [&](const Part& part, const auto& value_of) {
      const std::vector<Part> parts = {part};
      ASSERT_TRUE(AreSpans(layouts[0], 0, parts));
      const auto batch = *Assemble(layouts, parts, pool);
      const fb_column& column = batch->columns()[0];
      int64_t bytes = 0;
      for (int64_t i = 0; i < part.count; ++i) {
        ASSERT_EQ(TStringAt(column, i), value_of(i)) << i;
        bytes += static_cast<int64_t>(value_of(i).size());
      }
      EXPECT_EQ(column.data_bytes, bytes);
      EXPECT_EQ(column.offsets, nullptr);
    };
    Part run;
    run.table = table;
    run.first = 1;
    run.count = static_cast<int64_t>(values[0].size()) - 1;
    expect(run, [&](int64_t i) { return values[0][static_cast<size_t>(i) + 1]; });
    table->Shuffle(plan::Random(3, 1));
    Part picked;
    picked.table = table;
    picked.rows = table->order().data();
    picked.count = table->rows();
    expect(picked, [&](int64_t i) { return values[picked.rows[i].chunk][picked.rows[i].row]; });
  }
}

INSTANTIATE_TEST_SUITE_P(Longest, TStrings, testing::Values(0, 1, 21, 22, 23, 63, 64, 65, 300));

INSTANTIATE_TEST_SUITE_P(
    Types, SpansTest,
    testing::Values(Case{"strings", arrow::utf8(), 1},
                    Case{"large_strings", arrow::large_utf8(), 1},
                    Case{"bytes", arrow::list(arrow::int8()), 1},
                    Case{"words", arrow::list(arrow::int64()), 8},
                    Case{"triples", arrow::list(arrow::fixed_size_list(arrow::int16(), 3)), 6}),
    [](const auto& info) { return info.param.name; });

TEST(Spans, NotWhereNullsAreFilledOrValuesConverted) {
  const auto schema = arrow::schema({arrow::field("x", arrow::list(arrow::int32()))});
  arrow::ListBuilder builder(arrow::default_memory_pool(), std::make_shared<arrow::Int32Builder>());
  auto& values = static_cast<arrow::Int32Builder&>(*builder.value_builder());
  ASSERT_TRUE(builder.Append().ok());
  ASSERT_TRUE(values.AppendNull().ok());
  const auto batch = arrow::RecordBatch::Make(schema, 1, {*builder.Finish()});
  const auto are_spans = [&](const proto::ColumnOptions& options) {
    const auto layouts = *LayoutsOf(*schema, {}, {options});
    std::vector<std::unique_ptr<Chunk>> chunks;
    chunks.push_back(*MakeChunk(*batch, layouts));
    Part part;
    part.table = std::make_shared<const ChunkTable>(std::move(chunks), 1);
    part.count = 1;
    return AreSpans(layouts[0], 0, std::span(&part, 1));
  };
  proto::ColumnOptions options;
  options.path = "x";
  EXPECT_TRUE(are_spans(options));  // its null is an error of CheckRows
  proto::ColumnOptions fill = options;
  fill.has_fill = true;
  EXPECT_FALSE(are_spans(fill));
  proto::ColumnOptions pad = options;
  pad.pad_to = 4;
  EXPECT_FALSE(are_spans(pad));
  proto::ColumnOptions convert = options;
  convert.dtype = "float32";
  EXPECT_FALSE(are_spans(convert));
}

}  // namespace
}  // namespace flightbridge::batch
