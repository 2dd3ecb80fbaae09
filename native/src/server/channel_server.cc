#include "server/channel_server_internal.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <random>
#include <utility>

#include "common/thread.h"
#include "flightbridge/error.h"
#include "server/listen_internal.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

using channel::Fd;

constexpr int kBacklog = 256;
// How often parked puts are looked at.
constexpr int kSweepMs = 3'000;

arrow::Result<Fd> ListenTcp(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return Error(Code::kInvalidArgument, "host '", host, "' does not resolve");
  }
  Fd fd;
  int error = 0;
  for (const addrinfo* at = found; at != nullptr && !fd; at = at->ai_next) {
    Fd made(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (made) setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (made && bind(made.get(), at->ai_addr, at->ai_addrlen) == 0 &&
        listen(made.get(), kBacklog) == 0) {
      fd = std::move(made);
    } else {
      error = errno;
    }
  }
  freeaddrinfo(found);
  if (fd) return fd;
  return Error(Code::kFailedPrecondition, "cannot listen for data channels on ",
               HostPort(host, port), ": ", std::strerror(error),
               "; choose another port (--data-port 0 picks a free one)");
}

// An abstract socket leaves no file behind, whatever becomes of this process. Who connects still
// needs a key, and its name tells nobody where to connect.
Fd ListenLocal(std::string* name) {
  std::random_device random;
  *name = "flightbridge-";
  for (int i = 0; i < 32; ++i) name->push_back("0123456789abcdef"[random() & 15]);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name->data(), name->size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name->size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
      listen(fd.get(), kBacklog) == 0) {
    return fd;
  }
  name->clear();
  return {};
}

int PortOf(const Fd& fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
             : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

// Whether a connection never left this machine. A hint only: nothing is granted for it.
bool OwnAddress(int fd) {
  sockaddr_storage own = {};
  sockaddr_storage peer = {};
  socklen_t own_size = sizeof(own);
  socklen_t peer_size = sizeof(peer);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0 ||
      own.ss_family != peer.ss_family) {
    return false;
  }
  if (own.ss_family == AF_INET6) {
    return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(own).sin6_addr,
                       &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr,
                       sizeof(in6_addr)) == 0;
  }
  if (own.ss_family != AF_INET) return false;
  const in_addr_t mine = reinterpret_cast<const sockaddr_in&>(own).sin_addr.s_addr;
  const in_addr_t theirs = reinterpret_cast<const sockaddr_in&>(peer).sin_addr.s_addr;
  const auto loopback = [](in_addr_t address) { return (ntohl(address) >> 24) == IN_LOOPBACKNET; };
  // 127.0.1.1, which some systems call the machine's name, answers to 127.0.0.1.
  return mine == theirs || (loopback(mine) && loopback(theirs));
}

// Mapped memory holds more than one feed: only for those who could read it anyway.
bool SameUser(int fd) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == geteuid() || peer.uid == 0);
}

}  // namespace

arrow::Result<std::unique_ptr<ChannelServer>> ChannelServer::Start(
    std::shared_ptr<ServiceState> state, const std::string& host, int port, int advertised_port) {
  auto server = std::unique_ptr<ChannelServer>(new ChannelServer);
  server->context_.state = std::move(state);
  ARROW_RETURN_NOT_OK(server->Listen(host, port));
  server->advertised_port_ = advertised_port == 0 ? server->port_ : advertised_port;
  server->acceptor_ = StartThread([raw = server.get()] { raw->Run(); });
  return server;
}

arrow::Status ChannelServer::Listen(const std::string& host, int port) {
  ARROW_ASSIGN_OR_RAISE(tcp_, ListenTcp(host, port));
  port_ = PortOf(tcp_);
  local_ = ListenLocal(&local_name_);
  wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return wake_ ? arrow::Status::OK()
               : Error(Code::kResourceExhausted, "no more file descriptors: raise ulimit -n");
}

ChannelServer::~ChannelServer() { Stop(std::chrono::system_clock::now()); }

proto::ChannelOffer ChannelServer::Offer(const Caller& caller) {
  proto::ChannelOffer offer;
  offer.key = context_.keys.Issue(caller);
  offer.port = static_cast<uint32_t>(advertised_port_);
  offer.local_name = local_name_;
  return offer;
}

void ChannelServer::Run() {
  std::array<pollfd, 3> waits = {pollfd{wake_.get(), POLLIN, 0}, pollfd{tcp_.get(), POLLIN, 0},
                                 pollfd{local_.get(), POLLIN, 0}};  // a negative one is ignored
  while (!stopping_.load(std::memory_order_acquire)) {
    poll(waits.data(), waits.size(), kSweepMs);
    if ((waits[1].revents & POLLIN) != 0) Accept(tcp_.get(), false);
    if ((waits[2].revents & POLLIN) != 0) Accept(local_.get(), true);
    uint64_t count = 0;
    (void)!read(wake_.get(), &count, sizeof(count));
    context_.puts.Sweep();
    Reap();
  }
}

void ChannelServer::Accept(int listener, bool local) {
  Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    // Out of descriptors: the connection stays in the queue, and this must not spin meanwhile.
    if (errno == EMFILE || errno == ENFILE) {
      pollfd wait = {wake_.get(), POLLIN, 0};
      poll(&wait, 1, 100);
    }
    return;
  }
  ChannelPeer peer;
  peer.local = local && SameUser(fd.get());
  if (local && !peer.local) return;
  peer.same_host = !local && OwnAddress(fd.get());
  auto frames = std::make_unique<channel::Frames>(std::move(fd), std::chrono::milliseconds(1000));
  const std::lock_guard lock(mutex_);
  if (connections_.size() >= kMostConnections) {
    (void)frames->SendError(Reply(
        Error(Code::kResourceExhausted, "this server has ", kMostConnections,
              " data channels open, and takes no more: use fewer connections, or more servers")));
    return;
  }
  Connection& connection = connections_.emplace_back();
  connection.frames = std::move(frames);
  connection.thread = StartThread([this, &connection, peer] {
    ServeChannel(&context_, peer, connection.frames.get());
    // The peer is to see the end now, and not when the thread is reaped.
    connection.frames->socket().Break();
    connection.done.store(true, std::memory_order_release);
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
  });
}

void ChannelServer::Reap() {
  const std::lock_guard lock(mutex_);
  std::erase_if(connections_, [](Connection& connection) {
    if (!connection.done.load(std::memory_order_acquire)) return false;
    connection.thread.join();
    return true;
  });
}

void ChannelServer::Stop(std::chrono::system_clock::time_point deadline) {
  if (stopping_.exchange(true)) return;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  if (acceptor_.joinable()) acceptor_.join();
  tcp_.Close();
  local_.Close();
  context_.Drain(deadline);
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) connection.frames->socket().Break();
  }
  for (Connection& connection : connections_) connection.thread.join();
  connections_.clear();
  context_.puts.Clear();
}

void ChannelServer::Abandon(std::unique_ptr<ChannelServer> server) {
  (void)server.release();  // NOLINT(bugprone-unused-return-value)
}

}  // namespace flightbridge::server
