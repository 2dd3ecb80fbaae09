#include "client/connection.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include <unistd.h>

#include <arrow/util/uri.h>

#include "client/tls.h"
#include "client/uri.h"
#include "common/grpc_process.h"
#include "common/thread.h"
#include "flightbridge/error.h"

// Exported by libarrow_flight, declared in none of its installed headers.
namespace arrow::flight::transport::grpc {
void InitializeFlightGrpcClient();
}

namespace flightbridge::client {
namespace {

namespace flight = arrow::flight;

// gRPC takes these keys literally and ignores, without a word, those that it does not know.
void SetChannelOptions(const ClientOptions& options, flight::FlightClientOptions* out) {
  const auto set = [out](const char* key, int value) {
    out->generic_options.emplace_back(key, value);
  };
  set("grpc.use_local_subchannel_pool", 1);  // one client, one connection
  set("grpc.enable_http_proxy", 0);          // a web proxy is no way to a data server
  // A dead link is noticed in the middle of a stream after at most twice this.
  const double keepalive_ms = std::clamp(options.timeout_s * 500, 1000.0, 20000.0);
  set("grpc.keepalive_time_ms", static_cast<int>(keepalive_ms));
  set("grpc.keepalive_timeout_ms", static_cast<int>(keepalive_ms));
  // A restarted server is found again within a second.
  set("grpc.initial_reconnect_backoff_ms", 100);
  set("grpc.min_reconnect_backoff_ms", 1000);
  set("grpc.max_reconnect_backoff_ms", 1000);
}

}  // namespace

OwnerProcess::OwnerProcess() : pid_(::getpid()) {}
bool OwnerProcess::is_this() const { return ::getpid() == pid_; }

arrow::Status OwnerProcess::Check() const {
  if (is_this()) return arrow::Status::OK();
  return Error(Code::kFailedPrecondition, "this client was connected in process ", pid_,
               " and cannot be used in its fork, process ", ::getpid(),
               ": connect again after the fork");
}

Connection::Connection(const ClientOptions& options, Endpoint endpoint)
    : options_(options), endpoint_(std::move(endpoint)), watchdog_(std::make_unique<Watchdog>()) {}

Connection::~Connection() {
  if (owner_.is_this()) {
    if (transport_ != nullptr) (void)transport_->Close();  // its destructor waits for a Close()
    return;
  }
  // In a forked child the threads behind these are gone, and joining them would wait for ever.
  (void)transport_.release();
  (void)watchdog_.release();
}

arrow::Result<std::shared_ptr<Connection>> Connection::Open(const ClientOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const Endpoint endpoint, ParseUri(options.uri));
  if (!std::isfinite(options.timeout_s) || options.timeout_s <= 0)
    return Error(Code::kInvalidArgument, "timeout_s is ", options.timeout_s,
                 ": give a positive number of seconds");
  if (std::any_of(options.token.begin(), options.token.end(),
                  [](unsigned char c) { return c < 0x21 || c > 0x7e; }))
    return Error(Code::kInvalidArgument,
                 "token holds a blank or a character outside printable ASCII, which no HTTP header "
                 "can carry: pass the token without quotes, spaces or line ends");

  ARROW_RETURN_NOT_OK(ClaimGrpc());
  const SignalsBlocked blocked;  // gRPC's threads start here
  static std::once_flag once;
  std::call_once(once, flight::transport::grpc::InitializeFlightGrpcClient);
  auto connection = std::shared_ptr<Connection>(new Connection(options, endpoint));
  const std::string uri = endpoint.ToUri();
  ARROW_ASSIGN_OR_RAISE(connection->transport_,
                        flight::internal::GetDefaultTransportRegistry()->MakeClient(
                            endpoint.tls ? "grpc+tls" : "grpc"));
  ARROW_ASSIGN_OR_RAISE(const flight::Location location, flight::Location::Parse(uri));
  arrow::util::Uri parsed;
  ARROW_RETURN_NOT_OK(parsed.Parse(uri));
  flight::FlightClientOptions flight_options = flight::FlightClientOptions::Defaults();
  SetChannelOptions(options, &flight_options);
  ARROW_RETURN_NOT_OK(ConfigureTls(options.tls, endpoint, &flight_options));
  ARROW_RETURN_NOT_OK(connection->transport_->Init(flight_options, location, parsed));
  return connection;
}

flight::FlightCallOptions Connection::StreamOptions() const {
  flight::FlightCallOptions options;
  if (!options_.token.empty())
    options.headers.emplace_back("authorization", "Bearer " + options_.token);
  return options;
}

flight::FlightCallOptions Connection::UnaryOptions() const {
  flight::FlightCallOptions options = StreamOptions();
  options.timeout = flight::TimeoutDuration{options_.timeout_s};
  return options;
}

arrow::Status Connection::TimedOut(std::string_view doing) const {
  return Error(Code::kDeadlineExceeded, doing, ": ", uri(), " did not answer within ",
               options_.timeout_s, " s: look at the server, or raise timeout_s");
}

arrow::Status Connection::Translate(const arrow::Status& status, std::string_view doing) const {
  if (status.ok()) return status;
  arrow::Status ours = FromFlight(status);
  // Callers that cancelled a call themselves do not ask: this one was the server's doing.
  if (CodeOf(ours) == Code::kCancelled)
    return Error(Code::kUnavailable, doing, ": the server at ", uri(),
                 " ended the call, as one does that stops: try again once it is back");
  const std::string tag = "[" + std::string(CodeName(CodeOf(ours))) + "] ";
  if (status.message().find(tag) != std::string::npos) return ours;  // the server's own words
  switch (CodeOf(ours)) {
    case Code::kUnavailable:
      if (const std::string why = ExplainTls(options_.tls, endpoint_, ours.message()); !why.empty())
        return Error(Code::kUnavailable, doing, ": ", why, " (", ours.message(), ")");
      return Error(Code::kUnavailable, doing, ": no FlightBridge server answers at ", uri(), " (",
                   ours.message(),
                   "): start one with `flightbridge serve` or flightbridge.Server(), or correct "
                   "the uri");
    case Code::kDeadlineExceeded: return TimedOut(doing);
    case Code::kUnsupportedType:  // what Flight makes of UNIMPLEMENTED
      return Error(Code::kFailedPrecondition, doing, ": the server at ", uri(),
                   " does not know this call (", ours.message(),
                   "): is it a FlightBridge server of this version?");
    default: return WithContext(ours, doing);
  }
}

}  // namespace flightbridge::client
