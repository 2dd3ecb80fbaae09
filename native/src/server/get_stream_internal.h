// DoGet: rows of a committed feed, as the payloads that Flight sends.
#pragma once

#include <memory>
#include <string_view>

#include <arrow/flight/server.h>
#include <arrow/result.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

// `ticket` is untrusted bytes. The stream keeps the feed as it was committed when it was opened,
// whatever is committed or dropped meanwhile.
arrow::Result<std::unique_ptr<arrow::flight::FlightDataStream>> OpenGetStream(
    std::shared_ptr<ServiceState> state, const Caller& caller, std::string_view ticket);

}  // namespace flightbridge::server
