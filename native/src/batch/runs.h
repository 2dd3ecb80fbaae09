// Walking over the rows of a batch, for kernels and checks.
#pragma once

#include <algorithm>
#include <cstdint>

#include <arrow/util/bit_util.h>

#include "batch/chunk.h"
#include "batch/layout.h"

namespace flightbridge::batch {

// Calls visit(chunk, row).
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

// Calls visit(column, begin, end) for runs of rows, in order: one for contiguous rows, one for each
// row of a permuted part.
template <typename Visit>
void ForEachRowRun(const Part& part, size_t column, Visit&& visit) {
  if (part.rows == nullptr) {
    visit(part.table->chunk(0).columns[column], part.first, part.first + part.count);
    return;
  }
  for (int64_t i = 0; i < part.count; ++i) {
    const int64_t row = part.rows[i].row;
    visit(part.table->chunk(part.rows[i].chunk).columns[column], row, row + 1);
  }
}

// Calls visit(column, begin, end, padding) for runs of values, in order, where `padding` values go
// behind each. Lists that are made dense are cut to their room.
template <typename Visit>
void ForEachRun(const ColumnLayout& layout, const Part& part, size_t column, Visit&& visit) {
  if (layout.pad_to > 0) {
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      const ChunkColumn& c = chunk.columns[column];
      const int64_t begin = c.ValueBegin(row);
      const int64_t end = std::min(c.ValueBegin(row + 1), begin + layout.width);
      visit(c, begin, end, layout.width - (end - begin));
    });
    return;
  }
  ForEachRowRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
    visit(c, c.ValueBegin(begin), c.ValueBegin(end), int64_t{0});
  });
}

inline bool IsNull(const Validity& validity, int64_t i) {
  return validity.bits != nullptr && !arrow::bit_util::GetBit(validity.bits, validity.offset + i);
}

}  // namespace flightbridge::batch
