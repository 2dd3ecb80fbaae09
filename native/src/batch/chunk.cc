#include "batch/chunk.h"

#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/compute/api_vector.h>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using arrow::Type;

Validity ValidityOf(const arrow::Array& array) {
  if (array.null_count() == 0) return {};
  return {array.null_bitmap_data(), array.offset()};
}

template <typename T>
const T* Shifted(const arrow::ArrayData& data, int buffer) {
  const auto& b = data.buffers[buffer];
  return b == nullptr ? nullptr : reinterpret_cast<const T*>(b->data()) + data.offset;
}

const uint8_t* Bytes(const arrow::ArrayData& data, int buffer) {
  const auto& b = data.buffers[buffer];
  return b == nullptr ? nullptr : b->data();
}

Values ValuesOf(const arrow::Array& array) {
  // Arrow allows an empty array to have no offsets at all.
  static constexpr int64_t kNoOffsets[1] = {0};
  const arrow::ArrayData& data = *array.data();
  Values values;
  values.validity = ValidityOf(array);
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
      break;
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      values.kind = Values::Kind::kBytes64;
      values.offsets64 = Shifted<int64_t>(data, 1);
      if (values.offsets64 == nullptr || array.length() == 0) values.offsets64 = kNoOffsets;
      values.data = Bytes(data, 2);
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
      if (const uint8_t* first = Bytes(data, 1))
        values.data = first + data.offset * values.item_bytes;
  }
  return values;
}

// The plain values of a dictionary array; any other array as it is.
arrow::Result<std::shared_ptr<arrow::Array>> Decode(std::shared_ptr<arrow::Array> array) {
  if (array->type_id() != Type::DICTIONARY) return array;
  const auto& encoded = static_cast<const arrow::DictionaryArray&>(*array);
  return arrow::compute::Take(*encoded.dictionary(), *encoded.indices());
}

// Fills `column` from `array`; what it points into is added to `owners`.
arrow::Status Resolve(const std::shared_ptr<arrow::Array>& array, ChunkColumn* column,
                      std::vector<std::shared_ptr<arrow::Array>>* owners) {
  static constexpr int64_t kNoOffsets[1] = {0};
  std::shared_ptr<arrow::Array> values = array;
  switch (array->type_id()) {
    case Type::LIST:
      values = static_cast<const arrow::ListArray&>(*array).values();
      column->list_offsets32 = Shifted<int32_t>(*array->data(), 1);
      if (column->list_offsets32 == nullptr || array->length() == 0) {
        column->list_offsets32 = reinterpret_cast<const int32_t*>(kNoOffsets);
      }
      column->list_validity = ValidityOf(*array);
      break;
    case Type::LARGE_LIST:
      values = static_cast<const arrow::LargeListArray&>(*array).values();
      column->list_offsets64 = Shifted<int64_t>(*array->data(), 1);
      if (column->list_offsets64 == nullptr || array->length() == 0) {
        column->list_offsets64 = kNoOffsets;
      }
      column->list_validity = ValidityOf(*array);
      break;
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListArray&>(*array);
      column->width = list.list_type()->list_size();
      // The child of a sliced list is not sliced with it.
      values = list.values()->Slice(list.offset() * column->width, list.length() * column->width);
      column->list_validity = ValidityOf(*array);
      break;
    }
    default: break;
  }
  ARROW_ASSIGN_OR_RAISE(values, Decode(std::move(values)));
  column->values = ValuesOf(*values);
  owners->push_back(array);
  owners->push_back(std::move(values));
  return arrow::Status::OK();
}

}  // namespace

int64_t Chunk::GlobalRow(int64_t row) const {
  for (const plan::Interval& rows_here : global) {
    if (row < rows_here.rows()) return rows_here.begin + row;
    row -= rows_here.rows();
  }
  return -1;
}

arrow::Result<std::unique_ptr<Chunk>> MakeChunk(const arrow::RecordBatch& batch,
                                                const std::vector<ColumnLayout>& layouts) {
  if (batch.num_rows() > std::numeric_limits<uint32_t>::max()) {
    return Error(Code::kResourceExhausted, "a record batch of ", batch.num_rows(),
                 " rows is too large to read: write batches of at most 4294967295 rows");
  }
  auto chunk = std::make_unique<Chunk>();
  chunk->rows = batch.num_rows();
  chunk->columns.resize(layouts.size());
  for (size_t i = 0; i < layouts.size(); ++i) {
    const int index = batch.schema()->GetFieldIndex(layouts[i].name);
    if (index < 0) {
      return Error(Code::kSchemaMismatch, "the server sent batches without column '",
                   layouts[i].name, "'");
    }
    ARROW_ASSIGN_OR_RAISE(const ColumnLayout found, LayoutOf(*batch.schema()->field(index)));
    if (!(found == layouts[i])) {
      return Error(Code::kSchemaMismatch, "the server sent column '", layouts[i].name, "' as ",
                   batch.schema()->field(index)->type()->ToString(),
                   ", another type than it described");
    }
    ARROW_RETURN_NOT_OK(Resolve(batch.column(index), &chunk->columns[i], &chunk->owners));
  }
  return chunk;
}

ChunkTable::ChunkTable(std::vector<std::unique_ptr<Chunk>> chunks, size_t num_columns)
    : chunks_(std::move(chunks)), columns_(num_columns) {
  for (const auto& chunk : chunks_) rows_ += chunk->rows;
  for (size_t c = 0; c < num_columns; ++c) {
    columns_[c].bases.reserve(chunks_.size());
    for (const auto& chunk : chunks_) {
      columns_[c].bases.push_back(chunk->columns[c].values.data);
      columns_[c].nulls |= chunk->columns[c].may_have_nulls();
    }
  }
}

void ChunkTable::Shuffle(plan::Random random) {
  order_.reserve(rows_);
  for (uint32_t c = 0; c < chunks_.size(); ++c) {
    const auto rows = static_cast<uint32_t>(chunks_[c]->rows);
    for (uint32_t row = 0; row < rows; ++row) order_.push_back({c, row});
  }
  plan::Shuffle(std::span(order_), random);
}

}  // namespace flightbridge::batch
