// The server's side of TLS.
#pragma once

#include <arrow/flight/server.h>
#include <arrow/status.h>

#include "flightbridge/server.h"

namespace flightbridge::server {

// Whether the options ask for TLS. INVALID_ARGUMENT where one of the settings lacks another.
arrow::Result<bool> WantsTls(const ServerOptions& options);

// Reads the files into Flight's options; INVALID_ARGUMENT names the setting and the file.
arrow::Status ConfigureTls(const ServerOptions& options, arrow::flight::FlightServerOptions* out);

}  // namespace flightbridge::server
