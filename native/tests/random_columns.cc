#include "random_columns.h"

#include <cstring>

#include <gtest/gtest.h>

namespace flightbridge::batch {
namespace {

bool Chance(double share, Rng& rng) {
  return std::uniform_real_distribution<double>(0, 1)(rng) < share;
}

std::string RandomText(Rng& rng) {
  std::string text(rng() % 20, ' ');
  for (char& c : text) c = static_cast<char>('a' + rng() % 26);
  return text;
}

// One random value as an arrow scalar's bytes appended to a builder.
void AppendRandom(arrow::ArrayBuilder* builder, const arrow::DataType& type, Rng& rng) {
  using arrow::Type;
  switch (type.id()) {
    case Type::BOOL:
      ASSERT_TRUE(static_cast<arrow::BooleanBuilder*>(builder)->Append(rng() % 2 == 0).ok());
      return;
    case Type::STRING:
    case Type::BINARY:
      ASSERT_TRUE(static_cast<arrow::BinaryBuilder*>(builder)->Append(RandomText(rng)).ok());
      return;
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      ASSERT_TRUE(static_cast<arrow::LargeBinaryBuilder*>(builder)->Append(RandomText(rng)).ok());
      return;
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      ASSERT_TRUE(static_cast<arrow::BinaryViewBuilder*>(builder)->Append(RandomText(rng)).ok());
      return;
    case Type::LIST: {
      auto* list = static_cast<arrow::ListBuilder*>(builder);
      ASSERT_TRUE(list->Append().ok());
      const auto& values = *static_cast<const arrow::ListType&>(type).value_type();
      for (uint64_t n = rng() % 5; n > 0; --n) AppendRandom(list->value_builder(), values, rng);
      return;
    }
    case Type::LARGE_LIST: {
      auto* list = static_cast<arrow::LargeListBuilder*>(builder);
      ASSERT_TRUE(list->Append().ok());
      const auto& values = *static_cast<const arrow::LargeListType&>(type).value_type();
      for (uint64_t n = rng() % 5; n > 0; --n) AppendRandom(list->value_builder(), values, rng);
      return;
    }
    case Type::FIXED_SIZE_LIST: {
      auto* list = static_cast<arrow::FixedSizeListBuilder*>(builder);
      ASSERT_TRUE(list->Append().ok());
      const auto& fixed = static_cast<const arrow::FixedSizeListType&>(type);
      for (int32_t n = 0; n < fixed.list_size(); ++n) {
        AppendRandom(list->value_builder(), *fixed.value_type(), rng);
      }
      return;
    }
    default: FAIL() << type.ToString();
  }
}

bool IsPlainFixed(const arrow::DataType& type) {
  return arrow::is_primitive(type.id()) && type.id() != arrow::Type::BOOL;
}

std::shared_ptr<arrow::Buffer> RandomValidity(int64_t length, double null_share, Rng& rng) {
  if (null_share == 0) return nullptr;
  auto bits = *arrow::AllocateEmptyBitmap(length);
  for (int64_t i = 0; i < length; ++i) {
    if (!Chance(null_share, rng)) arrow::bit_util::SetBit(bits->mutable_data(), i);
  }
  return bits;
}

// Random bits of the right width: every pattern is a value of the types tested.
std::shared_ptr<arrow::Array> RandomFixed(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length, double null_share, Rng& rng) {
  const int64_t width = static_cast<const arrow::FixedWidthType&>(*type).byte_width();
  auto data = *arrow::AllocateBuffer(length * width);
  for (int64_t i = 0; i < data->size(); ++i) data->mutable_data()[i] = static_cast<uint8_t>(rng());
  auto validity = RandomValidity(length, null_share, rng);
  return arrow::MakeArray(arrow::ArrayData::Make(type, length, {validity, std::move(data)}));
}

}  // namespace

std::string ValueBytes(const arrow::Array& array, int64_t i) {
  using arrow::Type;
  switch (array.type_id()) {
    case Type::BOOL:
      return std::string(1, static_cast<const arrow::BooleanArray&>(array).Value(i) ? '\1' : '\0');
    case Type::STRING:
    case Type::BINARY: return std::string(static_cast<const arrow::BinaryArray&>(array).GetView(i));
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return std::string(static_cast<const arrow::LargeBinaryArray&>(array).GetView(i));
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      return std::string(static_cast<const arrow::BinaryViewArray&>(array).GetView(i));
    case Type::DICTIONARY: {
      const auto& encoded = static_cast<const arrow::DictionaryArray&>(array);
      return ValueBytes(*encoded.dictionary(), encoded.GetValueIndex(i));
    }
    default: {
      const int64_t width = static_cast<const arrow::FixedWidthType&>(*array.type()).byte_width();
      const auto* data = array.data()->buffers[1]->data() + (array.offset() + i) * width;
      return std::string(reinterpret_cast<const char*>(data), width);
    }
  }
}

// A map's entries and their keys are never null.
static std::shared_ptr<arrow::Array> RandomEntries(const arrow::DataType& type, int64_t length,
                                                   double null_share, Rng& rng) {
  const auto keys = RandomArray(type.field(0)->type(), length, 0, rng);
  const auto values = RandomArray(type.field(1)->type(), length, null_share, rng);
  return *arrow::StructArray::Make({keys, values}, type.fields());
}

std::shared_ptr<arrow::Array> RandomArray(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length, double null_share, Rng& rng) {
  if (IsPlainFixed(*type) || type->id() == arrow::Type::FIXED_SIZE_BINARY) {
    return RandomFixed(type, length, null_share, rng);
  }
  if (type->id() == arrow::Type::DICTIONARY) {
    const auto& dictionary = static_cast<const arrow::DictionaryType&>(*type);
    auto values = RandomArray(dictionary.value_type(), 7, 0, rng);
    auto builder = *arrow::MakeBuilder(dictionary.index_type());
    for (int64_t i = 0; i < length; ++i) {
      const bool null = Chance(null_share, rng);
      const auto index = static_cast<int64_t>(rng() % 7);
      EXPECT_TRUE((null
                       ? builder->AppendNull()
                       : builder->AppendScalar(**arrow::MakeScalar(dictionary.index_type(), index)))
                      .ok());
    }
    return *arrow::DictionaryArray::FromArrays(type, *builder->Finish(), values);
  }
  // Lists of what has no builder here: offsets around a random child.
  const bool is_map = type->id() == arrow::Type::MAP;
  const bool is_list =
      type->id() == arrow::Type::LIST || type->id() == arrow::Type::LARGE_LIST || is_map;
  if (is_list) {
    const bool large = type->id() == arrow::Type::LARGE_LIST;
    std::vector<int64_t> ends = {0};
    for (int64_t i = 0; i < length; ++i) {
      ends.push_back(ends.back() + static_cast<int64_t>(rng() % 5));
    }
    // A child with rows before and behind the lists: neither may leak in.
    // Null lists keep theirs, which may not either.
    const auto& value_type = static_cast<const arrow::BaseListType&>(*type).value_type();
    auto child = is_map ? RandomEntries(*value_type, ends.back() + 5, null_share / 4, rng)
                        : RandomArray(value_type, ends.back() + 5, null_share / 4, rng);
    child = child->Slice(2);
    std::shared_ptr<arrow::Buffer> offsets;
    if (large) {
      offsets = *arrow::AllocateBuffer((length + 1) * 8);
      std::memcpy(offsets->mutable_data(), ends.data(), (length + 1) * 8);
    } else {
      offsets = *arrow::AllocateBuffer((length + 1) * 4);
      for (int64_t i = 0; i <= length; ++i) {
        reinterpret_cast<int32_t*>(offsets->mutable_data())[i] = static_cast<int32_t>(ends[i]);
      }
    }
    auto validity = RandomValidity(length, null_share, rng);
    auto data = arrow::ArrayData::Make(type, length, {validity, offsets}, {child->data()});
    return arrow::MakeArray(data);
  }
  if (type->id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(*type);
    auto child =
        RandomArray(list.value_type(), (length + 1) * list.list_size(), null_share / 3, rng)
            ->Slice(list.list_size());
    auto validity = RandomValidity(length, null_share / 3, rng);
    return arrow::MakeArray(arrow::ArrayData::Make(type, length, {validity}, {child->data()}));
  }
  if (type->id() == arrow::Type::STRUCT) {
    arrow::ArrayDataVector children;
    for (const auto& field : type->fields()) {
      children.push_back(RandomArray(field->type(), length + 3, null_share, rng)->Slice(1)->data());
    }
    auto validity = RandomValidity(length, null_share, rng);
    return arrow::MakeArray(arrow::ArrayData::Make(type, length, {validity}, children));
  }
  auto builder = *arrow::MakeBuilder(type);
  for (int64_t i = 0; i < length; ++i) {
    if (Chance(null_share, rng)) {
      EXPECT_TRUE(builder->AppendNull().ok());
    } else {
      AppendRandom(builder.get(), *type, rng);
    }
  }
  return *builder->Finish();
}

}  // namespace flightbridge::batch
