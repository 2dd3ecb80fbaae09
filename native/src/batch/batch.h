// An assembled batch: all columns of some rows in one slab.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"
#include "batch/slab.h"
#include "flightbridge/c_api.h"

namespace flightbridge::batch {

// Reference counted, because hosts hold it through the C ABI. Immutable once assembled. At the
// last Release() the slab goes back to its pool.
class FB_EXPORT Batch {
 public:
  Batch(std::shared_ptr<SlabPool> pool, std::unique_ptr<Slab> slab, int64_t rows,
        std::vector<fb_column> columns)
      : pool_(std::move(pool)), slab_(std::move(slab)), rows_(rows), columns_(std::move(columns)) {}

  void Retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void Release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  int64_t rows() const { return rows_; }
  const std::vector<fb_column>& columns() const { return columns_; }

 private:
  ~Batch() { pool_->Put(std::move(slab_)); }

  std::atomic<int64_t> references_{1};
  std::shared_ptr<SlabPool> pool_;
  std::unique_ptr<Slab> slab_;
  int64_t rows_;
  std::vector<fb_column> columns_;
};

struct ReleaseBatch {
  void operator()(Batch* batch) const { batch->Release(); }
};
using BatchPtr = std::unique_ptr<Batch, ReleaseBatch>;

// Gathers several batches column by column, so that a column which they are all picked from stays
// in the cache. Appends them up to the first that fails, whose error it returns.
FB_EXPORT arrow::Status Assemble(const std::vector<ColumnLayout>& layouts,
                                 std::span<const std::vector<Part>> batches,
                                 const std::shared_ptr<SlabPool>& pool, std::vector<BatchPtr>* out);
// Gathers the rows of `parts` into a slab of `pool`. Fails as CheckRows() and
// Gather() do, or without memory.
FB_EXPORT arrow::Result<BatchPtr> Assemble(const std::vector<ColumnLayout>& layouts,
                                           std::span<const Part> parts,
                                           const std::shared_ptr<SlabPool>& pool);

}  // namespace flightbridge::batch
