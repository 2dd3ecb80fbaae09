// Where data channels are opened: a TCP port beside Flight's, and a Unix socket for this machine.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <arrow/result.h>

#include "channel/frames.h"
#include "flightbridge/proto/commands.h"
#include "server/channel_session_internal.h"

namespace flightbridge::server {

// One thread accepts, and each connection has one of its own: they spend their time in the kernel,
// copying.
class ChannelServer {
 public:
  // More are refused; each has a thread and a socket buffer.
  static constexpr size_t kMostConnections = 1024;

  // Listens. `port` 0 picks a free one; clients are told `advertised_port`, where it is not 0.
  // FAILED_PRECONDITION for a port in use.
  static arrow::Result<std::unique_ptr<ChannelServer>> Start(std::shared_ptr<ServiceState> state,
                                                             const std::string& host, int port,
                                                             int advertised_port = 0);
  ~ChannelServer();
  ChannelServer(const ChannelServer&) = delete;
  ChannelServer& operator=(const ChannelServer&) = delete;

  int port() const { return port_; }
  proto::ChannelOffer Offer(const Caller& caller);
  // Takes no more connections, waits until `deadline` for running puts and gets, then breaks them
  // off. Idempotent.
  void Stop(std::chrono::system_clock::time_point deadline);
  // In a forked child: lets go of everything without touching it.
  static void Abandon(std::unique_ptr<ChannelServer> server);

 private:
  struct Connection {
    std::unique_ptr<channel::Frames> frames;
    std::thread thread;
    std::atomic<bool> done{false};
  };

  ChannelServer() = default;
  arrow::Status Listen(const std::string& host, int port);
  void Run();
  void Accept(int listener, bool local);
  void Reap();

  ChannelContext context_;
  channel::Fd tcp_;
  channel::Fd local_;
  channel::Fd wake_;  // an eventfd
  int port_ = 0;
  int advertised_port_ = 0;
  std::string local_name_;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
  std::mutex mutex_;
  std::list<Connection> connections_;
};

}  // namespace flightbridge::server
