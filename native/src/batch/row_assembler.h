// Record batches that are in memory already as assembled batches: what a model is given where rows
// do not come from a feed. The columns become what a reader of the same settings makes of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "batch/batch.h"
#include "batch/layout.h"
#include "batch/slab.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// Thread-safe. Batches outlive it.
class FB_EXPORT RowAssembler {
 public:
  // Fails as LayoutsOf() does.
  static arrow::Result<std::unique_ptr<RowAssembler>> Make(
      const arrow::Schema& schema, const std::vector<std::string>& columns,
      const std::vector<proto::ColumnOptions>& options);

  const std::vector<ColumnLayout>& layouts() const { return layouts_; }

  // All rows of `batches`, in their order. Errors number the rows from 0, across the batches.
  arrow::Result<BatchPtr> Assemble(
      const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) const;

 private:
  explicit RowAssembler(std::vector<ColumnLayout> layouts);

  const std::vector<ColumnLayout> layouts_;
  const std::shared_ptr<SlabPool> pool_;
};

}  // namespace flightbridge::batch
