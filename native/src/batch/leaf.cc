#include "batch/leaf.h"

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/extension_type.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/bitmap_ops.h>

#include "batch/nulls.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using arrow::Type;

template <typename T>
const T* Shifted(const arrow::ArrayData& data, int buffer) {
  const auto& b = data.buffers[buffer];
  return b == nullptr ? nullptr : reinterpret_cast<const T*>(b->data()) + data.offset;
}

const uint8_t* Bytes(const arrow::ArrayData& data, int buffer) {
  const auto& b = data.buffers[buffer];
  return b == nullptr ? nullptr : b->data();
}

int64_t SizeOf(const arrow::ArrayData& data, int buffer) {
  const auto& b = data.buffers[buffer];
  return b == nullptr ? 0 : b->size();
}

// Offsets of lists (buffer 1), also where Arrow leaves them out because there are none.
Level LevelOf(const arrow::Array& array) {
  static constexpr int64_t kNoOffsets[1] = {0};
  const arrow::ArrayData& data = *array.data();
  const bool none = data.buffers[1] == nullptr || array.length() == 0;
  Level level;
  if (array.type_id() == Type::LARGE_LIST) {
    level.offsets64 = none ? kNoOffsets : Shifted<int64_t>(data, 1);
  } else {
    level.offsets32 =
        none ? reinterpret_cast<const int32_t*>(kNoOffsets) : Shifted<int32_t>(data, 1);
  }
  return level;
}

Values ValuesOf(const arrow::Array& array) {
  // Arrow allows an empty array to have no offsets at all.
  static constexpr int64_t kNoOffsets[1] = {0};
  const arrow::ArrayData& data = *array.data();
  Values values;
  switch (array.type_id()) {
    case Type::BOOL:
      values.kind = Values::Kind::kBits;
      values.data = Bytes(data, 1);
      values.bit_offset = data.offset;
      break;
    case Type::STRING:
    case Type::BINARY:
      values.kind = Values::Kind::kBytes32;
      values.offsets32 = Shifted<int32_t>(data, 1);
      if (values.offsets32 == nullptr || array.length() == 0) {
        values.offsets32 = reinterpret_cast<const int32_t*>(kNoOffsets);
      }
      values.data = Bytes(data, 2);
      values.data_bytes = SizeOf(data, 2);
      break;
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      values.kind = Values::Kind::kBytes64;
      values.offsets64 = Shifted<int64_t>(data, 1);
      if (values.offsets64 == nullptr || array.length() == 0) values.offsets64 = kNoOffsets;
      values.data = Bytes(data, 2);
      values.data_bytes = SizeOf(data, 2);
      break;
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      values.kind = Values::Kind::kViews;
      values.views = Shifted<arrow::BinaryViewType::c_type>(data, 1);
      values.view_buffers = data.buffers.data() + 2;
      break;
    default:
      values.kind = array.type_id() == Type::FIXED_SIZE_BINARY ? Values::Kind::kFixedBytes
                                                               : Values::Kind::kFixed;
      values.item_bytes = static_cast<const arrow::FixedWidthType&>(*array.type()).byte_width();
      if (const uint8_t* first = Bytes(data, 1)) {
        values.data = first + data.offset * values.item_bytes;
        values.data_bytes = SizeOf(data, 1) - data.offset * values.item_bytes;
      }
  }
  return values;
}

class Resolver {
 public:
  Resolver(const ColumnLayout& layout, Chunk* chunk, size_t index)
      : layout_(layout), chunk_(chunk), column_(&chunk->columns[index]) {}

  arrow::Status Run(std::shared_ptr<arrow::Array> array) {
    const int64_t rows = array->length();
    size_t field = 0;
    bool at_leaf = false;
    while (!at_leaf) {
      switch (array->type_id()) {
        case Type::EXTENSION:
          array = static_cast<const arrow::ExtensionArray&>(*array).storage();
          break;
        case Type::STRUCT:
          ARROW_RETURN_NOT_OK(nulls_.Enter(*array));
          path_.push_back(array);
          if (layout_.form != ColumnLayout::Form::kValues && field == layout_.fields.size()) {
            return AtVector(static_cast<const arrow::StructArray&>(*array), rows);
          }
          array = static_cast<const arrow::StructArray&>(*array).field(layout_.fields[field++]);
          break;
        case Type::LIST:
        case Type::LARGE_LIST:
        case Type::MAP: {
          if (fills()) {
            ARROW_ASSIGN_OR_RAISE(array, nulls_.EnterList(std::move(array)));
          }
          path_.push_back(array);
          column_->levels.push_back(LevelOf(*array));
          const arrow::Array& lists = *array;
          array = lists.type_id() == Type::LARGE_LIST
                      ? static_cast<const arrow::LargeListArray&>(lists).values()
                      : static_cast<const arrow::ListArray&>(lists).values();
          break;
        }
        case Type::FIXED_SIZE_LIST: {
          const auto& list = static_cast<const arrow::FixedSizeListArray&>(*array);
          const int64_t width = list.list_type()->list_size();
          if (fills()) ARROW_RETURN_NOT_OK(nulls_.EnterFixedList(*array, width));
          path_.push_back(array);
          column_->levels.push_back(Level{.width = width});
          // The child of a sliced list is not sliced with it.
          array = list.values()->Slice(list.offset() * width, list.length() * width);
          break;
        }
        default: at_leaf = true;
      }
    }
    FoldFixedLists();
    return AtLeaf(std::move(array), rows);
  }

 private:
  bool fills() const { return layout_.nulls == ColumnLayout::Nulls::kFill; }

  // Fixed-size lists next to the values are a number of values, not a level.
  void FoldFixedLists() {
    auto& levels = column_->levels;
    while (!levels.empty() && levels.back().offsets32 == nullptr &&
           levels.back().offsets64 == nullptr) {
      column_->width *= levels.back().width;
      levels.pop_back();
    }
  }

  arrow::Status AtLeaf(std::shared_ptr<arrow::Array> array, int64_t rows) {
    if (array->type_id() == Type::DICTIONARY) {
      const auto& encoded = static_cast<const arrow::DictionaryArray&>(*array);
      if (layout_.codes != nullptr) {
        ARROW_RETURN_NOT_OK(layout_.codes->Check(layout_.name, encoded.dictionary()));
        array = encoded.indices();
      } else {
        ARROW_ASSIGN_OR_RAISE(array,
                              arrow::compute::Take(*encoded.dictionary(), *encoded.indices()));
      }
    }
    if (layout_.decimal_text) {
      ARROW_ASSIGN_OR_RAISE(array, arrow::compute::Cast(*array, arrow::utf8()));
    }
    path_.push_back(array);
    column_->values = ValuesOf(*array);
    if (fills()) {
      ARROW_RETURN_NOT_OK(nulls_.Enter(*array));
      column_->valid = Keep(nulls_.valid());
    } else {
      ARROW_ASSIGN_OR_RAISE(const Bitmap whole, WholeRows(path_, rows));
      column_->whole_rows = Keep(whole);
    }
    KeepPath();
    return arrow::Status::OK();
  }

  arrow::Status AtVector(const arrow::StructArray& vectors, int64_t rows) {
    const auto kinds = vectors.field(0);
    const auto sizes = vectors.field(1);
    const auto indices = vectors.field(2);
    const auto values = vectors.field(3);
    const auto& index_values = static_cast<const arrow::ListArray&>(*indices).values();
    const auto& doubles = static_cast<const arrow::ListArray&>(*values).values();
    column_->levels = {LevelOf(*values)};
    column_->values = ValuesOf(*doubles);
    column_->vectors.kinds = Shifted<int8_t>(*kinds->data(), 1);
    column_->vectors.sizes = Shifted<int32_t>(*sizes->data(), 1);
    column_->vectors.indices = LevelOf(*indices);
    column_->vectors.index_values = Shifted<int32_t>(*index_values->data(), 1);
    // A dense vector has no size and no indices; what else is missing makes the vector a null.
    path_.push_back(values);
    path_.push_back(doubles);
    ARROW_ASSIGN_OR_RAISE(const Bitmap whole, WholeRows(path_, rows));
    (fills() ? column_->valid : column_->whole_rows) = Keep(whole);
    for (const auto& array : {kinds, sizes, indices, index_values}) path_.push_back(array);
    KeepPath();
    return arrow::Status::OK();
  }

  Validity Keep(const Bitmap& bitmap) {
    if (bitmap.bits == nullptr) return {};
    chunk_->bitmaps.push_back(bitmap.bits);
    return {bitmap.bits->data(), bitmap.offset};
  }

  void KeepPath() {
    for (auto& array : path_) chunk_->owners.push_back(std::move(array));
  }

  const ColumnLayout& layout_;
  Chunk* const chunk_;
  ChunkColumn* const column_;
  NullsOnTheWay nulls_;
  std::vector<std::shared_ptr<arrow::Array>> path_;  // from the column to the leaf
};

}  // namespace

arrow::Status ResolveLeaf(const ColumnLayout& layout, std::shared_ptr<arrow::Array> column,
                          Chunk* chunk, size_t index) {
  return Resolver(layout, chunk, index).Run(std::move(column));
}

}  // namespace flightbridge::batch
