// How Arrow columns become tensors: which types are taken, and what each one turns into.
//
// A column is one leaf or, where it has structs or maps in it, several. What all kernels need to
// know of a leaf is worked out here, once, when a reader is opened.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "batch/codes.h"
#include "batch/convert.h"
#include "flightbridge/c_api.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// See fb_column in c_api.h for the shapes.
struct ColumnLayout {
  enum class Form { kValues, kVector, kSparse };  // kVector, kSparse: MLlib vectors
  enum class Nulls { kError, kFill };

  std::string name;                       // "column", or "column.field" for a leaf in it
  std::string column;                     // of the feed
  std::vector<std::string> keys;          // `name` in its parts
  std::vector<int> fields;                // which child is taken at each struct on the way down
  std::shared_ptr<arrow::DataType> type;  // of the whole column

  Form form = Form::kValues;
  fb_dtype dtype = FB_BOOL;
  int levels = 0;              // of row splits
  std::vector<int64_t> shape;  // behind the rows, or behind the values of the innermost list
  int64_t width = 0;           // product of `shape`; 0: single values
  int64_t pad_to = 0;          // > 0: lists of any length, made dense
  bool truncate = false;
  bool utf8 = false;      // FB_BYTES that are text
  bool tstrings = false;  // FB_BYTES that come as TensorFlow's strings

  Conversion conversion;
  bool decimal_text = false;
  std::shared_ptr<CodeBook> codes;  // set where a dictionary's codes are read

  Nulls nulls = Nulls::kError;
  bool mask = false;
  std::array<uint8_t, 8> fill{};  // a value of dtype
  std::string fill_bytes;         // where dtype is FB_BYTES

  bool bytes() const { return dtype == FB_BYTES; }
  // Values of an entry of the innermost list, or of a row.
  int64_t entry_values() const { return width > 0 ? width : 1; }
};

// Bytes of one value; 0 for FB_BYTES.
FB_EXPORT int64_t ItemBytes(fb_dtype dtype);

// Leaves of `columns` (all, in schema order, when empty), those of a struct sorted by name.
// UNSUPPORTED_TYPE names the column, its type and the remedy; NOT_FOUND a column that does not
// exist and those that do; INVALID_ARGUMENT an option that does not fit its column.
FB_EXPORT arrow::Result<std::vector<ColumnLayout>> LayoutsOf(
    const arrow::Schema& schema, const std::vector<std::string>& columns,
    const std::vector<proto::ColumnOptions>& options = {});
// Those that a reader was asked for.
arrow::Result<std::vector<ColumnLayout>> LayoutsFor(const arrow::Schema& schema,
                                                    const proto::ReaderSpec& spec);

}  // namespace flightbridge::batch
