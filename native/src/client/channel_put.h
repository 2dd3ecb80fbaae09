// One attempt at a partition, sent over a data channel.
#pragma once

#include <memory>

#include <arrow/result.h>
#include <arrow/type_fwd.h>

#include "client/channel_pool.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

arrow::Result<std::unique_ptr<PutStream>> OpenChannelPut(
    std::shared_ptr<ChannelPool> pool, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema);

}  // namespace flightbridge::client
