#include "feed/row_gather.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/compute/api_vector.h>
#include <arrow/extension_type.h>
#include <arrow/util/bit_util.h>

#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

using arrow::ArrayData;
using arrow::Type;
using arrow::bit_util::GetBit;

// Rows ahead whose values are fetched into the cache while earlier ones are copied.
constexpr size_t kPrefetchRows = 24;

// Whether Arrow can append rows of arrays of this type one by one to another; else it can take
// them.
bool HasBuilder(const arrow::DataType& type) {
  return type.id() != Type::EXTENSION && type.id() != Type::DICTIONARY &&
         type.id() != Type::RUN_END_ENCODED &&
         std::ranges::all_of(type.fields(),
                             [](const auto& field) { return HasBuilder(*field->type()); });
}

// Calls visit(i, value of row i). `bases`: the values of each slot.
template <typename T, typename Places, typename Visit>
void ForEachValue(const Places& places, const std::vector<const uint8_t*>& bases, Visit&& visit) {
  const uint8_t* const* const base = bases.data();
  const auto at = [&](size_t i) {
    return reinterpret_cast<const T*>(base[places[i].slot]) + places[i].row;
  };
  size_t i = 0;
  for (; i + kPrefetchRows < places.size(); ++i) {
    __builtin_prefetch(at(i + kPrefetchRows));
    visit(i, at(i));
  }
  for (; i < places.size(); ++i) visit(i, at(i));
}

}  // namespace

const arrow::DataType& StorageOf(const arrow::DataType& type) {
  return type.id() == Type::EXTENSION
             ? StorageOf(*static_cast<const arrow::ExtensionType&>(type).storage_type())
             : type;
}

PickKind PickKindOf(const arrow::DataType& type) {
  const arrow::DataType& storage = StorageOf(type);
  switch (storage.id()) {
    case Type::BOOL: return PickKind::kBits;
    case Type::STRING:
    case Type::BINARY: return PickKind::kBytes32;
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY: return PickKind::kBytes64;
    case Type::DICTIONARY: return PickKind::kArrays;
    case Type::FIXED_SIZE_BINARY:
      return static_cast<const arrow::FixedSizeBinaryType&>(storage).byte_width() > 0
                 ? PickKind::kFixed
                 : PickKind::kArrays;
    default:
      return arrow::is_primitive(storage.id()) || arrow::is_decimal(storage.id())
                 ? PickKind::kFixed
                 : PickKind::kArrays;
  }
}

int64_t PickWidthOf(const arrow::DataType& type) {
  return static_cast<const arrow::FixedWidthType&>(StorageOf(type)).byte_width();
}

bool IsDealt(const arrow::DataType& type) {
  if (PickKindOf(type) != PickKind::kArrays) return true;
  const arrow::DataType& storage = StorageOf(type);
  switch (storage.id()) {
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::MAP:
    case Type::STRUCT: break;
    case Type::FIXED_SIZE_LIST:
      if (static_cast<const arrow::FixedSizeListType&>(storage).list_size() > 0) break;
      return false;
    default: return false;
  }
  return storage.num_fields() > 0 && std::ranges::all_of(storage.fields(), [](const auto& field) {
           return IsDealt(*field->type());
         });
}

RowGather::RowGather(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns)
    : schema_(std::move(schema)), columns_(std::move(columns)) {
  if (columns_.empty()) {
    columns_.resize(schema_->num_fields());
    std::iota(columns_.begin(), columns_.end(), 0);
  }
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> RowGather::Gather() const {
  std::vector<std::shared_ptr<ArrayData>> arrays(columns_.size());
  for (size_t c = 0; c < columns_.size(); ++c) {
    ARROW_ASSIGN_OR_RAISE(arrays[c], Gather(c));
  }
  return arrow::RecordBatch::Make(schema_, static_cast<int64_t>(places_.size()), std::move(arrays));
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::Gather(size_t column) const {
  const arrow::DataType& type = StorageOf(*TypeOf(column));
  switch (PickKindOf(type)) {
    case PickKind::kBits: return GatherBits(column);
    case PickKind::kBytes32: return GatherBytes<int32_t>(column);
    case PickKind::kBytes64: return GatherBytes<int64_t>(column);
    case PickKind::kFixed:
      return GatherFixed(column, static_cast<const arrow::FixedWidthType&>(type).byte_width());
    default: return GatherArrays(column);
  }
}

std::vector<const uint8_t*> RowGather::Bases(size_t column) const {
  std::vector<const uint8_t*> bases;
  bases.reserve(slots_.size());
  for (const PickColumn* columns : slots_) bases.push_back(columns[columns_[column]].values);
  return bases;
}

arrow::Result<std::shared_ptr<arrow::Buffer>> RowGather::GatherValidity(size_t column,
                                                                        int64_t* null_count) const {
  *null_count = 0;
  const bool nulls = std::ranges::any_of(slots_, [&](const PickColumn* columns) {
    return columns[columns_[column]].validity != nullptr;
  });
  if (!nulls) return nullptr;
  ARROW_ASSIGN_OR_RAISE(auto bits,
                        arrow::AllocateEmptyBitmap(static_cast<int64_t>(places_.size())));
  for (size_t i = 0; i < places_.size(); ++i) {
    const uint8_t* validity = ColumnAt(places_[i], column).validity;
    const bool valid = validity == nullptr || GetBit(validity, places_[i].row);
    if (valid) arrow::bit_util::SetBit(bits->mutable_data(), static_cast<int64_t>(i));
    *null_count += valid ? 0 : 1;
  }
  return bits;
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::GatherFixed(size_t column,
                                                                 int64_t width) const {
  const auto rows = static_cast<int64_t>(places_.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values, arrow::AllocateBuffer(rows * width));
  uint8_t* const out = values->mutable_data();
  const auto bases = Bases(column);
  const auto copy = [&]<typename T>(T /*type*/) {
    auto* to = reinterpret_cast<T*>(out);
    ForEachValue<T>(places_, bases, [to](size_t i, const T* value) { to[i] = *value; });
  };
  switch (width) {
    case 1: copy(uint8_t{}); break;
    case 2: copy(uint16_t{}); break;
    case 4: copy(uint32_t{}); break;
    case 8: copy(uint64_t{}); break;
    default:
      for (size_t i = 0; i < places_.size(); ++i) {
        const int64_t at = int64_t{places_[i].row} * width;
        std::memcpy(out + static_cast<int64_t>(i) * width, bases[places_[i].slot] + at, width);
      }
  }
  int64_t null_count = 0;
  ARROW_ASSIGN_OR_RAISE(auto validity, GatherValidity(column, &null_count));
  return ArrayData::Make(TypeOf(column), rows, {std::move(validity), std::move(values)},
                         null_count);
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::GatherBits(size_t column) const {
  const auto rows = static_cast<int64_t>(places_.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bits, arrow::AllocateEmptyBitmap(rows));
  for (size_t i = 0; i < places_.size(); ++i) {
    if (GetBit(ColumnAt(places_[i], column).values, places_[i].row)) {
      arrow::bit_util::SetBit(bits->mutable_data(), static_cast<int64_t>(i));
    }
  }
  int64_t null_count = 0;
  ARROW_ASSIGN_OR_RAISE(auto validity, GatherValidity(column, &null_count));
  return ArrayData::Make(TypeOf(column), rows, {std::move(validity), std::move(bits)}, null_count);
}

template <typename Offset>
arrow::Result<std::shared_ptr<ArrayData>> RowGather::GatherBytes(size_t column) const {
  const auto rows = static_cast<int64_t>(places_.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets,
                        arrow::AllocateBuffer((rows + 1) * static_cast<int64_t>(sizeof(Offset))));
  auto* const ends = reinterpret_cast<Offset*>(offsets->mutable_data());
  int64_t total = 0;
  ends[0] = 0;
  ForEachValue<Offset>(places_, Bases(column), [&](size_t i, const Offset* begin) {
    total += begin[1] - begin[0];
    ends[i + 1] = static_cast<Offset>(total);  // checked below
  });
  if (total > std::numeric_limits<Offset>::max()) {
    return Error(Code::kResourceExhausted, "column '",
                 schema_->field(static_cast<int>(column))->name(), "': ", rows,
                 " picked rows have ", total,
                 " bytes, more than fit a batch: write it as a large type");
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bytes, arrow::AllocateBuffer(total));
  uint8_t* const out = bytes->mutable_data();
  const auto source = [&](size_t i) {
    const PickColumn& from = ColumnAt(places_[i], column);
    return from.bytes + reinterpret_cast<const Offset*>(from.values)[places_[i].row];
  };
  for (size_t i = 0; i < places_.size(); ++i) {
    if (i + kPrefetchRows / 2 < places_.size()) __builtin_prefetch(source(i + kPrefetchRows / 2));
    const int64_t size = ends[i + 1] - ends[i];
    if (size > 0) std::memcpy(out + ends[i], source(i), size);
  }
  int64_t null_count = 0;
  ARROW_ASSIGN_OR_RAISE(auto validity, GatherValidity(column, &null_count));
  return ArrayData::Make(TypeOf(column), rows,
                         {std::move(validity), std::move(offsets), std::move(bytes)}, null_count);
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::GatherArrays(size_t column) const {
  return HasBuilder(*TypeOf(column)) ? AppendArrays(column) : TakeArrays(column);
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::AppendArrays(size_t column) const {
  ARROW_ASSIGN_OR_RAISE(const auto builder, arrow::MakeBuilder(TypeOf(column)));
  for (const RowPlace& place : places_) {
    ARROW_RETURN_NOT_OK(
        builder->AppendArraySlice(arrow::ArraySpan(*ColumnAt(place, column).array), place.row, 1));
  }
  ARROW_ASSIGN_OR_RAISE(const auto array, builder->Finish());
  return array->data();
}

arrow::Result<std::shared_ptr<ArrayData>> RowGather::TakeArrays(size_t column) const {
  arrow::ArrayVector parts;
  for (size_t begin = 0; begin < places_.size();) {
    const uint32_t slot = places_[begin].slot;
    size_t end = begin;
    arrow::UInt32Builder rows;
    for (; end < places_.size() && places_[end].slot == slot; ++end) {
      ARROW_RETURN_NOT_OK(rows.Append(places_[end].row));
    }
    ARROW_ASSIGN_OR_RAISE(const auto indices, rows.Finish());
    const auto from = arrow::MakeArray(slots_[slot][columns_[column]].array);
    auto taken = arrow::compute::Take(*from, *indices);
    if (taken.status().IsNotImplemented()) {
      return Error(Code::kUnsupportedType, "column '",
                   schema_->field(static_cast<int>(column))->name(), "' is a ",
                   TypeOf(column)->ToString(),
                   ", of which single rows cannot be picked: shuffle by a window, or cast it");
    }
    ARROW_ASSIGN_OR_RAISE(parts.emplace_back(), std::move(taken));
    begin = end;
  }
  ARROW_ASSIGN_OR_RAISE(const auto all, arrow::Concatenate(parts));
  return all->data();
}

}  // namespace flightbridge::feed
