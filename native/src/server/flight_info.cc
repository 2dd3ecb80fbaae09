#include <utility>
#include <vector>

#include "flightbridge/error.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

using arrow::flight::FlightDescriptor;
using arrow::flight::FlightEndpoint;
using arrow::flight::FlightInfo;

arrow::Result<std::string> FeedOf(const FlightDescriptor& descriptor) {
  if (descriptor.type != FlightDescriptor::PATH || descriptor.path.size() != 1) {
    return Error(Code::kInvalidArgument,
                 "a feed is named by a PATH descriptor with one element, [feed]; got ",
                 descriptor.ToString());
  }
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(descriptor.path[0]));
  return descriptor.path[0];
}

arrow::Result<FlightInfo> DescribeFlight(const feed::Snapshot& snapshot) {
  const proto::FeedInfo info = snapshot.Info();
  std::vector<FlightEndpoint> endpoints;
  endpoints.reserve(info.partitions.size());
  for (const proto::PartitionInfo& partition : info.partitions) {
    proto::GetTicket ticket;
    ticket.feed = snapshot.name;
    ticket.feed_id = snapshot.feed_id;
    ticket.ranges.push_back({.partition = partition.partition});
    // No location: the connection that asked is the one that serves, whatever address it used.
    std::vector<arrow::flight::Location> locations;
    if (partition.server < info.servers.size()) {
      ARROW_ASSIGN_OR_RAISE(locations.emplace_back(),
                            arrow::flight::Location::Parse(info.servers[partition.server]));
    }
    endpoints.emplace_back(arrow::flight::Ticket(ticket.Encode()), std::move(locations),
                           std::nullopt, partition.Encode());
  }
  return FlightInfo::Make(*snapshot.schema, FlightDescriptor::Path({snapshot.name}), endpoints,
                          snapshot.rows, snapshot.bytes, /*ordered=*/true, info.Encode());
}

}  // namespace flightbridge::server
