#include "deal/row_codec.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/util/bit_util.h>

#include "flightbridge/error.h"

namespace flightbridge::deal {
namespace {

using arrow::ArrayData;
using arrow::bit_util::GetBit;
using feed::PickKind;

constexpr int64_t kCacheLine = 64;
// Rows that are unpacked at a time: they, and as many that are on their way, fit the nearest cache.
constexpr size_t kNear = 64;

// Calls copy(value of T's size) for the width, so that each becomes plain moves.
template <typename Copy>
bool ForWidth(int64_t width, Copy&& copy) {
  switch (width) {
    case 1: copy(uint8_t{}); return true;
    case 2: copy(uint16_t{}); return true;
    case 4: copy(uint32_t{}); return true;
    case 8: copy(uint64_t{}); return true;
    default: return false;
  }
}

// A whole row. Calls of memcpy would cost as much as what they move.
inline void CopyRow(uint8_t* to, const uint8_t* from, int64_t bytes) {
  for (; bytes >= 32; bytes -= 32, to += 32, from += 32) std::memcpy(to, from, 32);
  for (; bytes >= 8; bytes -= 8, to += 8, from += 8) std::memcpy(to, from, 8);
  if (bytes > 0) std::memcpy(to, from, 4);
}

int64_t RoundUp4(int64_t bytes) { return (bytes + 3) / 4 * 4; }

bool Varies(PickKind kind) { return kind != PickKind::kBits && kind != PickKind::kFixed; }

// The bytes [begin, end) of a string.
struct Bytes {
  const uint8_t* data = nullptr;
  uint32_t size = 0;
};

Bytes StringAt(PickKind kind, const feed::PickColumn& from, int64_t row) {
  if (kind == PickKind::kBytes32) {
    const auto* offsets = reinterpret_cast<const int32_t*>(from.values);
    return {from.bytes + offsets[row], static_cast<uint32_t>(offsets[row + 1] - offsets[row])};
  }
  const auto* offsets = reinterpret_cast<const int64_t*>(from.values);
  return {from.bytes + offsets[row], static_cast<uint32_t>(offsets[row + 1] - offsets[row])};
}

uint32_t Load32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, 4);
  return value;
}

}  // namespace

int64_t RowCodec::CountVarying(const arrow::Schema& schema) {
  return std::ranges::count_if(
      schema.fields(), [](const auto& field) { return Varies(feed::PickKindOf(*field->type())); });
}

int64_t RowCodec::VaryingBytes(const arrow::DataType& type, const feed::PickColumn& column,
                               int64_t rows) {
  const PickKind kind = feed::PickKindOf(type);
  if (kind == PickKind::kArrays) {
    return NestedCodec(column.array->type).SizeOf(*column.array, 0, rows);
  }
  if (!Varies(kind) || column.values == nullptr) return 0;
  if (kind == PickKind::kBytes64) {
    const auto* const offsets = reinterpret_cast<const int64_t*>(column.values);
    return offsets[rows] - offsets[0];
  }
  const auto* const offsets = reinterpret_cast<const int32_t*>(column.values);
  return offsets[rows] - offsets[0];
}

RowCodec::RowCodec(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns,
                   std::vector<bool> nulls, bool headers)
    : schema_(std::move(schema)), columns_(columns.size()) {
  int null_bits = 0;
  for (size_t c = 0; c < columns_.size(); ++c) {
    Column& column = columns_[c];
    const arrow::DataType& type = *schema_->field(static_cast<int>(c))->type();
    column.kind = feed::PickKindOf(type);
    column.index = columns[c];
    column.width = Varies(column.kind)              ? 4
                   : column.kind == PickKind::kBits ? 1
                                                    : feed::PickWidthOf(type);
    if (column.kind == PickKind::kArrays) {
      column.nested =
          std::make_shared<const NestedCodec>(schema_->field(static_cast<int>(c))->type());
    } else if (nulls[c]) {
      column.null_bit = null_bits++;
    }
    if (Varies(column.kind)) varying_.push_back(c);
  }
  fixed_ = varying_.empty();
  if (headers || !fixed_) header_bytes_ = fixed_ ? sizeof(RowHeader::place) : sizeof(RowHeader);
  null_bytes_ = (null_bits + 7) / 8;
  row_bytes_ = header_bytes_;
  // Widest first, so that as few values as possible cross a cache line.
  std::vector<Column*> order;
  for (Column& column : columns_) order.push_back(&column);
  std::ranges::stable_sort(order, std::greater<>(),
                           [](const Column* column) { return column->width; });
  for (Column* column : order) {
    column->offset = row_bytes_;
    row_bytes_ += column->width;
  }
  nulls_at_ = row_bytes_;
  row_bytes_ = RoundUp4(row_bytes_ + null_bytes_);
}

int64_t RowCodec::MostRowBytes() const {
  int64_t bytes = row_bytes_ + (fixed_ ? 0 : 3);
  for (const Column& column : columns_) {
    if (column.nested != nullptr) bytes += column.nested->EachBytes();
  }
  return bytes;
}

arrow::Status RowCodec::Sizes(const feed::PickColumn* columns, int64_t first,
                              std::span<uint32_t> sizes) const {
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t bytes = row_bytes_;
    const int64_t row = first + static_cast<int64_t>(i);
    for (const size_t c : varying_) {
      const Column& column = columns_[c];
      const feed::PickColumn& from = columns[column.index];
      bytes += column.nested != nullptr ? column.nested->SizeOf(*from.array, row, row + 1)
                                        : StringAt(column.kind, from, row).size;
    }
    bytes = RoundUp4(bytes);
    if (bytes > std::numeric_limits<uint32_t>::max()) {
      return Error(Code::kResourceExhausted, "a row of ", bytes,
                   " bytes is too long to be dealt for a full shuffle: shuffle by a window");
    }
    sizes[i] = static_cast<uint32_t>(bytes);
  }
  return {};
}

void RowCodec::PackFixed(const Column& column, const feed::PickColumn& from, int64_t first,
                         size_t rows, uint8_t* tile) const {
  uint8_t* to = tile + column.offset;
  const int64_t stride = row_bytes_;
  if (column.kind == PickKind::kBits) {
    for (size_t i = 0; i < rows; ++i, to += stride) {
      *to = GetBit(from.values, first + static_cast<int64_t>(i)) ? 1 : 0;
    }
    return;
  }
  const uint8_t* value = from.values + first * column.width;
  const bool plain = ForWidth(column.width, [&]<typename T>(T /*type*/) {
    for (size_t i = 0; i < rows; ++i, to += stride, value += sizeof(T)) {
      std::memcpy(to, value, sizeof(T));
    }
  });
  if (plain) return;
  for (size_t i = 0; i < rows; ++i, to += stride, value += column.width) {
    std::memcpy(to, value, column.width);
  }
}

void RowCodec::Pack(const feed::PickColumn* columns, int64_t first, std::span<uint8_t* const> to,
                    const uint32_t* places, uint8_t* tile) const {
  const size_t rows = to.size();
  for (size_t i = 0; i < rows; ++i) __builtin_prefetch(to[i], 1);
  // The padding too: equal rows are equal bytes.
  for (int64_t at = nulls_at_; at < row_bytes_; ++at) {
    for (size_t i = 0; i < rows; ++i) tile[i * row_bytes_ + at] = 0;
  }
  for (const Column& column : columns_) {
    const feed::PickColumn& from = columns[column.index];
    if (column.nested != nullptr) continue;
    if (Varies(column.kind)) {
      for (size_t i = 0; i < rows; ++i) {
        const uint32_t size = StringAt(column.kind, from, first + static_cast<int64_t>(i)).size;
        std::memcpy(tile + i * row_bytes_ + column.offset, &size, 4);
      }
    } else {
      PackFixed(column, from, first, rows, tile);
    }
    if (column.null_bit < 0 || from.validity == nullptr) continue;
    uint8_t* const bits = tile + nulls_at_ + column.null_bit / 8;
    for (size_t i = 0; i < rows; ++i) {
      const bool null = !GetBit(from.validity, first + static_cast<int64_t>(i));
      bits[i * row_bytes_] |= static_cast<uint8_t>(null ? 1 << (column.null_bit % 8) : 0);
    }
  }
  for (size_t i = 0; i < rows; ++i) {
    uint8_t* const row = tile + i * row_bytes_;
    uint8_t* end = to[i] + row_bytes_;
    for (const size_t c : varying_) {
      const Column& column = columns_[c];
      const feed::PickColumn& from = columns[column.index];
      const int64_t index = first + static_cast<int64_t>(i);
      if (column.nested != nullptr) {
        uint8_t* const begin = end;
        end = column.nested->Pack(*from.array, index, index + 1, begin);
        const auto size = static_cast<uint32_t>(end - begin);
        std::memcpy(row + column.offset, &size, 4);
        continue;
      }
      const Bytes bytes = StringAt(column.kind, from, index);
      if (bytes.size > 0) std::memcpy(end, bytes.data, bytes.size);
      end += bytes.size;
    }
    if (header_bytes_ > 0) {
      const int64_t bytes = RoundUp4(end - to[i]);
      for (; end < to[i] + bytes; ++end) *end = 0;
      const RowHeader header{places[i], static_cast<uint32_t>(bytes)};
      std::memcpy(row, &header, header_bytes_);
    }
    CopyRow(to[i], row, row_bytes_);
  }
}

void RowCodec::MarkNulls(const feed::PickColumn* columns, NullFlags* nulls) const {
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (columns[columns_[c].index].validity == nullptr) continue;
    (*nulls)[c].store(true, std::memory_order_relaxed);
  }
}

arrow::Result<std::shared_ptr<arrow::Buffer>> RowCodec::UnpackValidity(
    const Column& column, std::span<const uint8_t* const> rows, int64_t* null_count) const {
  *null_count = 0;
  ARROW_ASSIGN_OR_RAISE(auto bits, arrow::AllocateEmptyBitmap(static_cast<int64_t>(rows.size())));
  const int64_t at = nulls_at_ + column.null_bit / 8;
  const int bit = column.null_bit % 8;
  uint8_t* const out = bits->mutable_data();
  for (size_t i = 0; i < rows.size(); ++i) {
    const int null = rows[i][at] >> bit & 1;
    *null_count += null;
    out[i / 8] |= static_cast<uint8_t>((1 - null) << (i % 8));
  }
  if (*null_count == 0) return nullptr;
  return bits;
}

arrow::Result<std::shared_ptr<ArrayData>> RowCodec::UnpackVarying(
    const Column& column, std::span<const uint8_t* const> rows,
    std::vector<uint32_t>* tails) const {
  if (column.kind == PickKind::kBytes32) return UnpackBytes<int32_t>(column, rows, tails);
  if (column.kind == PickKind::kBytes64) return UnpackBytes<int64_t>(column, rows, tails);
  NestedCodec::Reader reader(*column.nested);
  for (size_t i = 0; i < rows.size(); ++i) {
    ARROW_RETURN_NOT_OK(reader.Read(rows[i] + (*tails)[i]));
    (*tails)[i] += Load32(rows[i] + column.offset);
  }
  return reader.Finish();
}

template <typename Offset>
arrow::Result<std::shared_ptr<ArrayData>> RowCodec::UnpackBytes(
    const Column& column, std::span<const uint8_t* const> rows,
    std::vector<uint32_t>* tails) const {
  const auto count = static_cast<int64_t>(rows.size());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> offsets,
                        arrow::AllocateBuffer((count + 1) * static_cast<int64_t>(sizeof(Offset))));
  auto* const ends = reinterpret_cast<Offset*>(offsets->mutable_data());
  int64_t total = 0;
  ends[0] = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    total += Load32(rows[i] + column.offset);
    ends[i + 1] = static_cast<Offset>(total);  // checked below
  }
  const auto& field = schema_->field(static_cast<int>(&column - columns_.data()));
  if (total > std::numeric_limits<Offset>::max()) {
    return Error(Code::kResourceExhausted, "column '", field->name(), "': ", count, " rows have ",
                 total, " bytes, more than fit a batch: write it as a large type");
  }
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> bytes, arrow::AllocateBuffer(total));
  uint8_t* out = bytes->mutable_data();
  for (size_t i = 0; i < rows.size(); ++i) {
    const uint32_t size = Load32(rows[i] + column.offset);
    if (size > 0) std::memcpy(out, rows[i] + (*tails)[i], size);
    (*tails)[i] += size;
    out += size;
  }
  return ArrayData::Make(field->type(), count, {nullptr, std::move(offsets), std::move(bytes)}, 0);
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> RowCodec::Unpack(
    std::span<const uint8_t* const> rows, const NullFlags& nulls) const {
  const auto count = static_cast<int64_t>(rows.size());
  std::vector<std::shared_ptr<ArrayData>> arrays(columns_.size());
  std::vector<std::pair<const Column*, uint8_t*>> plain;  // and where their values go
  for (size_t c = 0; c < columns_.size(); ++c) {
    const Column& column = columns_[c];
    if (Varies(column.kind)) continue;
    const bool bits = column.kind == PickKind::kBits;
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> values,
                          bits ? arrow::AllocateEmptyBitmap(count).Map([](auto buffer) {
                            return std::shared_ptr<arrow::Buffer>(std::move(buffer));
                          })
                               : arrow::AllocateBuffer(count * column.width).Map([](auto buffer) {
                                   return std::shared_ptr<arrow::Buffer>(std::move(buffer));
                                 }));
    uint8_t* const out = values->mutable_data();
    arrays[c] = ArrayData::Make(schema_->field(static_cast<int>(c))->type(), count,
                                {nullptr, std::move(values)}, 0);
    if (!bits) {
      plain.emplace_back(&column, out);
      continue;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      out[i / 8] |= static_cast<uint8_t>((rows[i][column.offset] & 1) << (i % 8));
    }
  }
  // Some rows at a time, so that their bytes are still near when the next column asks for them.
  const int64_t near = std::min(row_bytes_, 4 * kCacheLine);
  for (size_t begin = 0; begin < rows.size(); begin += kNear) {
    const size_t end = std::min(rows.size(), begin + kNear);
    for (size_t i = end; i < std::min(rows.size(), end + kNear); ++i) {
      for (int64_t at = 0; at < near; at += kCacheLine) __builtin_prefetch(rows[i] + at);
    }
    for (const auto& [column, values] : plain) {
      const int64_t width = column->width;
      const int64_t offset = column->offset;
      uint8_t* out = values + static_cast<int64_t>(begin) * width;
      const bool moved = ForWidth(width, [&]<typename T>(T /*type*/) {
        for (size_t i = begin; i < end; ++i, out += sizeof(T)) {
          std::memcpy(out, rows[i] + offset, sizeof(T));
        }
      });
      if (moved) continue;
      for (size_t i = begin; i < end; ++i, out += width) {
        std::memcpy(out, rows[i] + offset, width);
      }
    }
  }
  std::vector<uint32_t> tails;
  if (!fixed_) tails.assign(rows.size(), static_cast<uint32_t>(row_bytes_));
  for (const size_t c : varying_) {
    ARROW_ASSIGN_OR_RAISE(arrays[c], UnpackVarying(columns_[c], rows, &tails));
  }
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (columns_[c].nested != nullptr) continue;
    int64_t null_count = 0;
    if (columns_[c].null_bit >= 0 && nulls[c].load(std::memory_order_relaxed)) {
      ARROW_ASSIGN_OR_RAISE(arrays[c]->buffers[0], UnpackValidity(columns_[c], rows, &null_count));
    }
    arrays[c]->null_count = null_count;
  }
  return arrow::RecordBatch::Make(schema_, count, std::move(arrays));
}

}  // namespace flightbridge::deal
