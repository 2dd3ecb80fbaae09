// One get over several servers: each sends its ranges, and the rows come in the ticket's order.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <arrow/result.h>

#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// Opens a get on a server, by its index in FeedInfo.servers.
using OpenGetOn =
    std::function<arrow::Result<std::unique_ptr<GetStream>>(size_t, const proto::GetTicket&)>;

// `resolved` as of ResolveTicket(), with at least one range; `feed` is the whole feed. UNAVAILABLE
// names the server that is away and the partitions that it holds.
arrow::Result<std::unique_ptr<GetStream>> OpenClusterGet(const proto::GetTicket& resolved,
                                                         const proto::FeedInfo& feed,
                                                         const OpenGetOn& open);

}  // namespace flightbridge::client
