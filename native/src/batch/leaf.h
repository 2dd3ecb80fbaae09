// From a column's Arrow array to one of its leaves: pointers for the gather kernels.
#pragma once

#include <cstddef>
#include <memory>

#include <arrow/array.h>
#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"

namespace flightbridge::batch {

// Fills chunk->columns[index] with the leaf of `column` that `layout` describes. What it points
// into is kept by the chunk.
arrow::Status ResolveLeaf(const ColumnLayout& layout, std::shared_ptr<arrow::Array> column,
                          Chunk* chunk, size_t index);

}  // namespace flightbridge::batch
