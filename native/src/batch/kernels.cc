#include "batch/kernels.h"

#include <cstring>
#include <string_view>

#include <arrow/util/binary_view_util.h>
#include <arrow/util/bit_util.h>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using arrow::bit_util::GetBit;

// Rows ahead whose values are fetched into the cache while earlier ones are copied.
constexpr int64_t kPrefetchRows = 16;

// Calls visit(column, begin, end) for runs of values, in order: one run for contiguous rows, one
// for each row of a permuted part.
template <typename Visit>
void ForEachRun(const Part& part, size_t column, Visit&& visit) {
  if (part.rows == nullptr) {
    const ChunkColumn& c = part.table->chunk(0).columns[column];
    visit(c, c.ValueBegin(part.first), c.ValueBegin(part.first + part.count));
    return;
  }
  for (int64_t i = 0; i < part.count; ++i) {
    const ChunkColumn& c = part.table->chunk(part.rows[i].chunk).columns[column];
    visit(c, c.ValueBegin(part.rows[i].row), c.ValueBegin(part.rows[i].row + 1));
  }
}

template <typename Visit>
void ForEachRow(const Part& part, Visit&& visit) {
  for (int64_t i = 0; i < part.count; ++i) {
    if (part.rows == nullptr) {
      visit(part.table->chunk(0), part.first + i);
    } else {
      visit(part.table->chunk(part.rows[i].chunk), static_cast<int64_t>(part.rows[i].row));
    }
  }
}

std::string_view ViewAt(const Values& values, int64_t i) {
  return arrow::util::FromBinaryView(values.views[i], values.view_buffers);
}

bool IsNull(const Validity& validity, int64_t i) {
  return validity.bits != nullptr && !GetBit(validity.bits, validity.offset + i);
}

bool RowHasNull(const ChunkColumn& column, int64_t row) {
  if (IsNull(column.list_validity, row)) return true;
  if (column.values.validity.bits == nullptr) return false;
  const int64_t end = column.ValueBegin(row + 1);
  for (int64_t i = column.ValueBegin(row); i < end; ++i) {
    if (IsNull(column.values.validity, i)) return true;
  }
  return false;
}

arrow::Status NullError(const ColumnLayout& layout, int64_t global_row) {
  const char* fill = layout.bytes() ? "''" : "0";
  if (layout.ragged || layout.width > 0) {
    return Error(Code::kInvalidArgument, "column '", layout.name, "' has a null, or a list with a ",
                 "null in it, at row ", global_row, " of the feed: tensors have no nulls; replace ",
                 "them before writing, or leave the column out of columns=[...]");
  }
  return Error(Code::kInvalidArgument, "column '", layout.name, "' has a null at row ", global_row,
               " of the feed: tensors have no nulls; fill them before writing, such as ",
               "df.fillna({'", layout.name, "': ", fill, "}), or leave the column out of ",
               "columns=[...]");
}

void ExpandBits(const uint8_t* bits, int64_t begin, int64_t count, uint8_t* out) {
  int64_t i = 0;
  for (; i < count && (begin + i) % 8 != 0; ++i) out[i] = GetBit(bits, begin + i);
  for (; i + 8 <= count; i += 8) {
    // Spreads the eight bits of a byte over the eight bytes of a word, lowest first.
    const uint64_t byte = bits[(begin + i) / 8];
    const uint64_t low = ((byte & 0x0F) * 0x00204081) & 0x01010101;
    const uint64_t high = ((byte >> 4) * 0x00204081) & 0x01010101;
    const uint64_t word = low | high << 32;
    std::memcpy(out + i, &word, 8);
  }
  for (; i < count; ++i) out[i] = GetBit(bits, begin + i);
}

template <typename T>
uint8_t* GatherScalars(const Part& part, size_t column, uint8_t* out) {
  const uint8_t* const* bases = part.table->bases(column);
  const auto at = [&](int64_t i) {
    return reinterpret_cast<const T*>(bases[part.rows[i].chunk]) + part.rows[i].row;
  };
  auto* to = reinterpret_cast<T*>(out);
  int64_t i = 0;
  for (; i + kPrefetchRows < part.count; ++i) {
    __builtin_prefetch(at(i + kPrefetchRows));
    to[i] = *at(i);
  }
  for (; i < part.count; ++i) to[i] = *at(i);
  return out + part.count * sizeof(T);
}

uint8_t* GatherBits(const Part& part, size_t column, uint8_t* out) {
  for (int64_t i = 0; i < part.count; ++i) {
    const Values& values = part.table->chunk(part.rows[i].chunk).columns[column].values;
    *out++ = GetBit(values.data, values.bit_offset + part.rows[i].row);
  }
  return out;
}

uint8_t* GatherFixed(const ColumnLayout& layout, const Part& part, size_t column, uint8_t* out) {
  const bool scalars = part.rows != nullptr && !layout.ragged && layout.width == 0;
  if (scalars && layout.dtype == FB_BOOL) return GatherBits(part, column, out);
  if (scalars) {
    switch (ItemBytes(layout.dtype)) {
      case 1: return GatherScalars<uint8_t>(part, column, out);
      case 2: return GatherScalars<uint16_t>(part, column, out);
      case 4: return GatherScalars<uint32_t>(part, column, out);
      default: return GatherScalars<uint64_t>(part, column, out);
    }
  }
  ForEachRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
    const Values& values = c.values;
    if (begin == end) return;
    if (values.kind == Values::Kind::kBits) {
      ExpandBits(values.data, values.bit_offset + begin, end - begin, out);
      out += end - begin;
      return;
    }
    const int64_t bytes = (end - begin) * values.item_bytes;
    std::memcpy(out, values.data + begin * values.item_bytes, bytes);
    out += bytes;
  });
  return out;
}

// Appends values [begin, end) at byte `at`; writes the ends of values to *offsets, advancing it.
int64_t AppendBytes(const Values& values, int64_t begin, int64_t end, uint8_t* data, int64_t at,
                    int64_t** offsets) {
  if (values.kind == Values::Kind::kViews) {
    for (int64_t i = begin; i < end; ++i) {
      const std::string_view view = ViewAt(values, i);
      if (!view.empty()) std::memcpy(data + at, view.data(), view.size());
      at += static_cast<int64_t>(view.size());
      *(*offsets)++ = at;
    }
    return at;
  }
  const int64_t first = values.ByteBegin(begin);
  const int64_t shift = at - first;
  for (int64_t i = begin; i < end; ++i) *(*offsets)++ = values.ByteBegin(i + 1) + shift;
  const int64_t bytes = values.ByteBegin(end) - first;
  if (bytes > 0) std::memcpy(data + at, values.data + first, bytes);
  return at + bytes;
}

void FillRowSplits(size_t column, std::span<const Part> parts, int64_t* splits) {
  int64_t at = 0;
  *splits++ = 0;
  for (const Part& part : parts) {
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      const ChunkColumn& c = chunk.columns[column];
      at += c.ValueBegin(row + 1) - c.ValueBegin(row);
      *splits++ = at;
    });
  }
}

}  // namespace

arrow::Status CheckNoNulls(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  for (const Part& part : parts) {
    if (!part.table->may_have_nulls(column)) continue;
    const Chunk* chunk_with_null = nullptr;
    int64_t null_row = 0;
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      if (chunk_with_null != nullptr || !RowHasNull(chunk.columns[column], row)) return;
      chunk_with_null = &chunk;
      null_row = row;
    });
    if (chunk_with_null != nullptr) return NullError(layout, chunk_with_null->GlobalRow(null_row));
  }
  return arrow::Status::OK();
}

ColumnSize Measure(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  ColumnSize size;
  const bool values_known = !layout.ragged;
  for (const Part& part : parts) {
    if (values_known) size.values += part.count * std::max<int64_t>(layout.width, 1);
    if (values_known && !layout.bytes()) continue;
    ForEachRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
      if (!values_known) size.values += end - begin;
      if (!layout.bytes()) return;
      if (c.values.kind == Values::Kind::kViews) {
        for (int64_t i = begin; i < end; ++i) size.bytes += c.values.views[i].size();
      } else {
        size.bytes += c.values.ByteBegin(end) - c.values.ByteBegin(begin);
      }
    });
  }
  if (!layout.bytes()) size.bytes = size.values * ItemBytes(layout.dtype);
  return size;
}

void Gather(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
            const ColumnOutput& out) {
  if (layout.ragged) FillRowSplits(column, parts, out.row_splits);
  if (!layout.bytes()) {
    uint8_t* to = out.data;
    for (const Part& part : parts) to = GatherFixed(layout, part, column, to);
    return;
  }
  int64_t* offsets = out.offsets;
  *offsets++ = 0;
  int64_t at = 0;
  for (const Part& part : parts) {
    ForEachRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
      at = AppendBytes(c.values, begin, end, out.data, at, &offsets);
    });
  }
}

}  // namespace flightbridge::batch
