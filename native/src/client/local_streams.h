// Put and get without a socket: appends straight into the store's segments, reads views of them.
#pragma once

#include <memory>

#include <arrow/result.h>
#include <arrow/type_fwd.h>

#include "client/connection.h"
#include "feed/feed_store.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {

// The store of the server at the connection's URI; UNAVAILABLE once that server has stopped,
// FAILED_PRECONDITION in a forked child.
arrow::Result<std::shared_ptr<feed::FeedStore>> FindStore(const Connection& connection);

arrow::Result<std::unique_ptr<PutStream>> OpenLocalPut(
    std::shared_ptr<Connection> connection, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema);

// Batches are zero-copy views that keep their segment alive. Checksums were verified when the bytes
// came in and are not computed again.
arrow::Result<std::unique_ptr<GetStream>> OpenLocalGet(std::shared_ptr<Connection> connection,
                                                       const proto::GetTicket& ticket);

}  // namespace flightbridge::client
