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
#include "testing/tstrings.h"

namespace flightbridge::batch {
namespace {

std::shared_ptr<arrow::RecordBatch> OneColumn(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", array->type())}),
                                  array->length(), {array});
}

using Layouts = std::vector<ColumnLayout>;

Layouts LayoutsOfType(const std::shared_ptr<arrow::DataType>& type,
                      const std::vector<proto::ColumnOptions>& options = {}) {
  auto layouts = LayoutsOf(*arrow::schema({arrow::field("x", type)}), {}, options);
  EXPECT_TRUE(layouts.ok()) << layouts.status().ToString();
  return layouts.ok() ? *layouts : Layouts{};
}

// A row of an assembled column, or of its mask, read as c_api.h describes them: lists in brackets,
// and a space behind each value.
std::string Rendered(const fb_column& c, bool mask, int level, int64_t i) {
  std::string out;
  if (level < c.num_levels) {
    out = "[";
    for (int64_t j = c.row_splits[level][i]; j < c.row_splits[level][i + 1]; ++j) {
      out += Rendered(c, mask, level + 1, j);
    }
    return out + "]";
  }
  const int64_t item = ItemBytes(static_cast<fb_dtype>(c.dtype));
  const int64_t width = std::max<int64_t>(c.width, 1);
  for (int64_t v = i * width; v < (i + 1) * width; ++v) {
    if (mask) {
      out += c.mask[v] ? '1' : '0';
    } else if (c.tstrings != nullptr) {
      out += TStringAt(c, v);
    } else {
      const int64_t from = c.offsets != nullptr ? c.offsets[v] : v * item;
      const int64_t to = c.offsets != nullptr ? c.offsets[v + 1] : from + item;
      out.append(static_cast<const char*>(c.data) + from, to - from);
    }
    out += ' ';
  }
  return out;
}

// The same, read value by value from the Arrow array.
std::string Naive(const ColumnLayout& leaf, bool mask, const arrow::Array& a, int64_t i,
                  size_t field, int levels, bool null) {
  const auto list = [&](const auto& lists) -> std::string {
    if (null || lists.IsNull(i)) return "[]";
    std::string out = "[";
    for (int64_t j = lists.value_offset(i); j < lists.value_offset(i + 1); ++j) {
      out += Naive(leaf, mask, *lists.values(), j, field, levels - 1, false);
    }
    return out + "]";
  };
  switch (a.type_id()) {
    case arrow::Type::LIST:
    case arrow::Type::MAP: return list(static_cast<const arrow::ListArray&>(a));
    case arrow::Type::LARGE_LIST: return list(static_cast<const arrow::LargeListArray&>(a));
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& lists = static_cast<const arrow::FixedSizeListArray&>(a);
      std::string out;
      for (int64_t j = lists.value_offset(i); j < lists.value_offset(i + 1); ++j) {
        out += Naive(leaf, mask, *lists.values(), j, field, std::max(levels - 1, 0),
                     null || a.IsNull(i));
      }
      return levels > 0 ? "[" + out + "]" : out;
    }
    case arrow::Type::STRUCT: {
      const auto& child = static_cast<const arrow::StructArray&>(a).field(leaf.fields[field]);
      return Naive(leaf, mask, *child, i, field + 1, levels, null || a.IsNull(i));
    }
    default: break;
  }
  null = null || a.IsNull(i);
  if (mask) return null ? "0 " : "1 ";
  if (!null) return ValueBytes(a, i) + ' ';
  if (leaf.bytes()) return leaf.fill_bytes + ' ';
  return std::string(reinterpret_cast<const char*>(leaf.fill.data()), ItemBytes(leaf.dtype)) + ' ';
}

bool HasNull(const ColumnLayout& leaf, const arrow::Array& a, int64_t i, size_t field) {
  if (a.IsNull(i)) return true;
  const auto any = [&](const auto& lists) {
    for (int64_t j = lists.value_offset(i); j < lists.value_offset(i) + lists.value_length(i);
         ++j) {
      if (HasNull(leaf, *lists.values(), j, field)) return true;
    }
    return false;
  };
  switch (a.type_id()) {
    case arrow::Type::LIST:
    case arrow::Type::MAP: return any(static_cast<const arrow::ListArray&>(a));
    case arrow::Type::LARGE_LIST: return any(static_cast<const arrow::LargeListArray&>(a));
    case arrow::Type::FIXED_SIZE_LIST: return any(static_cast<const arrow::FixedSizeListArray&>(a));
    case arrow::Type::STRUCT:
      return HasNull(leaf, *static_cast<const arrow::StructArray&>(a).field(leaf.fields[field]), i,
                     field + 1);
    default: return false;
  }
}

struct Piece {
  std::shared_ptr<arrow::Array> array;
  int64_t row = 0;
};

void ExpectAligned(const fb_column& c) {
  std::vector<const void*> pointers = {c.data, c.offsets, c.tstrings, c.mask, c.indices};
  for (const int64_t* splits : c.row_splits) pointers.push_back(splits);
  for (const void* p : pointers) EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0);
}

class Kernels : public testing::TestWithParam<std::shared_ptr<arrow::DataType>> {
 protected:
  // Assembles `parts` and compares with `expected`, or expects the error of the first null.
  void Check(const std::vector<Part>& parts, const std::vector<Piece>& expected) {
    const auto batch = Assemble(layouts_, parts, pool_);
    const bool null = std::any_of(expected.begin(), expected.end(), [&](const Piece& p) {
      return std::any_of(layouts_.begin(), layouts_.end(), [&](const ColumnLayout& leaf) {
        return HasNull(leaf, *p.array, p.row, 0);
      });
    });
    if (null && layouts_[0].nulls == ColumnLayout::Nulls::kError) {
      ASSERT_FALSE(batch.ok());
      EXPECT_EQ(CodeOf(batch.status()), Code::kInvalidArgument);
      EXPECT_NE(batch.status().message().find("column 'x"), std::string::npos);
      return;
    }
    ASSERT_TRUE(batch.ok()) << batch.status().ToString();
    ASSERT_EQ((*batch)->rows(), static_cast<int64_t>(expected.size()));
    for (size_t c = 0; c < layouts_.size(); ++c) {
      const fb_column& column = (*batch)->columns()[c];
      const ColumnLayout& leaf = layouts_[c];
      ExpectAligned(column);
      ASSERT_EQ(column.mask != nullptr, leaf.mask);
      ASSERT_EQ(column.tstrings != nullptr, leaf.tstrings);
      ASSERT_EQ(column.offsets != nullptr, leaf.bytes() && !leaf.tstrings);
      for (size_t i = 0; i < expected.size(); ++i) {
        for (const bool mask : {false, true}) {
          if (mask && !leaf.mask) continue;
          ASSERT_EQ(Rendered(column, mask, 0, static_cast<int64_t>(i)),
                    Naive(leaf, mask, *expected[i].array, expected[i].row, 0, leaf.levels, false))
              << leaf.name << " row " << i << " mask " << mask;
        }
      }
    }
  }

  void CheckRandom(Rng& rng, int round, double nulls);

  std::vector<ColumnLayout> layouts_;
  std::shared_ptr<SlabPool> pool_ = std::make_shared<SlabPool>(2);
};

void Kernels::CheckRandom(Rng& rng, int round, double nulls) {
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
    part.table = std::make_shared<const ChunkTable>(std::move(chunks), layouts_.size());
    part.first = static_cast<int64_t>(rng() % (array->length() + 1));
    part.count = static_cast<int64_t>(rng() % (array->length() - part.first + 1));
    for (int64_t i = 0; i < part.count; ++i) expected.push_back({array, part.first + i});
    parts.push_back(std::move(part));
  }
  Check(parts, expected);

  // Permuted: rows of all arrays, then a second part.
  std::vector<std::unique_ptr<Chunk>> chunks;
  for (const auto& array : arrays) chunks.push_back(*MakeChunk(*OneColumn(array), layouts_));
  auto table = std::make_shared<ChunkTable>(std::move(chunks), layouts_.size());
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

TEST_P(Kernels, MatchANaiveReading) {
  Rng rng(std::hash<std::string>{}(GetParam()->ToString()));
  layouts_ = LayoutsOfType(GetParam());
  for (int round = 0; round < 20; ++round) CheckRandom(rng, round, round % 5 == 4 ? 0.02 : 0);
}

TEST_P(Kernels, MatchItAsTensorFlowsStrings) {
  Rng rng(std::hash<std::string>{}(GetParam()->ToString()) + 2);
  for (const bool filled : {false, true}) {
    std::vector<proto::ColumnOptions> options;
    for (const ColumnLayout& leaf : LayoutsOfType(GetParam())) {
      if (!leaf.bytes()) return;
      proto::ColumnOptions option;
      option.path = leaf.name;
      option.has_fill = option.mask = filled;
      option.fill_bytes = "what stands for a null, at some length";
      options.push_back(option);
    }
    layouts_ = LayoutsOfType(GetParam(), options);
    for (ColumnLayout& leaf : layouts_) leaf.tstrings = true;
    for (int round = 0; round < 10; ++round) CheckRandom(rng, round, filled ? 0.3 : 0);
  }
}

TEST_P(Kernels, FillNullsAndSayWhereTheyWere) {
  Rng rng(std::hash<std::string>{}(GetParam()->ToString()) + 1);
  for (const bool mask : {false, true}) {
    std::vector<proto::ColumnOptions> options;
    for (const ColumnLayout& leaf : LayoutsOfType(GetParam())) {
      proto::ColumnOptions option;
      option.path = leaf.name;
      option.has_fill = true;
      if (leaf.bytes()) {
        option.fill_bytes = "nil";
      } else {
        option.fill_int = 1;
        option.fill_float = 1;
      }
      option.mask = mask;
      options.push_back(option);
    }
    layouts_ = LayoutsOfType(GetParam(), options);
    for (int round = 0; round < 10; ++round) CheckRandom(rng, round, round % 2 == 0 ? 0.3 : 0.02);
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
  const Layouts layouts = LayoutsOfType(arrow::int64());
  auto chunk = *MakeChunk(*OneColumn(*builder.Finish()), layouts);
  chunk->global = {{10, 11}, {500, 502}};
  std::vector<std::unique_ptr<Chunk>> chunks;
  chunks.push_back(std::move(chunk));
  Part part;
  part.table = std::make_shared<const ChunkTable>(std::move(chunks), 1);
  part.count = 2;
  EXPECT_TRUE(CheckRows(layouts[0], 0, std::span(&part, 1)).ok());  // the null is not in these
  part.count = 3;
  const arrow::Status status = CheckRows(layouts[0], 0, std::span(&part, 1));
  EXPECT_EQ(status.message(),
            "column 'x' has a null at row 501 of the feed: tensors have no nulls; pass "
            "fill={'x': 0} or mask=['x'], fill them before writing, such as df.fillna({'x': 0}), "
            "or leave the column out of columns=[...]");
}

TEST(Layout, UnsupportedTypesAreNamedWithTheirCast) {
  const auto refused = {
      std::pair{arrow::decimal128(10, 2), "dtypes={'price': 'float64'}"},
      std::pair{arrow::struct_({}), "no fields"},
      std::pair{arrow::fixed_size_list(arrow::utf8(), 0), "no values"},
      std::pair{
          arrow::struct_({arrow::field("a", arrow::int8()), arrow::field("a", arrow::utf8())}),
          "rename"},
      std::pair{arrow::list_view(arrow::int8()), "cast it to list"},
      std::pair{arrow::day_time_interval(), "cast it"},
      std::pair{arrow::null(), "only nulls"},
      std::pair{arrow::run_end_encoded(arrow::int32(), arrow::int8()), "value type"},
      std::pair{arrow::dense_union({arrow::field("a", arrow::int8())}), "cast it"},
      std::pair{arrow::month_day_nano_interval(), "cast it"},
  };
  for (const auto& [type, remedy] : refused) {
    const arrow::Status status =
        LayoutsOf(*arrow::schema({arrow::field("price", type)}), {}).status();
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
