// Turns record batches into Flight payloads, sending each dictionary only when it changed.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include <arrow/flight/types.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/options.h>
#include <arrow/record_batch.h>
#include <arrow/status.h>

namespace flightbridge::server {

// Payloads refer to the batch's own buffers; only what has to be shifted or rebased (bitmaps and
// offsets of a slice) is copied. Not thread-safe.
class BatchEncoder {
 public:
  explicit BatchEncoder(const arrow::Schema& schema) : mapper_(schema) {}

  // Appends the dictionaries that the batch needs and the stream does not have yet, then the batch.
  arrow::Status Encode(const arrow::RecordBatch& batch, std::shared_ptr<arrow::Buffer> app_metadata,
                       std::deque<arrow::flight::FlightPayload>* out);

 private:
  const arrow::ipc::IpcWriteOptions options_ = arrow::ipc::IpcWriteOptions::Defaults();
  const arrow::ipc::DictionaryFieldMapper mapper_;
  std::map<int64_t, std::shared_ptr<arrow::Array>> sent_;  // by dictionary id
};

}  // namespace flightbridge::server
