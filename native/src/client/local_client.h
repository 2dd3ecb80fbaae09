// The client of a server in this very process: calls go straight to its store.
#pragma once

#include <memory>

#include "client/connection.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

// `connection` (not yet connected) says the URI, and serves the one call that is about the server
// rather than its feeds: Status().
std::unique_ptr<Client> MakeLocalClient(std::shared_ptr<Connection> connection);

}  // namespace flightbridge::client
