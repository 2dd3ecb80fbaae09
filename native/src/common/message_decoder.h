// Decodes the record batches of a stream whose Arrow IPC messages come one at a time.
#pragma once

#include <memory>

#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

namespace flightbridge {

// Not thread-safe. Batches refer to the bodies they were decoded from.
class MessageDecoder {
 public:
  explicit MessageDecoder(std::shared_ptr<arrow::Schema> schema);
  ~MessageDecoder();

  // The record batch; nullptr for a dictionary, which is kept for the batches behind it. The
  // metadata is verified: INVALID for what is no such message, or not of this schema.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Decode(std::shared_ptr<arrow::Buffer> metadata,
                                                            std::shared_ptr<arrow::Buffer> body,
                                                            bool is_dictionary);

 private:
  class Queue;

  std::shared_ptr<arrow::Schema> schema_;
  bool has_dictionaries_;
  Queue* messages_ = nullptr;                         // the reader's
  std::shared_ptr<arrow::RecordBatchReader> reader_;  // with dictionaries only
};

}  // namespace flightbridge
