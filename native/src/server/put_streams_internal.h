// The two directions of a DoPut call, and what every put does with a batch that came in.
#pragma once

#include <memory>

#include <arrow/flight/server.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

struct PutStreams {
  ServiceState* state;
  const arrow::flight::ServerCallContext& context;
  arrow::flight::FlightMessageReader* reader;
  arrow::flight::FlightMetadataWriter* writer;

  // The schema that opens the stream.
  arrow::Result<std::shared_ptr<arrow::Schema>> Schema() const;
  // The next message; neither data nor metadata at the end of the stream.
  arrow::Result<arrow::flight::FlightStreamChunk> Next() const;
  // CANCELLED where the client has gone: a killed client looks like a clean end of stream.
  arrow::Status CheckConnected() const;
};

// Counts the batch against the limit and makes sure that its bytes can be trusted: everything
// behind this, in the store and in readers, relies on valid offsets, indices and UTF-8.
arrow::Status CheckBatch(const ServiceState& state, const arrow::RecordBatch& batch);

}  // namespace flightbridge::server
