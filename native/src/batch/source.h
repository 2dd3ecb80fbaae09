// Where record batches come from: a server in practice, memory in tests.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <arrow/result.h>
#include <arrow/type.h>

#include "flightbridge/client.h"
#include "flightbridge/export.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// One connection. Thread-safe.
class Source {
 public:
  virtual ~Source() = default;
  virtual arrow::Result<proto::FeedInfo> DescribeFeed() = 0;
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema() = 0;
  virtual arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) = 0;
  // As Client::Act.
  virtual arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                         const std::string& doing) = 0;
};

// Makes connections; called from several threads.
using ConnectFn = std::function<arrow::Result<std::unique_ptr<Source>>()>;

// Connections to the feed of a spec.
FB_EXPORT ConnectFn ConnectTo(const proto::ReaderSpec& spec);
// The same for lease calls, whose deadline is a part of the lease.
FB_EXPORT ConnectFn ConnectForLeases(const proto::ReaderSpec& spec);
// Whether that feed is served by this process, so that nothing goes over a socket.
FB_EXPORT bool IsLocal(const proto::ReaderSpec& spec);

}  // namespace flightbridge::batch
