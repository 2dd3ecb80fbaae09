// Rows in memory become what a reader makes of the same rows of a feed.
#include <cstring>
#include <string>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "batch/row_assembler.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

std::shared_ptr<arrow::Array> Int32s(const std::vector<int32_t>& values,
                                     const std::vector<bool>& valid = {}) {
  arrow::Int32Builder builder;
  const auto status =
      valid.empty() ? builder.AppendValues(values) : builder.AppendValues(values, valid);
  EXPECT_TRUE(status.ok()) << status;
  return *builder.Finish();
}

std::shared_ptr<arrow::RecordBatch> OneColumn(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("x", array->type())}),
                                  array->length(), {array});
}

std::unique_ptr<RowAssembler> MakeAssembler(std::vector<proto::ColumnOptions> options = {}) {
  auto made = RowAssembler::Make(*arrow::schema({arrow::field("x", arrow::int32())}), {"x"},
                                 std::move(options));
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

TEST(RowAssembler, JoinsBatchesAndTheirSlices) {
  const auto assembler = MakeAssembler();
  const auto whole = OneColumn(Int32s({1, 2, 3, 4, 5, 6, 7, 8, 9}));
  const auto batch = assembler->Assemble({whole->Slice(1, 3), whole->Slice(7, 0), whole->Slice(6)});
  ASSERT_TRUE(batch.ok()) << batch.status();
  ASSERT_EQ((*batch)->rows(), 6);
  const auto* values = static_cast<const int32_t*>((*batch)->columns()[0].data);
  EXPECT_EQ(std::vector<int32_t>(values, values + 6), (std::vector<int32_t>{2, 3, 4, 7, 8, 9}));
}

TEST(RowAssembler, NoRowsAreABatch) {
  const auto assembler = MakeAssembler();
  for (const auto& batches :
       {std::vector<std::shared_ptr<arrow::RecordBatch>>{}, std::vector{OneColumn(Int32s({}))}}) {
    const auto batch = assembler->Assemble(batches);
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ((*batch)->rows(), 0);
    EXPECT_EQ((*batch)->columns()[0].length, 0);
  }
}

TEST(RowAssembler, OutlivedByItsBatches) {
  auto assembler = MakeAssembler();
  auto batch = *assembler->Assemble({OneColumn(Int32s({4, 5}))});
  assembler.reset();
  EXPECT_EQ(static_cast<const int32_t*>(batch->columns()[0].data)[1], 5);
}

TEST(RowAssembler, ErrorsNumberRowsAcrossBatches) {
  const auto assembler = MakeAssembler();
  const auto batch = assembler->Assemble(
      {OneColumn(Int32s({1, 2, 3})), OneColumn(Int32s({4, 0, 6}, {true, false, true}))});
  ASSERT_FALSE(batch.ok());
  EXPECT_NE(batch.status().message().find("row 4"), std::string::npos) << batch.status();
  EXPECT_NE(batch.status().message().find("'x'"), std::string::npos) << batch.status();
}

TEST(RowAssembler, OptionsHold) {
  proto::ColumnOptions options;
  options.path = "x";
  options.dtype = "float64";
  options.has_fill = true;
  options.fill_int = -1;
  options.fill_float = -1;
  options.mask = true;
  const auto assembler = MakeAssembler({options});
  const auto batch = assembler->Assemble({OneColumn(Int32s({4, 0}, {true, false}))});
  ASSERT_TRUE(batch.ok()) << batch.status();
  const fb_column& column = (*batch)->columns()[0];
  EXPECT_EQ(column.dtype, FB_FLOAT64);
  EXPECT_EQ(static_cast<const double*>(column.data)[1], -1);
  ASSERT_NE(column.mask, nullptr);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(column.mask), 2), std::string("\1\0", 2));
}

TEST(RowAssembler, RefusesAnotherType) {
  const auto assembler = MakeAssembler();
  arrow::DoubleBuilder builder;
  ASSERT_TRUE(builder.Append(1.5).ok());
  const auto batch = assembler->Assemble({OneColumn(*builder.Finish())});
  ASSERT_FALSE(batch.ok());
  EXPECT_EQ(CodeOf(batch.status()), Code::kSchemaMismatch);
}

}  // namespace
}  // namespace flightbridge::batch
