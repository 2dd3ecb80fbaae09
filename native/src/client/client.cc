#include "flightbridge/client.h"

#include <utility>

#include "client/cluster_client.h"
#include "client/connect.h"
#include "client/connection.h"
#include "client/flight_client.h"
#include "client/local_client.h"
#include "client/uri.h"
#include "feed/local_registry.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge {
namespace {

arrow::Status CheckTransport(const std::string& transport) {
  for (const char* known : {"auto", "local", "mapped", "channel", "flight"}) {
    if (transport == known) return arrow::Status::OK();
  }
  return Error(Code::kInvalidArgument, "transport is '", transport,
               "': use auto, local, mapped, channel or flight");
}

}  // namespace

arrow::Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  return client::Connect(options, std::make_shared<client::BufferPool>(client::kIdleBufferBytes));
}

arrow::Result<std::unique_ptr<Client>> client::Connect(const ClientOptions& options,
                                                       const std::shared_ptr<BufferPool>& buffers) {
  ARROW_RETURN_NOT_OK(CheckTransport(options.transport));
  ARROW_ASSIGN_OR_RAISE(const auto servers, ParseServers(options.uri));
  if (servers.size() > 1) return MakeClusterClient(options, servers, buffers);
  ARROW_ASSIGN_OR_RAISE(auto connection, Connection::Open(options));
  const bool local = options.transport == "local";
  if ((local || options.transport == "auto") && feed::FindLocal(options.uri) != nullptr)
    return MakeLocalClient(std::move(connection));
  if (local)
    return Error(Code::kUnavailable, "transport \"local\" is not possible with ", options.uri,
                 ": no such server runs in this process; use transport=\"auto\"");
  auto made = MakeFlightClient(std::move(connection), buffers);
  // A server that is not there, or a token that is wrong, is an error here and not at first use.
  const auto status = made->Status().status();
  if (CodeOf(status) == Code::kDeadlineExceeded)
    return Error(Code::kUnavailable, "connecting: no FlightBridge server answered at ", options.uri,
                 " within ", options.timeout_s,
                 " s: start one with `flightbridge serve` or flightbridge.Server(), or correct the "
                 "uri");
  if (!status.ok()) return WithContext(status, "connecting");
  return made;
}

}  // namespace flightbridge
