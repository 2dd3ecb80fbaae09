#include "server/put_handler_internal.h"

#include <utility>

#include "flightbridge/error.h"
#include "server/ipc_guard_internal.h"
#include "server/put_command_internal.h"
#include "server/put_path_internal.h"

namespace flightbridge::server {

using arrow::flight::FlightDescriptor;

arrow::Status HandlePut(ServiceState* state, const arrow::flight::ServerCallContext& context,
                        arrow::flight::FlightMessageReader* reader,
                        arrow::flight::FlightMetadataWriter* writer) {
  ARROW_ASSIGN_OR_RAISE(const StreamSlot slot, StreamSlot::Take(state));
  const CountGuard open(&state->open_puts);
  const IpcLimit limit(state->max_batch_bytes);
  ARROW_ASSIGN_OR_RAISE(Caller caller, CallerOf(context));
  const PutStreams streams{.state = state,
                           .context = context,
                           .caller = std::move(caller),
                           .reader = reader,
                           .writer = writer};
  switch (reader->descriptor().type) {
    case FlightDescriptor::CMD: return PutByCommand(streams);
    case FlightDescriptor::PATH: return PutByPath(streams);
    default:
      return Error(
          Code::kInvalidArgument,
          "a put needs a PATH descriptor, [feed] or [feed, mode], or a CMD descriptor with "
          "an encoded flightbridge.v1.PutCommand");
  }
}

}  // namespace flightbridge::server
