// Record batches for tests.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/api.h>
#include <arrow/json/from_string.h>
#include <gtest/gtest.h>

namespace flightbridge::testing {

inline std::shared_ptr<arrow::Array> ArrayFromJson(const std::shared_ptr<arrow::DataType>& type,
                                                   const std::string& json) {
  auto array = arrow::json::ArrayFromJSONString(type, json);
  EXPECT_TRUE(array.ok()) << type->ToString() << ": " << array.status();
  return array.ValueOrDie();
}

inline std::shared_ptr<arrow::RecordBatch> OneColumn(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", array->type())}),
                                  array->length(), {array});
}

inline std::shared_ptr<arrow::RecordBatch> FromJson(const std::shared_ptr<arrow::DataType>& type,
                                                    const std::string& json) {
  return OneColumn(ArrayFromJson(type, json));
}

// n = begin, begin + 1, ...; w = a word, every third one null.
inline std::shared_ptr<arrow::RecordBatch> Numbered(int64_t begin, int64_t rows) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder words;
  for (int64_t i = begin; i < begin + rows; ++i) {
    EXPECT_TRUE(numbers.Append(i).ok());
    EXPECT_TRUE((i % 3 != 0 ? words.Append("w" + std::to_string(i)) : words.AppendNull()).ok());
  }
  return arrow::RecordBatch::Make(
      arrow::schema({arrow::field("n", arrow::int64()), arrow::field("w", arrow::utf8())}), rows,
      {numbers.Finish().ValueOrDie(), words.Finish().ValueOrDie()});
}

// Every kind of layout, with nulls, empty, and sliced.
inline std::vector<std::pair<std::string, std::shared_ptr<arrow::RecordBatch>>>
BatchesOfManyTypes() {
  using arrow::field;
  std::vector<std::pair<std::string, std::shared_ptr<arrow::RecordBatch>>> batches;
  const auto add = [&](const std::shared_ptr<arrow::Array>& array) {
    const std::string name = array->type()->ToString();
    const int64_t length = array->length();
    batches.emplace_back(name, OneColumn(array));
    batches.emplace_back(name + ", zero rows", OneColumn(array->Slice(0, 0)));
    if (length > 1) batches.emplace_back(name + ", slice", OneColumn(array->Slice(1, length - 2)));
    batches.emplace_back(name + ", tail", OneColumn(array->Slice(length - 1)));
  };
  const auto json = [&](const std::shared_ptr<arrow::DataType>& type, const std::string& text) {
    add(ArrayFromJson(type, text));
  };
  json(arrow::null(), "[null, null, null]");
  json(arrow::boolean(), "[true, null, false, true, true, false, null, true, true, false]");
  json(arrow::int8(), "[1, 2, 3]");
  json(arrow::uint16(), "[1, null, 65535]");
  json(arrow::int64(), "[1, null, -3, 4, 5]");
  json(arrow::float16(), "[1.5, null, 2]");
  json(arrow::float32(), "[1.5, null, 2]");
  json(arrow::float64(), "[1.5, 0.25, 2]");
  json(arrow::date32(), "[1, null, 3]");
  json(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), "[1, null, 3]");
  json(arrow::decimal128(12, 2), R"(["1.25", null, "-3.00"])");
  json(arrow::utf8(), R"(["a", null, "", "longer than twelve bytes", "b"])");
  json(arrow::large_utf8(), R"(["a", null, "", "ccc"])");
  json(arrow::binary(), R"(["a", null, "", "ccc"])");
  json(arrow::utf8_view(), R"(["a", null, "", "longer than twelve bytes", "b"])");
  json(arrow::fixed_size_binary(3), R"(["abc", null, "def"])");
  json(arrow::list(arrow::int32()), "[[1, 2], null, [], [3], [4, null, 6]]");
  json(arrow::large_list(arrow::utf8()), R"([["x"], null, [], ["y", null]])");
  json(arrow::fixed_size_list(arrow::float32(), 2), "[[1, 2], null, [3, 4], [5, 6]]");
  json(arrow::struct_({field("a", arrow::int32()), field("b", arrow::utf8(), false)}),
       R"([{"a": 1, "b": "x"}, {"a": null, "b": "y"}, {"a": 3, "b": ""}, {"a": 4, "b": "zz"}])");
  json(arrow::map(arrow::utf8(), arrow::int32()),
       R"([[["k", 1]], null, [], [["a", 2], ["b", null]]])");
  json(arrow::list(arrow::list(arrow::struct_({field("a", arrow::boolean())}))),
       R"([[[{"a": true}], []], null, [[{"a": null}, {"a": false}]], []])");
  json(arrow::dense_union({field("i", arrow::int32()), field("s", arrow::utf8())}, {0, 1}),
       R"([[0, 1], [1, "x"], [0, 3], [1, "y"]])");
  json(arrow::sparse_union({field("i", arrow::int32()), field("s", arrow::utf8())}, {0, 1}),
       R"([[0, 1], [1, "x"], [0, 3], [1, "y"]])");
  add(arrow::json::DictArrayFromJSONString(arrow::dictionary(arrow::int8(), arrow::utf8()),
                                           "[0, 1, null, 1, 0]", R"(["p", "q"])")
          .ValueOrDie());
  return batches;
}

}  // namespace flightbridge::testing
