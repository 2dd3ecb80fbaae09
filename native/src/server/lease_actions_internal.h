// The actions of dynamic sharding: AcquireSplits, RenewLease, ReleaseSplits.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>

#include "server/service_state_internal.h"

namespace flightbridge::server {

arrow::Result<proto::AcquireSplitsResult> AcquireSplits(ServiceState* state,
                                                        const proto::AcquireSplits& request);
arrow::Status RenewLease(ServiceState* state, const proto::RenewLease& request);
arrow::Status ReleaseSplits(ServiceState* state, const proto::ReleaseSplits& request);

}  // namespace flightbridge::server
