// The gather kernels: copying the rows of a batch, column by column, to where they are wanted.
//
// Pure: no allocation, no I/O. Each takes the parts of one batch in order.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"
#include "batch/tstring.h"

namespace flightbridge::batch {

struct ColumnSize {
  std::array<int64_t, FB_MAX_LEVELS> lists{};  // that the row splits of a level are over
  int64_t values = 0;
  int64_t bytes = 0;    // of the values
  int64_t longest = 0;  // bytes of one value; where strings are TensorFlow's
};

// More than the characters and a NUL behind each value, so that some can be copied in one step.
inline constexpr int64_t kTStringSlack = 64;

// Where a column goes; nullptr for what its layout does not have.
struct ColumnOutput {
  uint8_t* data = nullptr;
  int64_t data_bytes = 0;                               // that may be written at `data`
  int64_t* offsets = nullptr;                           // values + 1
  TString* tstrings = nullptr;                          // values, which fill data unless it is none
  std::array<int64_t*, FB_MAX_LEVELS> row_splits = {};  // lists + 1
  uint8_t* mask = nullptr;                              // values
  int64_t* indices = nullptr;                           // 2 * values
};

// Whether the rows may become tensors: nulls, lists longer than the padding, vectors of another
// size. INVALID_ARGUMENT with the column and global row of the first that may not, and the remedy.
arrow::Status CheckRows(const ColumnLayout& layout, size_t column, std::span<const Part> parts);
ColumnSize Measure(const ColumnLayout& layout, size_t column, std::span<const Part> parts);
// INVALID_ARGUMENT, with column and row, where a value does not fit the tensor's type.
arrow::Status Gather(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
                     const ColumnOutput& out);

}  // namespace flightbridge::batch
