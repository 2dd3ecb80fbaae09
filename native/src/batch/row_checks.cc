// Checks of the rows of a batch before they are gathered.
#include "batch/row_checks.h"
#include "batch/kernels.h"
#include "batch/runs.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using Form = ColumnLayout::Form;

arrow::Status NullError(const ColumnLayout& layout, int64_t global_row) {
  const char* fill = layout.bytes() ? "''" : "0";
  const bool nested = layout.keys.size() > 1 || layout.levels > 0 || layout.width > 0;
  return Error(Code::kInvalidArgument, "column '", layout.name, "' has a null",
               nested ? ", or a value with a null in it," : "", " at row ", global_row,
               " of the feed: tensors have no nulls; pass fill={'", layout.name, "': ", fill,
               "} or mask=['", layout.name, "'], fill them before writing, such as ",
               "df.fillna({'", layout.column, "': ", fill, "}), or leave the column out of ",
               "columns=[...]");
}

arrow::Status LengthError(const ColumnLayout& layout, int64_t length, int64_t global_row) {
  return Error(Code::kInvalidArgument, "column '", layout.name, "' has a list of ", length,
               " values at row ", global_row, " of the feed, but pad_to={'", layout.name,
               "': ", layout.pad_to, "}: pass more there, or truncate=['", layout.name, "']");
}

// What is wrong with a vector; nullptr: nothing.
const char* VectorFault(const ColumnLayout& layout, const ChunkColumn& c, int64_t row) {
  const int64_t values = c.ValueBegin(row + 1) - c.ValueBegin(row);
  const VectorParts& v = c.vectors;
  if (v.kinds[row] == 1) return values == layout.width ? nullptr : "another size";
  if (v.kinds[row] != 0) return "a kind that is neither dense nor sparse";
  if (Load(v.sizes + row) != layout.width) return "another size";
  const int64_t begin = v.indices.Begin(row);
  if (v.indices.Begin(row + 1) - begin != values) return "other numbers of indices and values";
  int64_t last = -1;
  for (int64_t i = begin; i < begin + values; ++i) {
    const int32_t index = Load(v.index_values + i);
    if (index <= last || index >= layout.width) {
      return "indices that are not in order or not below its size";
    }
    last = index;
  }
  return nullptr;
}

// Calls test(column, row), which gives a status, until one is not OK.
template <typename Test>
arrow::Status FirstFault(size_t column, std::span<const Part> parts, Test&& test) {
  arrow::Status fault;
  for (const Part& part : parts) {
    ForEachRow(part, [&](const Chunk& chunk, int64_t row) {
      if (fault.ok()) fault = test(chunk, chunk.columns[column], row);
    });
    if (!fault.ok()) return fault;
  }
  return fault;
}

arrow::Status CheckNulls(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  for (const Part& part : parts) {
    if (!part.table->may_have_nulls(column)) continue;
    ARROW_RETURN_NOT_OK(
        FirstFault(column, std::span(&part, 1),
                   [&](const Chunk& chunk, const ChunkColumn& c, int64_t row) -> arrow::Status {
                     if (!IsNull(c.whole_rows, row)) return arrow::Status::OK();
                     return NullError(layout, chunk.GlobalRow(row));
                   }));
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Status CheckRows(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  ARROW_RETURN_NOT_OK(CheckNulls(layout, column, parts));
  if (layout.form != Form::kValues) {
    return FirstFault(
        column, parts, [&](const Chunk& chunk, const ChunkColumn& c, int64_t row) -> arrow::Status {
          if (IsNull(c.valid, row)) return arrow::Status::OK();
          const char* fault = VectorFault(layout, c, row);
          if (fault == nullptr) return arrow::Status::OK();
          return Error(Code::kInvalidArgument, "column '", layout.name, "' has a vector with ",
                       fault, " at row ", chunk.GlobalRow(row), " of the feed, where vectors of ",
                       layout.width, " values are read: pass vectors={'", layout.name,
                       "': n} with their size, or write vectors of ", "one size");
        });
  }
  if (layout.pad_to == 0 || layout.truncate) return arrow::Status::OK();
  return FirstFault(column, parts,
                    [&](const Chunk& chunk, const ChunkColumn& c, int64_t row) -> arrow::Status {
                      const int64_t length = (c.ValueBegin(row + 1) - c.ValueBegin(row)) / c.width;
                      if (length <= layout.pad_to) return arrow::Status::OK();
                      return LengthError(layout, length, chunk.GlobalRow(row));
                    });
}

arrow::Status FindMisfit(const ColumnLayout& layout, size_t column, std::span<const Part> parts) {
  return FirstFault(
      column, parts, [&](const Chunk& chunk, const ChunkColumn& c, int64_t row) -> arrow::Status {
        uint8_t converted[8];
        for (int64_t i = c.ValueBegin(row); i < c.ValueBegin(row + 1); ++i) {
          if (IsNull(c.valid, i) ||
              layout.conversion(c.values.data + i * c.values.item_bytes, 1, converted)) {
            continue;
          }
          return Error(Code::kInvalidArgument, "column '", layout.name, "' has a value at row ",
                       chunk.GlobalRow(row), " of the feed that does not fit the dtype asked for ",
                       "in dtypes={'", layout.name, "': ...}: choose a wider one");
        }
        return arrow::Status::OK();
      });
}

}  // namespace flightbridge::batch
