// The gather kernels: copying the rows of a batch, column by column, to where they are wanted.
//
// Pure: no allocation, no I/O. Each takes the parts of one batch in order.
#pragma once

#include <cstdint>
#include <span>

#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"

namespace flightbridge::batch {

struct ColumnSize {
  int64_t values = 0;
  int64_t bytes = 0;  // of the values
};

// Where a column goes. `offsets` (values + 1 entries) for FB_BYTES, `row_splits` (rows + 1) for
// ragged columns, else nullptr.
struct ColumnOutput {
  uint8_t* data = nullptr;
  int64_t* offsets = nullptr;
  int64_t* row_splits = nullptr;
};

// INVALID_ARGUMENT with the first null's column and global row, and how to be rid of it.
arrow::Status CheckNoNulls(const ColumnLayout& layout, size_t column, std::span<const Part> parts);
ColumnSize Measure(const ColumnLayout& layout, size_t column, std::span<const Part> parts);
void Gather(const ColumnLayout& layout, size_t column, std::span<const Part> parts,
            const ColumnOutput& out);

}  // namespace flightbridge::batch
