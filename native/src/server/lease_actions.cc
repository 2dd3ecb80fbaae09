#include "server/lease_actions_internal.h"

#include "server/planned_rows_internal.h"

namespace flightbridge::server {
arrow::Result<proto::AcquireSplitsResult> AcquireSplits(ServiceState* state,
                                                        const proto::AcquireSplits& request) {
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(request.feed));
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, state->store->FindToRead(request.feed));
  return state->leases.Acquire(request, {snapshot->fingerprint, [&] { return RowsOf(*snapshot); }});
}

arrow::Status RenewLease(ServiceState* state, const proto::RenewLease& request) {
  return state->leases.Renew(request);
}

arrow::Status ReleaseSplits(ServiceState* state, const proto::ReleaseSplits& request) {
  return state->leases.Release(request);
}

}  // namespace flightbridge::server
