// DoPut: one stream of record batches into one attempt.
#pragma once

#include <arrow/flight/server.h>
#include <arrow/status.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

// Blocks until the stream has ended. A CMD descriptor is a PutCommand by one of our own writers,
// staged when its end record arrives; a PATH descriptor [feed] or [feed, mode] is any Flight
// client's put, committed at a clean end. Nothing of a stream that ends any other way stays.
arrow::Status HandlePut(ServiceState* state, const arrow::flight::ServerCallContext& context,
                        arrow::flight::FlightMessageReader* reader,
                        arrow::flight::FlightMetadataWriter* writer);

}  // namespace flightbridge::server
