#include "flightbridge/server.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include <arrow/flight/types.h>
#include <arrow/util/utf8.h>

#include "common/grpc_process.h"
#include "common/malloc_tuning.h"
#include "common/thread.h"
#include "feed/local_registry.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "server/actions_internal.h"
#include "server/auth.h"
#include "server/channel_server_internal.h"
#include "server/flight_service_internal.h"
#include "server/ipc_guard_internal.h"
#include "server/listen_internal.h"
#include "server/tls_internal.h"

namespace flightbridge {
namespace {

constexpr std::chrono::milliseconds kShortGrace{500};

arrow::Status CheckOptions(const ServerOptions& options) {
  if (options.port < 0 || options.port > 65535) {
    return Error(Code::kInvalidArgument, "port is ", options.port,
                 ": it must be 0 to 65535 (0 picks a free one)");
  }
  if (options.memory_limit_bytes <= 0) {
    return Error(Code::kInvalidArgument, "memory_limit_bytes is ", options.memory_limit_bytes,
                 ": it must be positive");
  }
  if (options.put_wait.count() < 0 || options.put_wait > std::chrono::hours(24)) {
    return Error(Code::kInvalidArgument, "put_wait is ", options.put_wait.count(),
                 " ms: it must be 0 to a day");
  }
  if (options.job_ttl < std::chrono::seconds(1) || options.job_ttl > std::chrono::hours(24 * 365)) {
    return Error(Code::kInvalidArgument, "job_ttl is ", options.job_ttl.count(),
                 " ms: it must be a second to a year");
  }
  if (options.max_streams <= 0 || options.max_feeds <= 0) {
    return Error(Code::kInvalidArgument, options.max_streams <= 0 ? "max_streams" : "max_feeds",
                 " is ", std::min(options.max_streams, options.max_feeds), ": it must be positive");
  }
  if (options.data_port < -1 || options.data_port > 65535) {
    return Error(Code::kInvalidArgument, "data_port is ", options.data_port,
                 ": it must be 0 to 65535 (0 picks a free one), or -1 for none");
  }
  // Flight cannot send a record batch of 2 GiB or more.
  constexpr int64_t kMost = (int64_t{2} << 30) - (1 << 20);
  if (options.max_batch_bytes <= 0 || options.max_batch_bytes > kMost) {
    return Error(Code::kInvalidArgument, "max_batch_bytes is ", options.max_batch_bytes,
                 ": it must be 1 to ", kMost);
  }
  return arrow::Status::OK();
}

}  // namespace

namespace server {

proto::ServerStatus ServiceState::Status() const {
  proto::ServerStatus status;
  status.version = FB_VERSION;
  status.memory_limit_bytes = store->budget().limit_bytes();
  status.memory_used_bytes = store->budget().used_bytes();
  const segment::Budget& disk = store->disk_budget();
  status.disk_limit_bytes = disk.unlimited() ? -1 : disk.limit_bytes();
  status.disk_used_bytes = disk.used_bytes();
  status.feeds = static_cast<int64_t>(
      std::ranges::count(store->List(), proto::FeedState::kCommitted, &proto::FeedInfo::state));
  status.open_puts = open_puts.load(std::memory_order_relaxed);
  status.open_gets = open_gets.load(std::memory_order_relaxed);
  status.bytes_put = bytes_put.load(std::memory_order_relaxed);
  status.bytes_got = bytes_got.load(std::memory_order_relaxed);
  status.uptime_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::steady_clock::now() - started)
                         .count();
  status.data_dir = data_dir;
  status.token_file_error = auth->token_file_error();
  status.open_leases = leases.open_leases();
  status.dealt_bytes = dealer->held_bytes();
  return status;
}

proto::ServerStatus ServiceState::StatusFor(const Caller& caller) const {
  proto::ServerStatus all = Status();
  if (caller.MayEverywhere(Scope::kAdmin)) return all;
  proto::ServerStatus little;
  little.version = std::move(all.version);
  little.uptime_ms = all.uptime_ms;
  return little;
}

arrow::Result<StreamSlot> StreamSlot::Take(ServiceState* state) {
  StreamSlot slot(state);
  if (state->streams.fetch_add(1, std::memory_order_relaxed) < state->max_streams) return slot;
  return Error(Code::kResourceExhausted, "max_streams, ", state->max_streams,
               ", puts and gets are open on this server: wait for some to end and try again, or "
               "start it with a larger max_streams (--max-streams)");
}

std::vector<proto::FeedInfo> ServiceState::FeedsFor(const Caller& caller) const {
  std::vector<proto::FeedInfo> feeds = store->List();
  std::erase_if(feeds,
                [&](const proto::FeedInfo& feed) { return !caller.May(Scope::kRead, feed.feed); });
  return feeds;
}

proto::ChannelOffer ServiceState::OfferChannel(const Caller& caller) {
  const std::lock_guard lock(offer_mutex_);
  return offer_ ? offer_(caller) : proto::ChannelOffer{};
}

void ServiceState::SetOffer(std::function<proto::ChannelOffer(const Caller&)> offer) {
  const std::lock_guard lock(offer_mutex_);
  offer_ = std::move(offer);
}

}  // namespace server

namespace {

arrow::Status Stopped() { return Error(Code::kUnavailable, "the server has stopped"); }

// What a client in this process asks in place of a ServerStatus call.
std::function<arrow::Result<proto::ServerStatus>()> StatusOf(
    const std::shared_ptr<server::ServiceState>& state) {
  return [weak = std::weak_ptr(state)]() -> arrow::Result<proto::ServerStatus> {
    const auto alive = weak.lock();
    if (alive == nullptr) return Stopped();
    return alive->Status();
  };
}

// The same for actions: the process's own calls need no token.
auto ActionsOf(const std::shared_ptr<server::ServiceState>& state) {
  return [weak = std::weak_ptr(state)](const std::string& action,
                                       const std::string& body) -> arrow::Result<std::string> {
    const auto alive = weak.lock();
    if (alive == nullptr) return Stopped();
    ARROW_ASSIGN_OR_RAISE(auto answer, server::RunAction(alive.get(), server::Caller::Trusted(),
                                                         {"flightbridge.v1." + action,
                                                          arrow::Buffer::FromString(body)}));
    return std::move(answer).value_or("");
  };
}

// The same for parts of a full order.
decltype(feed::LocalServer::open_order) OrdersOf(
    const std::shared_ptr<server::ServiceState>& state) {
  return [weak = std::weak_ptr(state->dealer)](
             auto snapshot, auto schema, auto columns,
             const auto& order) -> arrow::Result<std::unique_ptr<feed::OrderReader>> {
    const auto alive = weak.lock();
    if (alive == nullptr) return Stopped();
    return alive->Open(std::move(snapshot), std::move(schema), std::move(columns), order);
  };
}

}  // namespace

class Server::Impl {
 public:
  static arrow::Result<std::unique_ptr<Impl>> Start(const ServerOptions& options) {
    ARROW_RETURN_NOT_OK(CheckOptions(options));
    ARROW_ASSIGN_OR_RAISE(const bool tls, server::WantsTls(options));
    const server::Protection protection{
        .tls = tls, .tokens = !options.token_file.empty(), .waived = options.insecure};
    ARROW_RETURN_NOT_OK(server::CheckListen(options.host, options.port, protection));
    ARROW_ASSIGN_OR_RAISE(auto peers, server::PeerSettings::Make(options));
    auto impl = std::make_unique<Impl>();
    impl->host_ = options.host;

    auto state = std::make_shared<server::ServiceState>();
    ARROW_ASSIGN_OR_RAISE(state->auth, server::Authenticator::Open(options.token_file));
    state->has_tokens = state->auth->has_tokens();
    feed::FeedStoreOptions store;
    store.segments.data_dir = options.data_dir;
    store.segments.memory_limit_bytes = options.memory_limit_bytes;
    store.segments.spill_limit_bytes = options.spill_limit_bytes;
    store.put_wait = options.put_wait;
    store.orphan_ttl = options.job_ttl;
    store.max_feeds = options.max_feeds;
    store.name_other_feeds = !state->has_tokens;
    ARROW_ASSIGN_OR_RAISE(state->store, feed::FeedStore::Open(store));
    deal::DealerOptions dealer;
    dealer.data_dir = options.data_dir;
    dealer.memory_limit_bytes = options.memory_limit_bytes;
    dealer.threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 4);
    state->dealer = std::make_shared<deal::Dealer>(state->store, std::move(dealer));
    state->peers = std::make_unique<server::Peers>(state->store, std::move(peers));
    state->data_dir = options.data_dir;
    state->max_batch_bytes = options.max_batch_bytes;
    state->max_streams = options.max_streams;
    impl->state_ = state;

    const bool v6 = options.host.find(':') != std::string::npos;
    const std::string host = v6 ? "[" + options.host + "]" : options.host;
    ARROW_ASSIGN_OR_RAISE(const auto location,
                          tls ? arrow::flight::Location::ForGrpcTls(host, options.port)
                              : arrow::flight::Location::ForGrpcTcp(host, options.port));
    arrow::util::InitializeUTF8();
    server::InstallIpcGuard();
    arrow::flight::FlightServerOptions flight(location);
    if (tls) ARROW_RETURN_NOT_OK(server::ConfigureTls(options, &flight));
    flight.middleware.push_back(server::AuthMiddleware(state->auth));
    impl->service_ = std::make_unique<server::FlightService>(std::move(state));
    // Init() listens and serves on threads of gRPC's. Serve() would add signal handlers of its own.
    const SignalsBlocked blocked;
    if (const auto status = impl->service_->Init(flight); !status.ok()) {
      return Error(Code::kUnavailable, "cannot listen on ",
                   server::HostPort(options.host, options.port), ": ", status.message(),
                   "; choose another port (--port 0 picks a free one)");
    }
    impl->port_ = impl->service_->port();
    impl->uri_ = (tls ? "grpc+tls://" : "grpc://") + server::HostPort(options.host, impl->port_);
    // What travels there is not encrypted.
    if (options.data_port >= 0 && !tls) {
      ARROW_ASSIGN_OR_RAISE(impl->channels_, server::ChannelServer::Start(
                                                 impl->state_, options.host, options.data_port,
                                                 options.advertised_data_port));
      impl->state_->SetOffer([channels = impl->channels_.get()](const server::Caller& caller) {
        return channels->Offer(caller);
      });
    }
    feed::LocalServer local;
    local.store = impl->state_->store;
    local.status = StatusOf(impl->state_);
    local.act = ActionsOf(impl->state_);
    local.open_order = OrdersOf(impl->state_);
    feed::RegisterLocal(impl->uri_, std::move(local));
    return impl;
  }

  ~Impl() {
    // A forked child has none of the server's threads: stopping there would wait for ever.
    if (::getpid() != pid_) {
      (void)service_.release();  // NOLINT(bugprone-unused-return-value)
      server::ChannelServer::Abandon(std::move(channels_));
      return;
    }
    (void)Stop(kShortGrace);
  }

  arrow::Status Stop(std::chrono::milliseconds grace) {
    if (::getpid() != pid_) return arrow::Status::OK();
    const std::lock_guard stopping(stop_mutex_);  // a second caller returns when the server is down
    if (service_ == nullptr) return arrow::Status::OK();
    feed::UnregisterLocal(uri_);
    state_->store->StopWaiting();
    state_->dealer->Stop();
    const auto deadline =
        std::chrono::system_clock::now() + std::max(grace, std::chrono::milliseconds(0));
    state_->SetOffer(nullptr);
    // Side by side: both refuse what is new at once, and share the time for what runs.
    std::thread channels = StartThread([&] {
      if (channels_ != nullptr) channels_->Stop(deadline);
    });
    arrow::Status status = service_->Shutdown(&deadline);
    status &= service_->Wait();
    channels.join();
    service_.reset();
    channels_.reset();
    const std::lock_guard lock(state_mutex_);
    last_ = state_->Status();
    state_.reset();  // lets go of the data directory
    return status;
  }

  proto::ServerStatus status() const {
    const std::lock_guard lock(state_mutex_);
    return state_ == nullptr ? last_ : state_->Status();
  }

  std::vector<proto::FeedInfo> feeds() const {
    const std::lock_guard lock(state_mutex_);
    return state_ == nullptr ? std::vector<proto::FeedInfo>() : state_->store->List();
  }

  arrow::Result<proto::ServerStatus> StatusFor(const std::string& authorization) const {
    const std::lock_guard lock(state_mutex_);
    if (state_ == nullptr) return Stopped();
    ARROW_ASSIGN_OR_RAISE(const auto caller, state_->auth->Authenticate(authorization));
    return state_->StatusFor(caller);
  }

  arrow::Result<std::vector<proto::FeedInfo>> FeedsFor(const std::string& authorization) const {
    const std::lock_guard lock(state_mutex_);
    if (state_ == nullptr) return Stopped();
    ARROW_ASSIGN_OR_RAISE(const auto caller, state_->auth->Authenticate(authorization));
    return state_->FeedsFor(caller);
  }

  const std::string& host() const { return host_; }
  int port() const { return port_; }
  int data_port() const { return channels_ == nullptr ? 0 : channels_->port(); }
  const std::string& uri() const { return uri_; }

 private:
  const pid_t pid_ = ::getpid();
  std::string host_;
  int port_ = 0;
  std::string uri_;
  std::mutex stop_mutex_;
  std::unique_ptr<server::FlightService> service_;
  std::unique_ptr<server::ChannelServer> channels_;
  mutable std::mutex state_mutex_;
  std::shared_ptr<server::ServiceState> state_;
  proto::ServerStatus last_;  // what status() answers once stopped
};

bool ChecksIncomingIpc() { return server::InstallIpcGuard(); }

arrow::Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  ARROW_RETURN_NOT_OK(ClaimGrpc());
  KeepFreedMemory();
  ARROW_ASSIGN_OR_RAISE(auto impl, Impl::Start(options));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

std::string Server::host() const { return impl_->host(); }
int Server::port() const { return impl_->port(); }
int Server::data_port() const { return impl_->data_port(); }
std::string Server::uri() const { return impl_->uri(); }
proto::ServerStatus Server::status() const { return impl_->status(); }
std::vector<proto::FeedInfo> Server::feeds() const { return impl_->feeds(); }
arrow::Result<proto::ServerStatus> Server::StatusFor(const std::string& authorization) const {
  return impl_->StatusFor(authorization);
}
arrow::Result<std::vector<proto::FeedInfo>> Server::FeedsFor(
    const std::string& authorization) const {
  return impl_->FeedsFor(authorization);
}
arrow::Status Server::Stop(std::chrono::milliseconds grace) { return impl_->Stop(grace); }

}  // namespace flightbridge
