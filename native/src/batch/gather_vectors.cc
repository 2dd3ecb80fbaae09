// MLlib vectors. CheckRows() has seen that they have the layout's size and fit indices.
#include <algorithm>
#include <cstring>

#include "batch/gather.h"
#include "batch/runs.h"

namespace flightbridge::batch {
namespace {

constexpr int64_t kBlock = 256;

// A sparse vector, into zeros.
void Scatter(const ColumnLayout& layout, const ChunkColumn& c, int64_t row, uint8_t* out) {
  const int64_t item = ItemBytes(layout.dtype);
  std::memset(out, 0, layout.width * item);
  uint8_t block[kBlock * sizeof(double)];
  const int32_t* index = c.vectors.index_values + c.vectors.indices.Begin(row);
  const int64_t end = c.ValueBegin(row + 1);
  for (int64_t at = c.ValueBegin(row); at < end; at += kBlock) {
    const int64_t count = std::min(kBlock, end - at);
    CopyValues(layout, c.values, at, at + count, block);
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(out + Load(index++) * item, block + i * item, item);
    }
  }
}

}  // namespace

void GatherVectors(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                   const ColumnOutput& out) {
  const int64_t item = ItemBytes(layout.dtype);
  uint8_t* to = out.data;
  uint8_t* mask = out.mask;
  for (const Part& part : parts) {
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      const ChunkColumn& c = chunk.columns[column];
      const bool null = IsNull(c.valid, row);
      if (null) {
        FillValues(layout, layout.width, to);
      } else if (c.vectors.kinds[row] == 1) {
        CopyValues(layout, c.values, c.ValueBegin(row), c.ValueBegin(row + 1), to);
      } else {
        Scatter(layout, c, row, to);
      }
      to += layout.width * item;
      if (mask == nullptr) return;
      std::memset(mask, null ? 0 : 1, layout.width);
      mask += layout.width;
    });
  }
}

void GatherSparse(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                  const ColumnOutput& out) {
  const int64_t item = ItemBytes(layout.dtype);
  uint8_t* to = out.data;
  int64_t* index = out.indices;
  int64_t number = 0;
  for (const Part& part : parts) {
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      const ChunkColumn& c = chunk.columns[column];
      if (!IsNull(c.valid, row)) {
        const int64_t begin = c.ValueBegin(row);
        const int64_t end = c.ValueBegin(row + 1);
        CopyValues(layout, c.values, begin, end, to);
        to += (end - begin) * item;
        const bool dense = c.vectors.kinds[row] == 1;
        const int64_t first = dense ? 0 : c.vectors.indices.Begin(row);
        for (int64_t i = 0; i < end - begin; ++i) {
          *index++ = number;
          *index++ = dense ? i : Load(c.vectors.index_values + first + i);
        }
      }
      ++number;
    });
  }
}

}  // namespace flightbridge::batch
