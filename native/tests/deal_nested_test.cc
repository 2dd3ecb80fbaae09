#include "deal/nested_codec.h"

#include <random>

#include <gtest/gtest.h>

#include "random_columns.h"
#include "testing/batches.h"

namespace flightbridge::deal {
namespace {

std::vector<std::shared_ptr<arrow::DataType>> NestedTypes() {
  std::vector<std::shared_ptr<arrow::DataType>> types = batch::AcceptedTypes();
  types.push_back(arrow::large_list(arrow::list(arrow::large_utf8())));
  types.push_back(arrow::fixed_size_list(arrow::list(arrow::boolean()), 2));
  types.push_back(arrow::fixed_size_list(arrow::fixed_size_list(arrow::int16(), 3), 2));
  std::erase_if(types, [](const auto& type) {
    return !feed::IsDealt(*type) || feed::PickKindOf(*type) != feed::PickKind::kArrays;
  });
  return types;
}

// Values of every type, nulls at every level, taken one by one in any order from a part of an
// array, come back as they were.
TEST(NestedCodec, PacksAndReadsEveryType) {
  batch::Rng rng(11);
  const auto types = NestedTypes();
  ASSERT_GE(types.size(), 40U);
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (const auto& type : types) {
    SCOPED_TRACE(type->ToString());
    const NestedCodec codec(type);
    for (const double nulls : {0.0, 0.3}) {
      const auto whole = batch::RandomArray(type, 120, nulls, rng);
      const auto array = whole->Slice(static_cast<int64_t>(rng() % 20), 90);
      std::vector<int64_t> order(90);
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
      std::ranges::shuffle(order, rng);
      NestedCodec::Reader reader(codec);
      arrow::ArrayVector expected;
      int64_t all = 0;
      for (const int64_t i : order) {
        const int64_t size = codec.SizeOf(*array->data(), i, i + 1);
        std::vector<uint8_t> packed(size);
        EXPECT_EQ(codec.Pack(*array->data(), i, i + 1, packed.data()), packed.data() + size);
        ASSERT_TRUE(reader.Read(packed.data()).ok());
        expected.push_back(array->Slice(i, 1));
        all += size;
      }
      const auto read = reader.Finish();
      ASSERT_TRUE(read.ok()) << read.status();
      const auto found = arrow::MakeArray(*read);
      // Some random values are none of their type.
      const auto valid = whole->ValidateFull().ok() ? found->ValidateFull() : found->Validate();
      ASSERT_TRUE(valid.ok()) << valid;
      const auto same = arrow::Concatenate(expected).ValueOrDie();
      EXPECT_TRUE(found->Equals(*same, options)) << found->ToString();
      // What is reserved for them is known from all at once.
      EXPECT_LE(all, codec.SizeOf(*array->data(), 0, 90) + 90 * codec.EachBytes());
    }
    const auto none = NestedCodec::Reader(codec).Finish();
    ASSERT_TRUE(none.ok()) << none.status();
    EXPECT_TRUE(arrow::MakeArray(*none)->ValidateFull().ok());
  }
}

TEST(NestedCodec, TooManyItemsForALengthAreTooManyBytes) {
  const auto type = arrow::large_list(arrow::boolean());
  const std::vector<int64_t> offsets = {0, int64_t{1} << 33};
  const auto items = arrow::ArrayData::Make(arrow::boolean(), offsets[1], {nullptr, nullptr}, 0);
  const auto list =
      arrow::ArrayData::Make(type, 1, {nullptr, arrow::Buffer::Wrap(offsets)}, {items}, 0);
  EXPECT_GT(NestedCodec(type).SizeOf(*list, 0, 1), int64_t{1} << 32);
}

}  // namespace
}  // namespace flightbridge::deal
