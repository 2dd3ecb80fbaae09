// One attempt at a partition, sent over DoPut.
#pragma once

#include <memory>

#include <arrow/result.h>
#include <arrow/type_fwd.h>

#include "client/connection.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

arrow::Result<std::unique_ptr<PutStream>> OpenFlightPut(
    std::shared_ptr<Connection> connection, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema);

}  // namespace flightbridge::client
