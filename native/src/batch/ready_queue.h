// Assembled batches on their way from the assembler to the caller.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/batch.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// A batch, and how far in the data its last row is.
struct ReadyBatch {
  BatchPtr batch;  // nullptr: rows that are left out
  int64_t epoch = 0;
  int64_t cursor = 0;
  std::vector<int64_t> finished;              // leased splits whose last row is in it
  std::optional<proto::SplitCursor> current;  // the split that its last row leaves unfinished
};

// One thread pushes, one pops. Each side wakes the other only when it sleeps, and a full queue is
// refilled from half: fewer switches between threads than one per batch.
class ReadyQueue {
 public:
  explicit ReadyQueue(size_t capacity) : capacity_(capacity) {}

  // Blocks while full. False once cancelled: the batch is dropped.
  bool Push(ReadyBatch batch) {
    std::unique_lock lock(mutex_);
    if (items_.size() >= capacity_) {
      pusher_sleeps_ = true;
      drained_.wait(lock, [&] { return cancelled_ || items_.size() <= capacity_ / 2; });
      pusher_sleeps_ = false;
    }
    if (cancelled_) return false;
    items_.push_back(std::move(batch));
    if (popper_sleeps_) filled_.notify_one();
    return true;
  }

  // Nothing comes after what is queued but this status: OK is the end of the data.
  void Finish(arrow::Status status) {
    const std::lock_guard lock(mutex_);
    end_ = std::move(status);
    filled_.notify_one();
  }

  void Cancel(arrow::Status status) {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    end_ = std::move(status);
    items_.clear();
    filled_.notify_one();
    drained_.notify_one();
  }

  // Waits until Pop() would not block, at most `timeout`; false when it still would.
  bool WaitFor(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    popper_sleeps_ = true;
    const bool ready = filled_.wait_for(lock, timeout, [&] { return !items_.empty() || end_; });
    popper_sleeps_ = false;
    return ready;
  }

  // nullopt at the end of the data. Blocks.
  arrow::Result<std::optional<ReadyBatch>> Pop() {
    std::unique_lock lock(mutex_);
    if (items_.empty() && !end_) {
      popper_sleeps_ = true;
      filled_.wait(lock, [&] { return !items_.empty() || end_; });
      popper_sleeps_ = false;
    }
    if (items_.empty()) {
      ARROW_RETURN_NOT_OK(*end_);
      return std::nullopt;
    }
    ReadyBatch batch = std::move(items_.front());
    items_.pop_front();
    if (pusher_sleeps_ && items_.size() <= capacity_ / 2) drained_.notify_one();
    return batch;
  }

 private:
  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable drained_;
  std::deque<ReadyBatch> items_;
  std::optional<arrow::Status> end_;
  bool cancelled_ = false;
  bool pusher_sleeps_ = false;
  bool popper_sleeps_ = false;
};

}  // namespace flightbridge::batch
