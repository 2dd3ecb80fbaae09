// The client of a server anywhere: every call over Flight.
#pragma once

#include <memory>

#include "client/buffer_pool.h"
#include "client/connection.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

std::unique_ptr<Client> MakeFlightClient(std::shared_ptr<Connection> connection,
                                         std::shared_ptr<BufferPool> buffers);

}  // namespace flightbridge::client
