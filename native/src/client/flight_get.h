// The rows of a resolved ticket, received over DoGet and verified.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "client/connection.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// Waits for the server's schema.
arrow::Result<std::unique_ptr<GetStream>> OpenFlightGet(std::shared_ptr<Connection> connection,
                                                        const proto::GetTicket& resolved);

}  // namespace flightbridge::client
