// Fills batches with the rows of units as they arrive, and queues them: the reader's middle thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <arrow/status.h>

#include "batch/batch.h"
#include "batch/chunk.h"
#include "batch/fetcher.h"
#include "batch/layout.h"
#include "batch/ready_queue.h"
#include "batch/slab.h"
#include "plan/schedule.h"

namespace flightbridge::batch {

struct AssembleOptions {
  int64_t batch_size = 1;
  // Leave out what does not fill a batch. For leased splits: a schedule leaves it out by itself.
  bool drop_short = false;
  // Batches gathered together, where their rows are picked from one shuffled table.
  int64_t at_once = 1;
};

// For one thread.
class Assembler {
 public:
  // Begins behind `cursor` rows of `epoch`.
  Assembler(Fetcher* fetcher, const std::vector<ColumnLayout>& layouts,
            std::shared_ptr<SlabPool> pool, ReadyQueue* queue, const AssembleOptions& options,
            int64_t epoch, int64_t cursor)
      : fetcher_(fetcher),
        layouts_(layouts),
        pool_(std::move(pool)),
        queue_(queue),
        options_(options),
        epoch_(epoch),
        cursor_(cursor) {}

  // To the end of the data (OK), an error or a Cancel() of the fetcher or the queue.
  arrow::Status Run();

 private:
  // Rows of a leased split that are in parts_.
  struct SplitPart {
    int64_t split = 0;
    int64_t cursor = 0;  // rows of it before them
    int64_t rows = 0;    // of them; the split ends with the last
  };

  arrow::Status TakeUnit(const plan::Unit& unit);
  arrow::Status Add(Part part);
  arrow::Status Emit();
  arrow::Status EmitShort();
  ReadyBatch TakeRows(int64_t rows);

  Fetcher* const fetcher_;
  const std::vector<ColumnLayout>& layouts_;
  const std::shared_ptr<SlabPool> pool_;
  ReadyQueue* const queue_;
  const AssembleOptions options_;
  int64_t epoch_;
  int64_t cursor_;
  std::vector<Part> parts_;              // of the batch being filled
  std::vector<std::vector<Part>> full_;  // batches that are filled and not gathered yet
  int64_t filled_rows_ = 0;
  std::vector<std::unique_ptr<Chunk>> window_;
  std::deque<SplitPart> splits_;
};

}  // namespace flightbridge::batch
