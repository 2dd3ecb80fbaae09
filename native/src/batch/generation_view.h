// A feed that grows as it was at one of its generations: what a reader plans, and goes on reading,
// whatever comes after.
#pragma once

#include <cstdint>
#include <string>

#include <arrow/result.h>

#include "batch/source.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// Generations (first, last] of a feed, with the fingerprint of the last.
struct GenerationRange {
  int64_t first = 0;
  int64_t last = 0;
  bool followed = false;  // read once by a follower, to which a retention's epochs are nothing
};

// The feed as if it had been committed with these. FAILED_PRECONDITION where it has no such one.
arrow::Result<proto::FeedInfo> CutTo(proto::FeedInfo info, const GenerationRange& range);

// Connections that describe the feed so.
ConnectFn ViewOf(ConnectFn connect, std::string feed, const GenerationRange& range);

// The feed from generation `after` on, as the server has it now.
arrow::Result<proto::FeedInfo> DescribeAfter(Source* source, const std::string& feed,
                                             int64_t after);

}  // namespace flightbridge::batch
