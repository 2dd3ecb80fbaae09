// A put by one of FlightBridge's own writers: a CMD descriptor with a PutCommand.
#pragma once

#include "server/put_streams_internal.h"

namespace flightbridge::server {

// INVALID_ARGUMENT for what no writer of ours would ask for.
arrow::Status CheckPutCommand(const proto::PutCommand& command);

// Stages the attempt when its end record agrees with what came in, and acks it with a PutResult.
arrow::Status PutByCommand(const PutStreams& streams);

}  // namespace flightbridge::server
