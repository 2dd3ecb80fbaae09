// Where received batches are checked and copied into their segment.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <arrow/record_batch.h>
#include <arrow/status.h>

#include "feed/feed_store.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// Feeds one attempt. Used by one thread.
class AppendQueue {
 public:
  AppendQueue(ServiceState* state, feed::AttemptWriter* attempt);
  ~AppendQueue();

  // Takes the batch. An error of this or of an earlier batch.
  arrow::Status Push(std::shared_ptr<arrow::RecordBatch> batch,
                     std::optional<uint32_t> expected_crc32c);
  // Returns when every batch is in the segment.
  arrow::Status Drain();

 private:
  ServiceState* state_;
  feed::AttemptWriter* attempt_;
};

}  // namespace flightbridge::server
