// Gathers rows that lie anywhere in columns of record batches into new record batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array/data.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/pick_index.h"
#include "flightbridge/export.h"

namespace flightbridge::feed {

// How the rows of a type are picked.
enum class PickKind {
  kBits,     // booleans
  kFixed,    // values of equal size
  kBytes32,  // strings and binary with 32-bit offsets
  kBytes64,  // with 64-bit ones
  kArrays,   // all others: by Arrow's own means, slower
};

PickKind PickKindOf(const arrow::DataType& type);
// Bytes of a value where the kind is kFixed.
int64_t PickWidthOf(const arrow::DataType& type);

// What an extension type is stored as; any other type itself.
const arrow::DataType& StorageOf(const arrow::DataType& type);
// Whether servers put rows with such a column into order (native/src/deal): all but dictionaries,
// views and what has no bytes.
bool IsDealt(const arrow::DataType& type);

// A row to gather: of which slot, and where in it.
struct RowPlace {
  uint32_t slot = 0;
  uint32_t row = 0;
};

// Not thread-safe. Who calls fills places() and slots() for each batch.
class RowGather {
 public:
  // `schema` is of what comes out; `columns` its columns' places in the slots, all where empty.
  RowGather(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns);

  // The rows of the next batch, in order.
  std::vector<RowPlace>& places() { return places_; }
  // The columns of each record batch that they lie in.
  std::vector<const PickColumn*>& slots() { return slots_; }
  // RESOURCE_EXHAUSTED without memory.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Gather() const;

 private:
  arrow::Result<std::shared_ptr<arrow::ArrayData>> Gather(size_t column) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherFixed(size_t column, int64_t width) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherBits(size_t column) const;
  template <typename Offset>
  arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherBytes(size_t column) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> GatherArrays(size_t column) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> AppendArrays(size_t column) const;
  arrow::Result<std::shared_ptr<arrow::ArrayData>> TakeArrays(size_t column) const;
  // Where the values of the column begin, by slot.
  std::vector<const uint8_t*> Bases(size_t column) const;
  // Null where none of the rows is.
  arrow::Result<std::shared_ptr<arrow::Buffer>> GatherValidity(size_t column,
                                                               int64_t* null_count) const;
  const std::shared_ptr<arrow::DataType>& TypeOf(size_t column) const {
    return schema_->field(static_cast<int>(column))->type();
  }
  const PickColumn& ColumnAt(const RowPlace& place, size_t column) const {
    return slots_[place.slot][columns_[column]];
  }

  const std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> columns_;
  std::vector<const PickColumn*> slots_;
  std::vector<RowPlace> places_;
};

}  // namespace flightbridge::feed
