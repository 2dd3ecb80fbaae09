// The rows of a resolved ticket, received over a data channel and verified.
#pragma once

#include <memory>

#include <arrow/result.h>

#include "client/buffer_pool.h"
#include "client/channel_pool.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// Returns at once; what the server says comes with schema() or Next().
arrow::Result<std::unique_ptr<GetStream>> OpenChannelGet(std::shared_ptr<ChannelPool> pool,
                                                         std::shared_ptr<BufferPool> buffers,
                                                         const proto::GetTicket& resolved);

}  // namespace flightbridge::client
