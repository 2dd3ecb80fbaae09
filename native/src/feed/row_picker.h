// Picks single rows of a feed and gathers them into new record batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/array/data.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/partition.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"

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

// Rows wanted of one partition, in the order in which they are wanted.
struct PickedRows {
  std::shared_ptr<const Partition> partition;
  std::vector<int64_t> rows;
};

// Decoded and checked: INVALID_ARGUMENT for rows outside of the partition, or for none.
FB_EXPORT arrow::Result<PickedRows> ResolvePicks(std::shared_ptr<const Partition> partition,
                                                 const proto::RowPicks& picks);

// Not thread-safe; several may pick from the same partitions at the same time.
class FB_EXPORT RowPicker {
 public:
  // `schema` is of what comes out; `columns` its columns' places in the feed, all where empty.
  // Fastest where the rows of a partition ascend.
  RowPicker(std::shared_ptr<arrow::Schema> schema, std::vector<int> columns,
            std::vector<PickedRows> picks);

  // The next rows, about 2 MiB of them; nullptr at the end. DATA_LOSS as Partition::Decode(),
  // RESOURCE_EXHAUSTED without memory.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next();

 private:
  // A row of the batch being made: of which of the messages it touches, and where in it.
  struct Place {
    uint32_t slot = 0;
    uint32_t row = 0;
  };

  arrow::Status Locate();
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
  const PickColumn& ColumnAt(const Place& place, size_t column) const {
    return slots_[place.slot][columns_[column]];
  }

  const std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> columns_;
  const std::vector<PickedRows> picks_;  // none without rows
  size_t pick_ = 0;
  size_t next_ = 0;  // of picks_[pick_].rows

  std::vector<const PickColumn*> slots_;
  std::vector<Place> places_;
};

}  // namespace flightbridge::feed
