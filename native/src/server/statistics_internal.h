// Action FeedStatistics: what the values of a feed's columns lie between, partition by partition.
#pragma once

#include <arrow/result.h>

#include "flightbridge/proto/commands.h"
#include "server/auth.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// Reads rows of partitions that nobody has asked about yet, until the request's time is over or the
// answer is large, which both end it with `more`. PERMISSION_DENIED without the scope read on the
// feed, NOT_FOUND for a feed or column that is not there, FAILED_PRECONDITION for a replaced feed,
// RESOURCE_EXHAUSTED where max_streams are open, DATA_LOSS as for a read.
arrow::Result<proto::FeedStatisticsResult> FeedStatistics(ServiceState* state, const Caller& caller,
                                                          const proto::FeedStatistics& request);

}  // namespace flightbridge::server
