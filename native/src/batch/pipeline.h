// Fetcher, assembler and queue of one reader at work: made when reading begins, and made anew when
// a lost lease makes everything that was read ahead worthless.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "batch/assembler.h"
#include "batch/fetcher.h"
#include "batch/ready_queue.h"
#include "batch/slab.h"
#include "batch/split_leases.h"

namespace flightbridge::batch {

// queue() is for one thread; Cancel() for any. The destructor stops all threads.
class Pipeline {
 public:
  // `leases` is the fetcher's unit source under DYNAMIC, else nullptr. `layouts` must outlive it.
  Pipeline(std::unique_ptr<Fetcher> fetcher, SplitLeases* leases,
           const std::vector<ColumnLayout>& layouts, std::shared_ptr<SlabPool> pool, size_t slabs,
           const AssembleOptions& options, int64_t epoch, int64_t cursor);
  ~Pipeline();

  ReadyQueue& queue() { return queue_; }
  SplitLeases* leases() { return leases_; }
  void Cancel();

 private:
  void Run();

  const std::unique_ptr<Fetcher> fetcher_;
  SplitLeases* const leases_;
  ReadyQueue queue_;
  Assembler assembler_;
  std::thread thread_;
};

}  // namespace flightbridge::batch
