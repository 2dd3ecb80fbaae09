#include "server/lease_actions_internal.h"

#include <memory>
#include <utility>
#include <vector>

namespace flightbridge::server {
namespace {

std::shared_ptr<const plan::FeedRows> RowsOf(const feed::Snapshot& snapshot) {
  std::vector<plan::PartitionRows> partitions;
  partitions.reserve(snapshot.partitions.size());
  for (const auto& p : snapshot.partitions) partitions.push_back({p->partition, p->rows});
  return std::make_shared<const plan::FeedRows>(std::move(partitions));
}

}  // namespace

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
