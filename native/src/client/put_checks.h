// What both put streams check about a batch before they take it.
#pragma once

#include <string>

#include <arrow/record_batch.h>
#include <arrow/status.h>
#include <arrow/type.h>

namespace flightbridge::client {

// SCHEMA_MISMATCH names the first field that differs from the stream's schema.
arrow::Status CheckBatchSchema(const arrow::Schema& expected, const arrow::RecordBatch& batch);

// "feed 'x' partition 3 attempt 7"
std::string PutName(const std::string& feed, int64_t partition, int64_t attempt);

arrow::Status PutIsOver(const std::string& name);

}  // namespace flightbridge::client
