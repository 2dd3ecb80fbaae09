// Rows of a feed in the order of a full shuffle, put into order by the server.
#pragma once

#include <chrono>
#include <memory>

#include <arrow/record_batch.h>
#include <arrow/result.h>

namespace flightbridge::feed {

// For one thread.
class OrderReader {
 public:
  virtual ~OrderReader() = default;
  // The next rows; nullptr at the end. A batch without rows where none can be had within
  // `patience`: ask again.
  virtual arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next(
      std::chrono::milliseconds patience) = 0;
};

}  // namespace flightbridge::feed
