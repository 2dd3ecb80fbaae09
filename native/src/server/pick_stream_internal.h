// The rows that a ticket picks, as a stream of new record batches.
#pragma once

#include <memory>

#include <arrow/flight/server.h>
#include <arrow/result.h>

#include "server/get_plan_internal.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// `plan` has picks.
std::unique_ptr<arrow::flight::FlightDataStream> MakePickStream(std::shared_ptr<ServiceState> state,
                                                                StreamSlot slot, GetPlan plan);

}  // namespace flightbridge::server
