// A put by one of FlightBridge's own writers: a CMD descriptor with a PutCommand.
#pragma once

#include "server/put_streams_internal.h"

namespace flightbridge::server {

// Stages the attempt when its end record agrees with what came in, and acks it with a PutResult.
arrow::Status PutByCommand(const PutStreams& streams);

}  // namespace flightbridge::server
