#include "feed/column_bounds.h"

#include <cmath>
#include <limits>
#include <random>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "testing/batches.h"

namespace flightbridge::feed {
namespace {

using testing::ArrayFromJson;

proto::ColumnStatistics Of(const std::vector<std::shared_ptr<arrow::Array>>& arrays) {
  ColumnBounds bounds;
  for (const auto& array : arrays) bounds.Add(*array);
  return bounds.Finish(*arrays.at(0)->type());
}

proto::ColumnStatistics Of(const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  return Of({ArrayFromJson(type, json)});
}

proto::StatisticsValue Int(int64_t value) { return {.int_value = value}; }
proto::StatisticsValue UInt(uint64_t value) { return {.uint_value = value}; }
proto::StatisticsValue Float(double value) { return {.float_value = value}; }
proto::StatisticsValue Bytes(const std::string& value, bool cut = false) {
  return {.bytes_value = value, .cut = cut};
}

// What an unscaled decimal is, in so many bytes.
proto::StatisticsValue Decimal(int64_t value, size_t bytes) {
  std::string text(bytes, value < 0 ? '\xFF' : '\0');
  for (size_t i = 0; i < 8; ++i) text[bytes - 1 - i] = static_cast<char>(value >> (8 * i));
  return Bytes(text);
}

TEST(ColumnBounds, EveryTypeWithBounds) {
  using arrow::TimeUnit;
  const struct {
    std::shared_ptr<arrow::DataType> type;
    std::string json;
    proto::StatisticsValue min;
    proto::StatisticsValue max;
  } cases[] = {
      {arrow::boolean(), "[true, null, false]", Int(0), Int(1)},
      {arrow::boolean(), "[true, null, true]", Int(1), Int(1)},
      {arrow::boolean(), "[false, null]", Int(0), Int(0)},
      {arrow::int8(), "[5, null, -128, 127]", Int(-128), Int(127)},
      {arrow::int16(), "[5, null, -32768]", Int(-32768), Int(5)},
      {arrow::int32(), "[5, null, -3]", Int(-3), Int(5)},
      {arrow::int64(), "[9223372036854775807, null, -9223372036854775808]",
       Int(std::numeric_limits<int64_t>::min()), Int(std::numeric_limits<int64_t>::max())},
      {arrow::uint8(), "[255, null, 3]", UInt(3), UInt(255)},
      {arrow::uint16(), "[65535, null, 3]", UInt(3), UInt(65535)},
      {arrow::uint32(), "[4294967295, null, 3]", UInt(3), UInt(4294967295)},
      {arrow::uint64(), "[18446744073709551615, null, 3]", UInt(3),
       UInt(std::numeric_limits<uint64_t>::max())},
      {arrow::float16(), "[1.5, null, -2]", Float(-2), Float(1.5)},
      {arrow::float32(), "[1.5, null, -2]", Float(-2), Float(1.5)},
      {arrow::float64(), "[1.5, null, -2.25]", Float(-2.25), Float(1.5)},
      {arrow::date32(), "[5, null, -3]", Int(-3), Int(5)},
      {arrow::date64(), "[86400000, null, -86400000]", Int(-86400000), Int(86400000)},
      {arrow::time32(TimeUnit::SECOND), "[5, null, 3]", Int(3), Int(5)},
      {arrow::time64(TimeUnit::NANO), "[5, null, 3]", Int(3), Int(5)},
      {arrow::timestamp(TimeUnit::MICRO, "UTC"), "[5, null, -3]", Int(-3), Int(5)},
      {arrow::duration(TimeUnit::MILLI), "[5, null, -3]", Int(-3), Int(5)},
      {arrow::month_interval(), "[5, null, -3]", Int(-3), Int(5)},
      {arrow::decimal32(5, 2), R"(["1.25", null, "-3.00"])", Decimal(-300, 16), Decimal(125, 16)},
      {arrow::decimal64(12, 2), R"(["1.25", null, "-3.00"])", Decimal(-300, 16), Decimal(125, 16)},
      {arrow::decimal128(22, 2), R"(["1.25", null, "-3.00"])", Decimal(-300, 16), Decimal(125, 16)},
      {arrow::decimal256(50, 2), R"(["1.25", null, "-3.00"])", Decimal(-300, 32), Decimal(125, 32)},
      {arrow::utf8(), R"(["b", null, "", "ba"])", Bytes(""), Bytes("ba")},
      {arrow::large_utf8(), R"(["b", null, "é"])", Bytes("b"), Bytes("é")},
      {arrow::utf8_view(), R"(["b", null, "a value of more than twelve bytes"])",
       Bytes("a value of more than twelve bytes"), Bytes("b")},
      {arrow::binary(), R"(["b", null, "a"])", Bytes("a"), Bytes("b")},
      {arrow::large_binary(), R"(["b", null, "a"])", Bytes("a"), Bytes("b")},
      {arrow::binary_view(), R"(["b", null, "a"])", Bytes("a"), Bytes("b")},
      {arrow::fixed_size_binary(2), R"(["bb", null, "ab"])", Bytes("ab"), Bytes("bb")},
  };
  for (const auto& [type, json, min, max] : cases) {
    SCOPED_TRACE(type->ToString());
    const auto array = ArrayFromJson(type, json);
    const auto found = Of({array});
    EXPECT_EQ(found.nulls, array->null_count());
    EXPECT_EQ(found.nans, 0);
    EXPECT_EQ(found.min, min);
    EXPECT_EQ(found.max, max);
    EXPECT_EQ(Of({array->Slice(0, 1), array->Slice(1)}), found) << "in two parts";
    EXPECT_EQ(Of({array->Slice(0, 0), array, array->Slice(1, 1)}).max, max);
    const auto none = Of({array->Slice(0, 0)});
    EXPECT_EQ(none, proto::ColumnStatistics{});
    const auto nulls = Of({arrow::MakeArrayOfNull(type, 3).ValueOrDie()});
    EXPECT_EQ(nulls, proto::ColumnStatistics{.nulls = 3});
  }
}

TEST(ColumnBounds, NestedAndCodedColumnsHaveNullsOnly) {
  int nulls = 0;
  for (const auto& [name, batch] : testing::BatchesOfManyTypes()) {
    SCOPED_TRACE(name);
    const auto found = Of({batch->column(0)});
    EXPECT_EQ(found.nulls, batch->column(0)->ComputeLogicalNullCount());
    nulls += static_cast<int>(found.nulls);
    const arrow::Type::type id = batch->column(0)->type_id();
    if (arrow::is_nested(id) || id == arrow::Type::DICTIONARY || id == arrow::Type::NA) {
      EXPECT_FALSE(found.min || found.max);
    }
  }
  EXPECT_GT(nulls, 20);
}

TEST(ColumnBounds, NaNsAreCountedAndLeftOut) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto array = [](const std::vector<double>& values) {
    arrow::DoubleBuilder builder;
    EXPECT_TRUE(builder.AppendValues(values).ok());
    EXPECT_TRUE(builder.AppendNull().ok());
    return builder.Finish().ValueOrDie();
  };
  const auto some = Of({array({nan, 3, nan, -1, nan})});
  EXPECT_EQ(some,
            (proto::ColumnStatistics{.nulls = 1, .nans = 3, .min = Float(-1), .max = Float(3)}));
  std::vector<double> many(100, nan);
  many[57] = 7;
  EXPECT_EQ(Of({array(many)}).min, Float(7));
  EXPECT_EQ(Of({array(many)}).nans, 99);
  EXPECT_EQ(Of({array({nan, nan})}), (proto::ColumnStatistics{.nulls = 1, .nans = 2}));
  const auto both = Of({array({nan, nan}), array({2})});
  EXPECT_EQ(both.min, Float(2)) << "a batch of NaNs says nothing of the others";
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Of({array({infinity, nan})}).min, Float(infinity));
  EXPECT_EQ(Of({array({-infinity, 0, infinity})}).min, Float(-infinity));
  EXPECT_EQ(Of({ArrayFromJson(arrow::float16(), "[1, null, -2, NaN]")}).nans, 1);
  EXPECT_EQ(Of({ArrayFromJson(arrow::float32(), "[1, null, NaN]")}).max, Float(1));
}

TEST(ColumnBounds, ZerosHaveNoSign) {
  for (const char* json : {"[-0.0]", "[0.0]", "[-0.0, 0.0]", "[0.0, -0.0]"}) {
    for (const auto& type : {arrow::float16(), arrow::float32(), arrow::float64()}) {
      const auto found = Of(type, json);
      EXPECT_FALSE(std::signbit(found.min->float_value)) << json;
      EXPECT_FALSE(std::signbit(found.max->float_value)) << json;
    }
  }
}

std::shared_ptr<arrow::Array> Texts(const std::vector<std::string>& values,
                                    const std::shared_ptr<arrow::DataType>& type = arrow::utf8()) {
  arrow::BinaryBuilder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  return builder.Finish().ValueOrDie()->View(type).ValueOrDie();
}

TEST(ColumnBounds, LongTextsAreCutToBounds) {
  const std::string whole(kBoundBytes, 'x');
  EXPECT_EQ(Of({Texts({whole})}).max, Bytes(whole)) << "it fits";
  const auto found = Of({Texts({whole + "y"})});
  EXPECT_EQ(found.min, Bytes(whole, true));
  EXPECT_EQ(found.max, Bytes(whole.substr(1) + "y", true));
  EXPECT_EQ(Of({Texts({whole, whole + "y"})}).min, Bytes(whole)) << "the shorter is the least";
  EXPECT_EQ(Of({Texts({whole + "y", whole})}).min, Bytes(whole));
  EXPECT_EQ(Of({Texts({whole + "y", whole})}).max, found.max);
  EXPECT_EQ(Of({Texts({whole}), Texts({whole + "y"})}).max, found.max);
}

TEST(ColumnBounds, CutTextsEndAtACharacter) {
  const std::string body(kBoundBytes - 1, 'a');
  const auto found = Of({Texts({body + "é and more"})});  // the cut falls into the é
  EXPECT_EQ(found.min, Bytes(body, true));
  EXPECT_EQ(found.max, Bytes(body.substr(1) + "b", true));
  // The next character may have another length, or be none.
  const std::string ascii = std::string(kBoundBytes - 1, 'a') + '\x7F' + "more";
  EXPECT_EQ(Of({Texts({ascii})}).max->bytes_value, body + "\xC2\x80");
  const std::string last = "\xF4\x8F\xBF\xBF";  // U+10FFFF
  std::string all;
  while (all.size() < kBoundBytes) all += last;
  EXPECT_FALSE(Of({Texts({all + "x"})}).max.has_value()) << "nothing is above it";
  EXPECT_EQ(Of({Texts({all + "x"})}).min, Bytes(all, true));
  const std::string surrogates = body.substr(2) + "\xED\x9F\xBF" + "more";  // U+D7FF
  EXPECT_EQ(Of({Texts({surrogates})}).max->bytes_value, body.substr(2) + "\xEE\x80\x80");
}

TEST(ColumnBounds, CutBinaryCarries) {
  std::string value(kBoundBytes + 1, '\xFF');
  EXPECT_FALSE(Of({Texts({value}, arrow::binary())}).max.has_value());
  value[2] = 'a';
  EXPECT_EQ(Of({Texts({value}, arrow::binary())}).max, Bytes("\xFF\xFF"
                                                             "b",
                                                             true));
}

// Whatever the texts and however they come in parts: every one is between the bounds.
TEST(ColumnBounds, RandomTextsLieBetween) {
  std::mt19937 random(7);
  const std::vector<std::string> characters = {
      "a", "b", "\x7F", "é", "ÿ", "\xED\x9F\xBF", "☃", "\xF4\x8F\xBF\xBF", "😀"};
  for (int round = 0; round < 300; ++round) {
    const bool utf8 = round % 2 == 0;
    std::vector<std::string> values(1 + random() % 20);
    for (std::string& value : values) {
      value.assign(random() % 3 == 0 ? 0 : 56 + random() % 8, 'z');
      for (size_t i = random() % 12; i > 0; --i) {
        if (utf8) {
          value += characters[random() % characters.size()];
        } else {
          value += static_cast<char>(random() % 4 == 0 ? 0xFF : random() % 256);
        }
      }
    }
    const auto array = Texts(values, utf8 ? arrow::utf8() : arrow::binary());
    const int64_t middle = static_cast<int64_t>(random() % values.size());
    const auto found = Of({array->Slice(middle), array->Slice(0, middle)});
    const std::string least = *std::ranges::min_element(values);
    const std::string greatest = *std::ranges::max_element(values);
    ASSERT_LE(found.min->bytes_value, least);
    ASSERT_EQ(found.min->cut, found.min->bytes_value != least);
    if (found.max) {
      ASSERT_GE(found.max->bytes_value, greatest);
      ASSERT_EQ(found.max->cut, found.max->bytes_value != greatest);
      ASSERT_LE(found.max->bytes_value.size(), kBoundBytes + 2);
      if (utf8) {
        const auto bound = Texts({found.min->bytes_value, found.max->bytes_value});
        ASSERT_TRUE(bound->ValidateFull().ok());
      }
    }
  }
}

TEST(ColumnBounds, RandomNumbersAgainstTheSlowWay) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    arrow::Int32Builder builder;
    int64_t nulls = 0;
    std::vector<int64_t> values;
    for (size_t i = random() % 70; i > 0; --i) {
      if (random() % 4 == 0) {
        ++nulls;
        ASSERT_TRUE(builder.AppendNull().ok());
      } else {
        values.push_back(static_cast<int32_t>(random()));
        ASSERT_TRUE(builder.Append(static_cast<int32_t>(values.back())).ok());
      }
    }
    const auto found = Of({builder.Finish().ValueOrDie()});
    ASSERT_EQ(found.nulls, nulls);
    ASSERT_EQ(found.min.has_value(), !values.empty());
    if (values.empty()) continue;
    ASSERT_EQ(found.min->int_value, *std::ranges::min_element(values));
    ASSERT_EQ(found.max->int_value, *std::ranges::max_element(values));
  }
}

}  // namespace
}  // namespace flightbridge::feed
