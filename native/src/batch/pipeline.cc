#include "batch/pipeline.h"

#include <exception>
#include <utility>

#include "common/thread.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {

Pipeline::Pipeline(std::unique_ptr<Fetcher> fetcher, SplitLeases* leases,
                   const std::vector<ColumnLayout>& layouts, std::shared_ptr<SlabPool> pool,
                   size_t slabs, const AssembleOptions& options, int64_t epoch, int64_t cursor)
    : fetcher_(std::move(fetcher)),
      leases_(leases),
      queue_(slabs),
      assembler_(fetcher_.get(), layouts, std::move(pool), &queue_, options, epoch, cursor),
      thread_(StartThread(&Pipeline::Run, this)) {}

Pipeline::~Pipeline() {
  Cancel();
  thread_.join();
}

void Pipeline::Cancel() {
  fetcher_->Cancel();
  queue_.Cancel(Error(Code::kCancelled, "the reader was cancelled"));
}

void Pipeline::Run() {
  try {
    queue_.Finish(assembler_.Run());
  } catch (const std::exception& e) {
    queue_.Finish(Error(Code::kResourceExhausted, "the reader stopped: ", e.what()));
  }
}

}  // namespace flightbridge::batch
