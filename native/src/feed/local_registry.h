// The feed stores of servers in this very process, by URI: readers and writers beside the server
// need no socket.
#pragma once

#include <memory>
#include <string>

#include "feed/feed_store.h"

namespace flightbridge::feed {

// Thread-safe. A forked child finds nothing its parent registered: it has the store's memory but
// none of its threads. "localhost" and "127.0.0.1" are the same host.
void RegisterLocal(const std::string& uri, std::shared_ptr<FeedStore> store);
void UnregisterLocal(const std::string& uri);
// nullptr where no server of this process has that URI.
std::shared_ptr<FeedStore> FindLocal(const std::string& uri);

}  // namespace flightbridge::feed
