// The two directions of a DoPut call, and what every put does with a batch that came in.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <arrow/flight/server.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "feed/feed_store.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

struct PutStreams {
  ServiceState* state;
  const arrow::flight::ServerCallContext& context;
  Caller caller;
  arrow::flight::FlightMessageReader* reader;
  arrow::flight::FlightMetadataWriter* writer;

  // The schema that opens the stream.
  arrow::Result<std::shared_ptr<arrow::Schema>> Schema() const;
  // The next message; neither data nor metadata at the end of the stream.
  arrow::Result<arrow::flight::FlightStreamChunk> Next() const;
  // CANCELLED where the client has gone: a killed client looks like a clean end of stream.
  arrow::Status CheckConnected() const;
};

// Checks the batch, copies it into the attempt's segment and counts it. The check makes its bytes
// ones to trust: the store and every reader rely on valid offsets, indices and UTF-8.
// RESOURCE_EXHAUSTED above the limit, INVALID_ARGUMENT for a damaged batch, and what the store
// says.
arrow::Status StoreBatch(ServiceState* state, feed::AttemptWriter* attempt,
                         const arrow::RecordBatch& batch, std::optional<uint32_t> expected_crc32c);

}  // namespace flightbridge::server
