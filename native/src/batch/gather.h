// The gather kernels by kind of values; kernels.cc chooses among them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "batch/chunk.h"
#include "batch/kernels.h"
#include "batch/layout.h"

namespace flightbridge::batch {

// `count` bits from bit `begin` on, a byte each.
void ExpandBits(const uint8_t* bits, int64_t begin, int64_t count, uint8_t* out);

// The values [begin, end), as the layout wants them, to `out`. False: one does not fit.
bool CopyValues(const ColumnLayout& layout, const Values& values, int64_t begin, int64_t end,
                uint8_t* out);

// `count` copies of the layout's fill.
void FillValues(const ColumnLayout& layout, int64_t count, uint8_t* out);

// Values of fixed width. False: one does not fit.
bool GatherFixed(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 uint8_t* out);

// Read a column of a table from its beginning to its end, which brings it into the processor's
// cache several times faster than picking its rows one by one would. For what will be picked whole.
// Offsets are those of strings and lists; values may be of any type.
void BringOffsetsNear(const ChunkTable& table, size_t column);
void BringValuesNear(const ChunkTable& table, size_t column);

// Strings, and lists of values of fixed width, whose rows are spans of bytes (chunk.h) and go into
// the batch as they are. Much faster than the kernels for any rows where rows are picked.
bool AreSpans(const ColumnLayout& layout, size_t column, std::span<const Part> parts);
// In units: of bytes, or of a list's entries.
int64_t MeasureSpans(size_t column, std::span<const Part> parts);
// Values to out.data, and where they end to out.offsets or out.row_splits[0].
void GatherSpans(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 const ColumnOutput& out);

// Value i of strings or binary.
std::string_view BytesAt(const Values& values, int64_t i);

// Strings and binary, with nulls and padding filled.
void GatherBytes(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                 const ColumnOutput& out);
int64_t MeasureBytes(const ColumnLayout& layout, size_t column, const Part& part);

// The same as TensorFlow's strings, with room for a NUL behind each and kTStringSlack; without any
// room all of them hold their characters themselves.
void GatherTStrings(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                    const ColumnOutput& out);
// Adds to size->bytes, and to size->longest.
void MeasureTStrings(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                     ColumnSize* size);

// MLlib vectors, made dense or as pairs of (row, place) and values.
void GatherVectors(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                   const ColumnOutput& out);
void GatherSparse(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                  const ColumnOutput& out);

}  // namespace flightbridge::batch
