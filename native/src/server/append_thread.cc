#include "server/append_thread_internal.h"

#include <utility>

#include <arrow/util/byte_size.h>

#include "common/thread.h"
#include "server/put_streams_internal.h"

namespace flightbridge::server {

AppendThread::AppendThread(ServiceState* state, feed::AttemptWriter* attempt)
    : state_(state), attempt_(attempt), thread_(StartThread([this] { Run(); })) {}

AppendThread::~AppendThread() {
  waiting_.Drop();
  if (thread_.joinable()) thread_.join();
}

arrow::Status AppendThread::Append(std::shared_ptr<arrow::RecordBatch> batch, uint32_t crc32c) {
  ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*batch));
  if (waiting_.Push({std::move(batch), crc32c}, bytes)) return arrow::Status::OK();
  return Finish();
}

arrow::Status AppendThread::Finish() {
  waiting_.Close();
  if (thread_.joinable()) thread_.join();
  return status_;
}

void AppendThread::Run() {
  while (auto received = waiting_.Pop()) {
    status_ = StoreBatch(state_, attempt_, *received->batch, received->crc32c);
    if (!status_.ok()) {
      waiting_.Drop();
      return;
    }
  }
}

}  // namespace flightbridge::server
