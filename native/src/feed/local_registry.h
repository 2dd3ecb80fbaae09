// The feed stores of servers in this very process, by URI: readers and writers beside the server
// need no socket.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "feed/feed_store.h"
#include "feed/order_reader.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

struct LocalServer {
  std::shared_ptr<FeedStore> store;
  std::function<arrow::Result<proto::ServerStatus>()> status;
  // As Client::Act.
  std::function<arrow::Result<std::string>(const std::string&, const std::string&)> act = nullptr;
  // A part of a full order: of the feed these columns, all where there are none.
  std::function<arrow::Result<std::unique_ptr<OrderReader>>(
      std::shared_ptr<const Snapshot>, std::shared_ptr<arrow::Schema>, std::vector<int>,
      const proto::RowOrder&)>
      open_order = nullptr;
};

// Thread-safe. A forked child finds nothing its parent registered: it has the store's memory but
// none of its threads. "localhost" and "127.0.0.1" are the same host.
void RegisterLocal(const std::string& uri, LocalServer server);
void UnregisterLocal(const std::string& uri);
// nullptr where no server of this process has that URI.
std::shared_ptr<FeedStore> FindLocal(const std::string& uri);
// UNAVAILABLE where there is none.
arrow::Result<proto::ServerStatus> LocalStatus(const std::string& uri);
arrow::Result<std::string> LocalAct(const std::string& uri, const std::string& action,
                                    const std::string& body);
arrow::Result<std::unique_ptr<OrderReader>> LocalOrder(const std::string& uri,
                                                       std::shared_ptr<const Snapshot> snapshot,
                                                       std::shared_ptr<arrow::Schema> schema,
                                                       std::vector<int> columns,
                                                       const proto::RowOrder& order);

}  // namespace flightbridge::feed
