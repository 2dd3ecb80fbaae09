// How an error leaves the server.
#pragma once

#include <string>

#include <arrow/status.h>

namespace flightbridge::server {

// ToFlight(), with a message that every client can decode: errors quote what a stranger sent.
arrow::Status Reply(const arrow::Status& status);

}  // namespace flightbridge::server
