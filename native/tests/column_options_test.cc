// What options make of columns: conversions, padding, vectors, codes.
#include <cstring>
#include <limits>

#include <arrow/api.h>
#include <arrow/compute/cast.h>
#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>
#include <gtest/gtest.h>

#include "batch/batch.h"
#include "batch/chunk.h"
#include "batch/convert.h"
#include "batch/layout.h"
#include "batch/reader.h"
#include "fake_source.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using Layouts = std::vector<ColumnLayout>;
using Options = proto::ColumnOptions;

std::shared_ptr<arrow::RecordBatch> OneColumn(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", array->type())}),
                                  array->length(), {array});
}

arrow::Result<Layouts> LayoutsOfColumn(const arrow::Array& array, Options options) {
  options.path = "x";
  return LayoutsOf(*arrow::schema({arrow::field("x", array.type())}), {}, {std::move(options)});
}

// All rows of the arrays, in order or, shuffled, backwards.
arrow::Result<BatchPtr> Read(const std::vector<std::shared_ptr<arrow::Array>>& arrays,
                             const Layouts& layouts, bool permuted) {
  std::vector<Part> parts;
  std::vector<RowRef> order;
  if (!permuted) {
    for (const auto& array : arrays) {
      std::vector<std::unique_ptr<Chunk>> chunks;
      ARROW_ASSIGN_OR_RAISE(chunks.emplace_back(), MakeChunk(*OneColumn(array), layouts));
      Part part;
      part.count = array->length();
      part.table = std::make_shared<const ChunkTable>(std::move(chunks), layouts.size());
      parts.push_back(std::move(part));
    }
  } else {
    std::vector<std::unique_ptr<Chunk>> chunks;
    for (const auto& array : arrays) {
      for (int64_t row = 0; row < array->length(); ++row) {
        order.insert(order.begin(),
                     {static_cast<uint32_t>(chunks.size()), static_cast<uint32_t>(row)});
      }
      ARROW_ASSIGN_OR_RAISE(chunks.emplace_back(), MakeChunk(*OneColumn(array), layouts));
    }
    Part part;
    part.rows = order.data();
    part.count = static_cast<int64_t>(order.size());
    part.table = std::make_shared<const ChunkTable>(std::move(chunks), layouts.size());
    parts.push_back(std::move(part));
  }
  return Assemble(layouts, parts, std::make_shared<SlabPool>(1));
}

template <typename T>
std::vector<T> ValuesOf(const fb_column& c) {
  std::vector<T> out(c.length);
  std::memcpy(out.data(), c.data, c.length * sizeof(T));
  return out;
}

template <typename T>
std::vector<T> Backwards(std::vector<T> values, size_t group = 1) {
  std::vector<T> out;
  for (size_t at = values.size(); at > 0; at -= group) {
    out.insert(out.end(), values.begin() + at - group, values.begin() + at);
  }
  return out;
}

template <typename Builder, typename T>
std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      const std::vector<T>& values) {
  Builder builder(type, arrow::default_memory_pool());
  for (const T& value : values) EXPECT_TRUE(builder.Append(value).ok());
  return *builder.Finish();
}

std::shared_ptr<arrow::Array> Numbers(const std::shared_ptr<arrow::DataType>& type, int64_t count) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(i % 101);
  const auto ints = ArrayOf<arrow::Int64Builder>(arrow::int64(), values);
  return *arrow::compute::Cast(*ints, type);
}

TEST(Conversion, GivesWhatArrowsCastGives) {
  const std::pair<const char*, std::shared_ptr<arrow::DataType>> kinds[] = {
      {"int8", arrow::int8()},       {"int16", arrow::int16()},     {"int32", arrow::int32()},
      {"int64", arrow::int64()},     {"uint8", arrow::uint8()},     {"uint16", arrow::uint16()},
      {"uint32", arrow::uint32()},   {"uint64", arrow::uint64()},   {"float16", arrow::float16()},
      {"float32", arrow::float32()}, {"float64", arrow::float64()},
  };
  for (const auto& [from_name, from] : kinds) {
    // An odd number of values, more than a block of them, from the middle of an array.
    const auto array = Numbers(from, 700)->Slice(3, 601);
    for (const auto& [name, to] : kinds) {
      Options options;
      options.dtype = name;
      const auto layouts = LayoutsOfColumn(*array, options);
      if (arrow::is_floating(from->id()) && !arrow::is_floating(to->id())) {
        EXPECT_EQ(CodeOf(layouts.status()), Code::kInvalidArgument) << from_name << name;
        continue;
      }
      const auto cast = *arrow::compute::Cast(*array, to);
      const int64_t item = static_cast<const arrow::FixedWidthType&>(*to).byte_width();
      for (const bool permuted : {false, true}) {
        const auto batch = Read({array}, *layouts, permuted);
        ASSERT_TRUE(batch.ok()) << batch.status().ToString();
        const auto* found = static_cast<const uint8_t*>((*batch)->columns()[0].data);
        const uint8_t* wanted = cast->data()->buffers[1]->data() + cast->offset() * item;
        for (int64_t i = 0; i < 601; ++i) {
          const int64_t row = permuted ? 600 - i : i;
          ASSERT_EQ(std::memcmp(found + i * item, wanted + row * item, item), 0)
              << from_name << " to " << name << " row " << row;
        }
      }
    }
  }
}

TEST(Conversion, BFloat16IsTheNearest) {
  const std::pair<float, uint16_t> cases[] = {
      {0.0F, 0x0000},          {1.0F, 0x3F80},
      {-2.0F, 0xC000},         {1.00390625F, 0x3F80},
      {1.01171875F, 0x3F82},   {1.005859375F, 0x3F81},
      {3.4028235e38F, 0x7F80}, {std::numeric_limits<float>::infinity(), 0x7F80}};
  const Conversion conversion = *FindConversion(*arrow::float32(), FB_BFLOAT16);
  for (const auto& [value, bits] : cases) {
    uint16_t found = 0;
    EXPECT_TRUE(conversion(reinterpret_cast<const uint8_t*>(&value), 1,
                           reinterpret_cast<uint8_t*>(&found)));
    EXPECT_EQ(found, bits) << value;
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  uint16_t found = 0;
  conversion(reinterpret_cast<const uint8_t*>(&nan), 1, reinterpret_cast<uint8_t*>(&found));
  EXPECT_EQ(found & 0x7F80, 0x7F80);
  EXPECT_NE(found & 0x007F, 0);
}

TEST(Conversion, WhatDoesNotFitIsNamed) {
  const auto array =
      ArrayOf<arrow::Int64Builder>(arrow::int64(), std::vector<int64_t>{1, -1, 255, 256, 7});
  Options options;
  options.dtype = "uint8";
  const auto layouts = *LayoutsOfColumn(*array, options);
  for (const bool permuted : {false, true}) {
    const arrow::Status status = Read({array}, layouts, permuted).status();
    EXPECT_EQ(CodeOf(status), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("column 'x' has a value at row"), std::string::npos);
    EXPECT_TRUE(Read({array->Slice(2, 1)}, layouts, permuted).ok());
  }
}

TEST(Conversion, GarbageUnderANullIsNoMisfit) {
  arrow::Int64Builder builder;
  ASSERT_TRUE(builder.AppendValues({1, 70000, 3}, {true, false, true}).ok());
  const auto array = *builder.Finish();
  Options options;
  options.dtype = "int16";
  options.has_fill = true;
  options.fill_int = -5;
  options.fill_float = -5;
  const auto layouts = *LayoutsOfColumn(*array, options);
  const auto batch = Read({array}, layouts, false);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  EXPECT_EQ(ValuesOf<int16_t>((*batch)->columns()[0]), (std::vector<int16_t>{1, -5, 3}));
}

template <typename Builder, typename Decimal>
void CheckDecimals(const std::shared_ptr<arrow::DataType>& type) {
  const std::vector<std::pair<Decimal, double>> cases = {
      {Decimal(125), 1.25}, {Decimal(-1), -0.01},           {Decimal(0), 0},
      {Decimal(10), 0.1},   {Decimal(12345678), 123456.78}, {Decimal(-99999999), -999999.99}};
  std::vector<Decimal> decimals;
  std::vector<double> doubles;
  for (const auto& [decimal, number] : cases) {
    decimals.push_back(decimal);
    doubles.push_back(number);
  }
  const auto array = ArrayOf<Builder>(type, decimals);
  Options options;
  options.dtype = "float64";
  for (const bool permuted : {false, true}) {
    auto batch = *Read({array}, *LayoutsOfColumn(*array, options), permuted);
    EXPECT_EQ(ValuesOf<double>(batch->columns()[0]), permuted ? Backwards(doubles) : doubles);
  }
  options.dtype = "string";
  auto batch = *Read({array}, *LayoutsOfColumn(*array, options), false);
  const fb_column& text = batch->columns()[0];
  EXPECT_EQ(std::string(static_cast<const char*>(text.data), text.offsets[2]), "1.25-0.01");
}

TEST(Decimals, OfEveryWidth) {
  CheckDecimals<arrow::Decimal32Builder, arrow::Decimal32>(arrow::decimal32(9, 2));
  CheckDecimals<arrow::Decimal64Builder, arrow::Decimal64>(arrow::decimal64(18, 2));
  CheckDecimals<arrow::Decimal128Builder, arrow::Decimal128>(arrow::decimal128(38, 2));
  CheckDecimals<arrow::Decimal256Builder, arrow::Decimal256>(arrow::decimal256(76, 2));
}

TEST(Decimals, BeyondWhatADoubleHolds) {
  const auto value = *arrow::Decimal128::FromString("1234567890123456789012345.678901234567");
  const auto one = *arrow::Decimal128::FromString("1.000000000000");
  const auto array = ArrayOf<arrow::Decimal128Builder>(arrow::decimal128(38, 12),
                                                       std::vector<arrow::Decimal128>{value, one});
  Options options;
  options.dtype = "float64";
  auto batch = *Read({array}, *LayoutsOfColumn(*array, options), false);
  const auto found = ValuesOf<double>(batch->columns()[0]);
  EXPECT_DOUBLE_EQ(found[0], 1234567890123456789012345.678901234567);
  EXPECT_EQ(found[1], 1.0);
}

std::shared_ptr<arrow::Array> Lists(const std::vector<std::vector<int32_t>>& rows) {
  auto values = std::make_shared<arrow::Int32Builder>();
  arrow::ListBuilder builder(arrow::default_memory_pool(), values);
  for (const auto& row : rows) {
    EXPECT_TRUE(builder.Append().ok());
    EXPECT_TRUE(values->AppendValues(row).ok());
  }
  return *builder.Finish();
}

TEST(Padding, FillsAndCutsAndMasks) {
  const auto array = Lists({{9}, {1, 2, 3}, {}, {4}, {5, 6, 7, 8}})->Slice(1);
  Options options;
  options.pad_to = 3;
  options.has_fill = true;
  options.fill_int = -1;
  options.fill_float = -1;
  options.mask = true;
  auto layouts = *LayoutsOfColumn(*array, options);
  const arrow::Status status = Read({array}, layouts, false).status();
  EXPECT_EQ(CodeOf(status), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("list of 4 values at row"), std::string::npos);
  options.truncate = true;
  layouts = *LayoutsOfColumn(*array, options);
  const std::vector<int32_t> values = {1, 2, 3, -1, -1, -1, 4, -1, -1, 5, 6, 7};
  const std::vector<uint8_t> mask = {1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1};
  for (const bool permuted : {false, true}) {
    auto batch = *Read({array}, layouts, permuted);
    const fb_column& c = batch->columns()[0];
    EXPECT_EQ(c.num_levels, 0);
    EXPECT_EQ(c.width, 3);
    EXPECT_EQ(ValuesOf<int32_t>(c), permuted ? Backwards(values, 3) : values);
    EXPECT_EQ(std::vector<uint8_t>(c.mask, c.mask + c.length),
              permuted ? Backwards(mask, 3) : mask);
  }
}

// Rows {dense?, indices, values}.
struct VectorRow {
  bool dense;
  std::vector<int32_t> indices;
  std::vector<double> values;
};

std::shared_ptr<arrow::Array> Vectors(const std::vector<VectorRow>& rows, int32_t size) {
  arrow::Int8Builder kinds;
  arrow::Int32Builder sizes;
  auto index = std::make_shared<arrow::Int32Builder>();
  auto value = std::make_shared<arrow::DoubleBuilder>();
  arrow::ListBuilder indices(arrow::default_memory_pool(), index);
  arrow::ListBuilder values(arrow::default_memory_pool(), value);
  for (const VectorRow& row : rows) {
    EXPECT_TRUE(kinds.Append(row.dense ? 1 : 0).ok());
    EXPECT_TRUE((row.dense ? sizes.AppendNull() : sizes.Append(size)).ok());
    EXPECT_TRUE((row.dense ? indices.AppendNull() : indices.Append()).ok());
    EXPECT_TRUE(index->AppendValues(row.indices).ok());
    EXPECT_TRUE(values.Append().ok());
    EXPECT_TRUE(value->AppendValues(row.values).ok());
  }
  const std::vector<std::shared_ptr<arrow::Array>> children = {*kinds.Finish(), *sizes.Finish(),
                                                               *indices.Finish(), *values.Finish()};
  return *arrow::StructArray::Make(children,
                                   std::vector<std::string>{"type", "size", "indices", "values"});
}

TEST(Vectors, BecomeDense) {
  const auto array =
      Vectors(
          {{true, {}, {8, 8, 8}}, {true, {}, {1, 2, 3}}, {false, {0, 2}, {4, 5}}, {false, {}, {}}},
          3)
          ->Slice(1);
  Options options;
  options.vector_size = 3;
  const std::vector<double> wanted = {1, 2, 3, 4, 0, 5, 0, 0, 0};
  for (const bool permuted : {false, true}) {
    options.dtype = "";
    auto batch = *Read({array}, *LayoutsOfColumn(*array, options), permuted);
    EXPECT_EQ(ValuesOf<double>(batch->columns()[0]), permuted ? Backwards(wanted, 3) : wanted);
    options.dtype = "float32";
    batch = *Read({array}, *LayoutsOfColumn(*array, options), permuted);
    const std::vector<float> narrow(wanted.begin(), wanted.end());
    EXPECT_EQ(ValuesOf<float>(batch->columns()[0]), permuted ? Backwards(narrow, 3) : narrow);
  }
}

TEST(Vectors, BecomeSparse) {
  const auto array = Vectors({{false, {0, 2}, {4, 5}}, {false, {}, {}}, {true, {}, {1, 0, 3}}}, 3);
  Options options;
  options.vector_size = 3;
  options.sparse = true;
  auto batch = *Read({array}, *LayoutsOfColumn(*array, options), false);
  const fb_column& c = batch->columns()[0];
  EXPECT_EQ(ValuesOf<double>(c), (std::vector<double>{4, 5, 1, 0, 3}));
  EXPECT_EQ(std::vector<int64_t>(c.indices, c.indices + 10),
            (std::vector<int64_t>{0, 0, 0, 2, 2, 0, 2, 1, 2, 2}));
}

TEST(Vectors, ThatDoNotFitAreNamed) {
  const std::pair<VectorRow, const char*> cases[] = {{{true, {}, {1, 2}}, "another size"},
                                                     {{false, {1, 0}, {1, 2}}, "indices"},
                                                     {{false, {3}, {1}}, "indices"},
                                                     {{false, {-1}, {1}}, "indices"},
                                                     {{false, {0}, {}}, "numbers of indices"}};
  Options options;
  options.vector_size = 3;
  for (const auto& [row, fault] : cases) {
    const auto array = Vectors({{true, {}, {1, 2, 3}}, row}, 3);
    const arrow::Status status = Read({array}, *LayoutsOfColumn(*array, options), false).status();
    EXPECT_EQ(CodeOf(status), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(fault), std::string::npos) << status.message();
  }
}

TEST(Codes, NeedOneDictionary) {
  const auto dictionary = [](const std::vector<std::string>& words) {
    arrow::StringBuilder builder;
    EXPECT_TRUE(builder.AppendValues(words).ok());
    return *builder.Finish();
  };
  const auto codes = ArrayOf<arrow::Int16Builder>(arrow::int16(), std::vector<int16_t>{1, 0});
  const auto type = arrow::dictionary(arrow::int16(), arrow::utf8());
  const auto with = [&](const std::vector<std::string>& words) {
    return *arrow::DictionaryArray::FromArrays(type, codes, dictionary(words));
  };
  Options options;
  options.codes = true;
  const auto array = with({"a", "b"});
  auto layouts = *LayoutsOfColumn(*array, options);
  auto batch = *Read({array, with({"a", "b", "c"}), with({"a", "b"})}, layouts, false);
  EXPECT_EQ(ValuesOf<int16_t>(batch->columns()[0]), (std::vector<int16_t>{1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(CodeOf(Read({with({"b", "a"})}, layouts, false).status()), Code::kSchemaMismatch);
}

// {id, s: {list of the id's digits, code}}: a row says in three ways which it is.
std::shared_ptr<arrow::RecordBatch> NestedRows(int64_t first, int64_t count,
                                               const std::shared_ptr<arrow::Array>& words) {
  arrow::Int64Builder ids;
  arrow::Int16Builder codes;
  std::vector<std::vector<int32_t>> digits;
  for (int64_t row = first; row < first + count; ++row) {
    EXPECT_TRUE(ids.Append(row).ok());
    EXPECT_TRUE(codes.Append(static_cast<int16_t>(row % words->length())).ok());
    digits.push_back(std::vector<int32_t>(row % 4, static_cast<int32_t>(row)));
  }
  const auto code = *arrow::DictionaryArray::FromArrays(
      arrow::dictionary(arrow::int16(), arrow::utf8()), *codes.Finish(), words);
  const auto inner =
      *arrow::StructArray::Make({Lists(digits), code}, std::vector<std::string>{"list", "code"});
  const auto schema =
      arrow::schema({arrow::field("id", arrow::int64()), arrow::field("s", inner->type())});
  return arrow::RecordBatch::Make(schema, count, {*ids.Finish(), inner});
}

TEST(ReaderOfNestedColumns, KeepsLeavesTogetherOverConnections) {
  arrow::StringBuilder builder;
  ASSERT_TRUE(builder.AppendValues(std::vector<std::string>{"a", "b", "c"}).ok());
  const std::shared_ptr<arrow::Array> words = *builder.Finish();
  auto feed = std::make_shared<FakeFeed>();
  feed->schema = NestedRows(0, 0, words)->schema();
  constexpr int64_t kRows = 6 * 5 * 40;
  for (int64_t row = 0; row < kRows;) {
    auto& batches = feed->partitions.emplace_back();
    for (int b = 0; b < 5; ++b, row += 40) {
      // Each batch with a dictionary of its own that is equal to the others.
      batches.push_back(NestedRows(row, 40, *arrow::Concatenate({words})));
    }
  }
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = 17;
  spec.epochs = 2;
  spec.num_shards = 1;
  spec.shuffle_window = -1;
  spec.connections = 4;
  Options codes;
  codes.path = "s.code";
  codes.codes = true;
  codes.dtype = "int64";
  spec.options = {codes};
  auto reader = *Reader::Open(spec, ConnectFake(feed), false);
  std::vector<int> seen(kRows);
  for (;;) {
    const auto batch = reader->Next();
    ASSERT_TRUE(batch.ok()) << batch.status().ToString();
    if (*batch == nullptr) break;
    const auto& columns = (*batch)->columns();  // id, s.code, s.list
    ASSERT_EQ(columns.size(), 3);
    const auto ids = ValuesOf<int64_t>(columns[0]);
    const auto found = ValuesOf<int64_t>(columns[1]);
    const auto lists = ValuesOf<int32_t>(columns[2]);
    for (size_t i = 0; i < ids.size(); ++i) {
      ++seen[ids[i]];
      ASSERT_EQ(found[i], ids[i] % 3);
      const int64_t* split = columns[2].row_splits[0] + i;
      ASSERT_EQ(split[1] - split[0], ids[i] % 4);
      for (int64_t v = split[0]; v < split[1]; ++v) ASSERT_EQ(lists[v], ids[i]);
    }
  }
  EXPECT_EQ(seen, std::vector<int>(kRows, 2));
}

}  // namespace
}  // namespace flightbridge::batch
