// Connecting with memory that several clients share.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "client/buffer_pool.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

// Bodies received over data channels, kept for the next ones.
constexpr int64_t kIdleBufferBytes = 64 << 20;

// As Client::Connect(). The bodies of messages that come over data channels are received into
// `buffers`: what many connections keep for later is then no more than what they held at once.
arrow::Result<std::unique_ptr<Client>> Connect(const ClientOptions& options,
                                               const std::shared_ptr<BufferPool>& buffers);

}  // namespace flightbridge::client
