// Values of fixed width: copied, converted, filled.
#include <algorithm>
#include <array>
#include <cstring>

#include <arrow/util/bit_util.h>

#include "batch/gather.h"
#include "batch/runs.h"

namespace flightbridge::batch {
namespace {

using arrow::bit_util::GetBit;

// Rows ahead whose values are fetched into the cache while earlier ones are copied.
constexpr int64_t kPrefetchRows = 16;
// Values that are brought together before they are converted.
constexpr int64_t kBlock = 256;
constexpr int64_t kWidest = 32;

template <int kWords>
struct Words {
  std::array<uint64_t, kWords> words;
};

template <typename T>
void PickAs(const uint8_t* const* bases, const RowRef* rows, int64_t count, uint8_t* out) {
  const auto at = [&](int64_t i) {
    return reinterpret_cast<const T*>(bases[rows[i].chunk]) + rows[i].row;
  };
  auto* to = reinterpret_cast<T*>(out);
  int64_t i = 0;
  for (; i + kPrefetchRows < count; ++i) {
    __builtin_prefetch(at(i + kPrefetchRows));
    to[i] = Load(at(i));
  }
  for (; i < count; ++i) to[i] = Load(at(i));
}

// The values of single rows, as they are, booleans a byte each.
void Pick(const ChunkTable& table, size_t column, const RowRef* rows, int64_t count, uint8_t* out) {
  const Values& any = table.chunk(0).columns[column].values;
  if (any.kind == Values::Kind::kBits) {
    for (int64_t i = 0; i < count; ++i) {
      const Values& values = table.chunk(rows[i].chunk).columns[column].values;
      out[i] = GetBit(values.data, values.bit_offset + rows[i].row);
    }
    return;
  }
  const uint8_t* const* bases = table.bases(column);
  switch (any.item_bytes) {
    case 1: return PickAs<uint8_t>(bases, rows, count, out);
    case 2: return PickAs<uint16_t>(bases, rows, count, out);
    case 4: return PickAs<uint32_t>(bases, rows, count, out);
    case 8: return PickAs<uint64_t>(bases, rows, count, out);
    case 16: return PickAs<Words<2>>(bases, rows, count, out);
    default: return PickAs<Words<4>>(bases, rows, count, out);
  }
}

bool PickAndConvert(const ColumnLayout& layout, const Part& part, size_t column, uint8_t* out) {
  alignas(64) uint8_t block[kBlock * kWidest];
  const int64_t item = ItemBytes(layout.dtype);
  bool fits = true;
  for (int64_t done = 0; done < part.count; done += kBlock) {
    const int64_t count = std::min(kBlock, part.count - done);
    Pick(*part.table, column, part.rows + done, count, block);
    fits &= layout.conversion(block, count, out + done * item);
  }
  return fits;
}

bool ConvertBits(const ColumnLayout& layout, const Values& values, int64_t begin, int64_t end,
                 uint8_t* out) {
  uint8_t block[kBlock];
  const int64_t item = ItemBytes(layout.dtype);
  for (int64_t at = begin; at < end; at += kBlock) {
    const int64_t count = std::min(kBlock, end - at);
    ExpandBits(values.data, values.bit_offset + at, count, block);
    layout.conversion(block, count, out + (at - begin) * item);
  }
  return true;  // 0 and 1 fit everywhere
}

// Puts the fill where there is a null or padding; what was gathered there means nothing.
void FillNulls(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
               uint8_t* out) {
  const int64_t item = ItemBytes(layout.dtype);
  for (const Part& part : parts) {
    ForEachRun(layout, part, column,
               [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
                 if (c.valid.bits != nullptr) {
                   for (int64_t i = begin; i < end; ++i) {
                     if (IsNull(c.valid, i)) FillValues(layout, 1, out + (i - begin) * item);
                   }
                 }
                 FillValues(layout, padding, out + (end - begin) * item);
                 out += (end - begin + padding) * item;
               });
  }
}

}  // namespace

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

bool CopyValues(const ColumnLayout& layout, const Values& values, int64_t begin, int64_t end,
                uint8_t* out) {
  if (begin == end) return true;
  const bool converts = layout.conversion.function != nullptr;
  if (values.kind == Values::Kind::kBits) {
    if (converts) return ConvertBits(layout, values, begin, end, out);
    ExpandBits(values.data, values.bit_offset + begin, end - begin, out);
    return true;
  }
  const uint8_t* from = values.data + begin * values.item_bytes;
  if (converts) return layout.conversion(from, end - begin, out);
  std::memcpy(out, from, (end - begin) * values.item_bytes);
  return true;
}

void FillValues(const ColumnLayout& layout, int64_t count, uint8_t* out) {
  const int64_t item = ItemBytes(layout.dtype);
  for (int64_t i = 0; i < count; ++i) std::memcpy(out + i * item, layout.fill.data(), item);
}

bool GatherFixed(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 uint8_t* const out) {
  const int64_t item = ItemBytes(layout.dtype);
  const bool scalars = layout.levels == 0 && layout.width == 0;
  bool fits = true;
  bool nulls = layout.pad_to > 0;
  uint8_t* to = out;
  for (const Part& part : parts) {
    for (size_t i = 0; i < part.table->size(); ++i) {
      nulls |= part.table->chunk(i).columns[column].valid.bits != nullptr;
    }
    if (part.rows != nullptr && scalars) {
      if (layout.conversion.function != nullptr) {
        fits &= PickAndConvert(layout, part, column, to);
      } else {
        Pick(*part.table, column, part.rows, part.count, to);
      }
      to += part.count * item;
      continue;
    }
    ForEachRun(layout, part, column,
               [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
                 fits &= CopyValues(layout, c.values, begin, end, to);
                 to += (end - begin + padding) * item;
               });
  }
  if (nulls) FillNulls(layout, column, parts, out);
  return fits;
}

}  // namespace flightbridge::batch
