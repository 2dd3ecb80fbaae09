// The rows of a resolved ticket, received over DoGet and verified.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "client/connection.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// Begins the call; nothing is received before the stream is first used.
arrow::Result<std::unique_ptr<GetStream>> OpenFlightGet(std::shared_ptr<Connection> connection,
                                                        const proto::GetTicket& resolved);

}  // namespace flightbridge::client
