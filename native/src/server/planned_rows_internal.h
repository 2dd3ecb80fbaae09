// The rows of a feed as the plan counts them.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "feed/feed_store.h"
#include "plan/rows.h"

namespace flightbridge::server {

// At the home of a feed that spans several servers those of all of them.
inline std::shared_ptr<const plan::FeedRows> RowsOf(const feed::Snapshot& snapshot) {
  std::vector<plan::PartitionRows> partitions;
  if (snapshot.span != nullptr && snapshot.span->is_home()) {
    for (const auto& p : snapshot.span->partitions) partitions.push_back({p.partition, p.rows});
  } else {
    for (const auto& p : snapshot.partitions) partitions.push_back({p->partition, p->rows});
  }
  return std::make_shared<const plan::FeedRows>(std::move(partitions));
}

}  // namespace flightbridge::server
