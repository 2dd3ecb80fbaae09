// The client of several servers that feeds span: the same calls, each made where it belongs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>

#include "client/buffer_pool.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

// `servers` as of ParseServers(). Connects to each when it is first needed; UNAVAILABLE where none
// answers.
arrow::Result<std::unique_ptr<Client>> MakeClusterClient(const ClientOptions& options,
                                                         std::vector<std::string> servers,
                                                         std::shared_ptr<BufferPool> buffers);

}  // namespace flightbridge::client
