// Copies the batches of one put into their segment on a thread of their own, so that the next one
// is received meanwhile: either takes about as long as the other.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>

#include <arrow/record_batch.h>
#include <arrow/status.h>

#include "common/handoff.h"
#include "feed/feed_store.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// Not thread-safe. The attempt is this object's until Finish() or destruction.
class AppendThread {
 public:
  AppendThread(ServiceState* state, feed::AttemptWriter* attempt);
  ~AppendThread();
  AppendThread(const AppendThread&) = delete;
  AppendThread& operator=(const AppendThread&) = delete;

  // Takes a batch received; the error of an earlier one, if one failed. Waits while
  // kMaxWaitingBytes are waiting, so that memory per put is bounded whatever the sender does.
  arrow::Status Append(std::shared_ptr<arrow::RecordBatch> batch, uint32_t crc32c);
  // Waits until all batches are in.
  arrow::Status Finish();

 private:
  static constexpr int64_t kMaxWaitingBytes = 8 << 20;
  struct Received {
    std::shared_ptr<arrow::RecordBatch> batch;
    uint32_t crc32c;
  };

  void Run();

  ServiceState* const state_;
  feed::AttemptWriter* const attempt_;
  Handoff<Received> waiting_{kMaxWaitingBytes};
  arrow::Status status_;  // the thread's until it is joined
  std::thread thread_;
};

}  // namespace flightbridge::server
