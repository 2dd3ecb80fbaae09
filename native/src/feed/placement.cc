#include "feed/placement.h"

#include "feed/schema_rules.h"

namespace flightbridge::feed {

size_t RendezvousOf(const std::vector<std::string>& servers, std::string_view feed, uint64_t key) {
  size_t best = 0;
  uint64_t best_score = 0;
  for (size_t i = 0; i < servers.size(); ++i) {
    const uint64_t score = Hash64().Add(servers[i]).Add(feed).Add(key).Value();
    // Equal scores are as good as impossible; the smaller name keeps it independent of the order.
    const bool better = score > best_score || (score == best_score && servers[i] < servers[best]);
    if (i > 0 && !better) continue;
    best = i;
    best_score = score;
  }
  return best;
}

}  // namespace flightbridge::feed
