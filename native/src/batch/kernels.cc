#include "batch/kernels.h"

#include <algorithm>
#include <cstring>

#include "batch/gather.h"
#include "batch/row_checks.h"
#include "batch/runs.h"

namespace flightbridge::batch {
namespace {

using Form = ColumnLayout::Form;

// Lists of a level in a run of rows: the level's own entries [begin, end).
void Descend(const ChunkColumn& c, int levels, int64_t* begin, int64_t* end) {
  for (int i = 0; i < levels; ++i) {
    *begin = c.levels[i].Begin(*begin);
    *end = c.levels[i].Begin(*end);
  }
}

void FillRowSplits(int number, size_t column, std::span<const Part> parts, int64_t* splits) {
  int64_t at = 0;
  *splits++ = 0;
  for (const Part& part : parts) {
    ForEachRowRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
      Descend(c, number, &begin, &end);
      const Level& level = c.levels[number];
      for (int64_t i = begin; i < end; ++i) {
        at += level.Begin(i + 1) - level.Begin(i);
        *splits++ = at;
      }
    });
  }
}

void FillMask(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
              uint8_t* mask) {
  for (const Part& part : parts) {
    ForEachRun(layout, part, column,
               [&](const ChunkColumn& c, int64_t begin, int64_t end, int64_t padding) {
                 if (c.valid.bits == nullptr) {
                   std::memset(mask, 1, end - begin);
                 } else {
                   ExpandBits(c.valid.bits, c.valid.offset + begin, end - begin, mask);
                 }
                 mask += end - begin;
                 std::memset(mask, 0, padding);
                 mask += padding;
               });
  }
}

// Lists by level, and the values in the last of them.
void MeasureLists(const ColumnLayout& layout, size_t column, const Part& part, ColumnSize* size) {
  ForEachRowRun(part, column, [&](const ChunkColumn& c, int64_t begin, int64_t end) {
    for (int i = 0; i < layout.levels; ++i) {
      size->lists[i] += end - begin;
      begin = c.levels[i].Begin(begin);
      end = c.levels[i].Begin(end);
    }
    size->values += (end - begin) * layout.entry_values();
  });
}

int64_t SparseValues(size_t column, const Part& part) {
  int64_t values = 0;
  ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
    const ChunkColumn& c = chunk.columns[column];
    if (!IsNull(c.valid, row)) values += c.ValueBegin(row + 1) - c.ValueBegin(row);
  });
  return values;
}

}  // namespace

ColumnSize Measure(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  ColumnSize size;
  if (!layout.tstrings && AreSpans(layout, column, parts)) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.count;
    const int64_t units = MeasureSpans(column, parts);
    if (layout.bytes()) return {.values = rows, .bytes = units};
    size.lists[0] = rows;
    size.values = units * layout.entry_values();
    size.bytes = size.values * ItemBytes(layout.dtype);
    return size;
  }
  for (const Part& part : parts) {
    if (layout.form == Form::kSparse) {
      size.values += SparseValues(column, part);
    } else if (layout.levels > 0) {
      MeasureLists(layout, column, part, &size);
    } else {
      size.values += part.count * layout.entry_values();
    }
    if (layout.bytes() && !layout.tstrings) size.bytes += MeasureBytes(layout, column, part);
  }
  if (layout.tstrings) MeasureTStrings(layout, column, parts, &size);
  if (!layout.bytes()) size.bytes = size.values * ItemBytes(layout.dtype);
  return size;
}

arrow::Status Gather(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                     const ColumnOutput& out) {
  if (!layout.tstrings && AreSpans(layout, column, parts)) {
    if (out.mask != nullptr) FillMask(layout, column, parts, out.mask);
    GatherSpans(layout, column, parts, out);
    return arrow::Status::OK();
  }
  for (int i = 0; i < layout.levels; ++i) FillRowSplits(i, column, parts, out.row_splits[i]);
  switch (layout.form) {
    case Form::kVector: GatherVectors(layout, column, parts, out); return arrow::Status::OK();
    case Form::kSparse: GatherSparse(layout, column, parts, out); return arrow::Status::OK();
    case Form::kValues: break;
  }
  if (out.mask != nullptr) FillMask(layout, column, parts, out.mask);
  if (layout.tstrings) {
    GatherTStrings(layout, column, parts, out);
    return arrow::Status::OK();
  }
  if (layout.bytes()) {
    GatherBytes(layout, column, parts, out);
    return arrow::Status::OK();
  }
  if (GatherFixed(layout, column, parts, out.data)) return arrow::Status::OK();
  return FindMisfit(layout, column, parts);
}

}  // namespace flightbridge::batch
