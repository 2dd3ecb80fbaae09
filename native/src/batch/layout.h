// How Arrow columns become tensors: which types are taken, and what each one turns into.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "flightbridge/c_api.h"
#include "flightbridge/export.h"

namespace flightbridge::batch {

// See fb_column in c_api.h for the shapes.
struct ColumnLayout {
  std::string name;
  fb_dtype dtype = FB_BOOL;
  int64_t width = 0;  // > 0: dense [rows, width]
  bool ragged = false;
  bool utf8 = false;  // FB_BYTES that are text

  bool bytes() const { return dtype == FB_BYTES; }
  bool operator==(const ColumnLayout&) const = default;
};

// Bytes of one value; 0 for FB_BYTES.
FB_EXPORT int64_t ItemBytes(fb_dtype dtype);

// UNSUPPORTED_TYPE names the column, its type and what to cast it to.
FB_EXPORT arrow::Result<ColumnLayout> LayoutOf(const arrow::Field& field);
// Layouts of `columns` (all, in schema order, when empty). NOT_FOUND names a column that does not
// exist and lists those that do.
FB_EXPORT arrow::Result<std::vector<ColumnLayout>> LayoutsOf(
    const arrow::Schema& schema, const std::vector<std::string>& columns);

}  // namespace flightbridge::batch
