// A part of a full order as a stream of new record batches.
#pragma once

#include <memory>

#include <arrow/flight/server.h>
#include <arrow/result.h>

#include "server/get_plan_internal.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// `plan` has an order. Errors as deal::Dealer::Open().
arrow::Result<std::unique_ptr<arrow::flight::FlightDataStream>> MakeOrderStream(
    std::shared_ptr<ServiceState> state, StreamSlot slot, GetPlan plan);

}  // namespace flightbridge::server
