// Picks single rows of a feed and gathers them into new record batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/partition.h"
#include "feed/row_gather.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

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
  arrow::Status Locate();

  const std::vector<PickedRows> picks_;  // none without rows
  size_t pick_ = 0;
  size_t next_ = 0;  // of picks_[pick_].rows
  RowGather gather_;
};

}  // namespace flightbridge::feed
