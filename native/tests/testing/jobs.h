// Write jobs of a client.
#pragma once

#include <memory>
#include <string>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>

#include "flightbridge/proto/commands.h"

namespace flightbridge::testing {

inline proto::BeginWrite JobOf(const std::string& feed, const std::string& job_id,
                               proto::WriteMode mode,
                               const std::shared_ptr<arrow::Schema>& schema) {
  proto::BeginWrite begin;
  begin.feed = feed;
  begin.job_id = job_id;
  begin.mode = mode;
  begin.schema = arrow::ipc::SerializeSchema(*schema).ValueOrDie()->ToString();
  return begin;
}

}  // namespace flightbridge::testing
