// Which of several servers holds what: pure functions, the same on every machine and in every
// release, since writers, readers and servers each compute them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flightbridge::feed {

// Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
// 1998): the server with the highest score for the key. The order of the servers does not matter,
// and one more or less moves only the keys that it wins or held. `servers` must not be empty.
size_t RendezvousOf(const std::vector<std::string>& servers, std::string_view feed, uint64_t key);

// The server that holds a write job's partition.
inline size_t ServerOf(const std::vector<std::string>& servers, std::string_view feed,
                       int64_t partition) {
  return RendezvousOf(servers, feed, static_cast<uint64_t>(partition));
}

// The server that decides the feed's commits.
inline size_t HomeOf(const std::vector<std::string>& servers, std::string_view feed) {
  return RendezvousOf(servers, feed, ~uint64_t{0});
}

}  // namespace flightbridge::feed
