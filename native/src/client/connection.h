// One gRPC connection to a server, and what every call over it has in common: token, deadline,
// and errors that name the server.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <arrow/flight/client.h>
#include <arrow/flight/transport.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "client/uri.h"
#include "client/watchdog.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

// The process that made an object with threads or sockets in it: a forked child has neither.
class OwnerProcess {
 public:
  OwnerProcess();
  bool is_this() const;
  // FAILED_PRECONDITION in a forked child.
  arrow::Status Check() const;

 private:
  pid_t pid_;
};

// Thread-safe. Calls use Flight's transport layer rather than FlightClient, which cannot cancel a
// put: its writer's destructor half-closes the stream and waits for the server.
class Connection {
 public:
  // Connects lazily: fails only on a malformed URI or option.
  static arrow::Result<std::shared_ptr<Connection>> Open(const ClientOptions& options);
  ~Connection();

  const std::string& uri() const { return options_.uri; }
  const ClientOptions& options() const { return options_; }
  const OwnerProcess& owner() const { return owner_; }
  arrow::flight::internal::ClientTransport& transport() { return *transport_; }

  // For calls that answer once: with the deadline.
  arrow::flight::FlightCallOptions UnaryOptions() const;
  // For streams: without one, since each wait in them is watched by Watch().
  arrow::flight::FlightCallOptions StreamOptions() const;
  Watchdog::Guard Watch(arrow::flight::internal::ClientDataStream* stream) {
    return watchdog_->Arm(stream, std::chrono::duration<double>(options_.timeout_s));
  }

  // A status of Flight as one of ours. Says which server, and what to do, where the server could
  // not be reached; `doing` ("putting feed 'x'") says what was not answered in time.
  arrow::Status Translate(const arrow::Status& status, std::string_view doing) const;
  arrow::Status TimedOut(std::string_view doing) const;

 private:
  Connection(const ClientOptions& options, Endpoint endpoint);

  ClientOptions options_;
  Endpoint endpoint_;
  OwnerProcess owner_;
  std::unique_ptr<arrow::flight::internal::ClientTransport> transport_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace flightbridge::client
