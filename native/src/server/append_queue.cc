#include "server/append_queue_internal.h"

#include <arrow/util/byte_size.h>

#include "server/put_streams_internal.h"

namespace flightbridge::server {

AppendQueue::AppendQueue(ServiceState* state, feed::AttemptWriter* attempt)
    : state_(state), attempt_(attempt) {}

AppendQueue::~AppendQueue() = default;

arrow::Status AppendQueue::Push(std::shared_ptr<arrow::RecordBatch> batch,
                                std::optional<uint32_t> expected_crc32c) {
  ARROW_RETURN_NOT_OK(CheckBatch(*state_, *batch));
  ARROW_RETURN_NOT_OK(attempt_->Append(*batch, expected_crc32c));
  state_->bytes_put.fetch_add(arrow::util::TotalBufferSize(*batch), std::memory_order_relaxed);
  return arrow::Status::OK();
}

arrow::Status AppendQueue::Drain() { return arrow::Status::OK(); }

}  // namespace flightbridge::server
