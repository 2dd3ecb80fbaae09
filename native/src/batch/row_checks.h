// What is looked for once it is known to be there.
#pragma once

#include <span>

#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"

namespace flightbridge::batch {

// The first value that `layout.conversion` refuses, as an error; OK where only nulls are refused.
arrow::Status FindMisfit(const ColumnLayout& layout, size_t column, std::span<const Part> parts);

}  // namespace flightbridge::batch
