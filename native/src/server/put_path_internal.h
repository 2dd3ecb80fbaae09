// A put by any Flight client: a PATH descriptor, [feed] or [feed, mode].
#pragma once

#include "server/put_streams_internal.h"

namespace flightbridge::server {

// Commits what came in as a one-partition write when the client ends its stream cleanly. Metadata
// that the client sends is sent back to it, message by message.
arrow::Status PutByPath(const PutStreams& streams);

}  // namespace flightbridge::server
