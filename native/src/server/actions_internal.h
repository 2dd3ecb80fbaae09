// DoAction: short control calls whose bodies and answers are messages of commands.proto.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <arrow/flight/types.h>
#include <arrow/result.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

// Each action checks its scope before it does anything. The encoded answer, or nullopt where the
// action answers with nothing.
arrow::Result<std::optional<std::string>> RunAction(ServiceState* state, const Caller& caller,
                                                    const arrow::flight::Action& action);
std::vector<arrow::flight::ActionType> KnownActions();

}  // namespace flightbridge::server
