// A TCP proxy that misbehaves on purpose: cuts connections, flips bits, holds bytes back.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace flightbridge::testing {

// Between any number of clients and one port of this machine.
class Proxy {
 public:
  struct Fault {
    int64_t cut_after = -1;  // bytes of one direction, after which the connection is reset
    int64_t flip_at = -1;    // the byte of one direction in which a bit is flipped
    bool upstream = true;    // which direction counts: client to server, or back
  };

  // `next_fault` is asked for each connection.
  Proxy(std::function<Fault(int)> next_fault) : next_fault_(std::move(next_fault)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    listen(listener_, 64);
    socklen_t size = sizeof(address);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~Proxy() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    for (std::thread& pump : pumps_) pump.join();
  }

  int port() const { return port_; }
  void set_target(int port) { target_ = port; }
  int connections() const { return connections_; }
  // Resets every connection there is now, also those whose bytes nobody takes.
  void CutAll() {
    const std::lock_guard lock(mutex_);
    for (const auto& [client, server] : open_) {
      shutdown(client, SHUT_RDWR);
      shutdown(server, SHUT_RDWR);
    }
  }
  // Bytes passed from the server to clients.
  int64_t passed_back() const { return passed_back_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void Accept() {
    while (!stopping_) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = Loopback(target_);
      if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        close(client);
        close(server);
        continue;
      }
      const Fault fault = next_fault_(connections_++);
      pumps_.emplace_back([this, client, server, fault] { Pump(client, server, fault); });
    }
  }

  void Pump(int client, int server, const Fault& fault) {
    std::vector<uint8_t> bytes(64 << 10);
    int64_t counted = 0;
    bool open = true;
    {
      const std::lock_guard lock(mutex_);
      open_.emplace(client, server);
    }
    while (open && !stopping_) {
      pollfd waits[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (poll(waits, 2, 50) <= 0) continue;
      for (int i = 0; i < 2 && open; ++i) {
        if (waits[i].revents == 0) continue;
        const bool upstream = i == 0;
        const ssize_t count = recv(waits[i].fd, bytes.data(), bytes.size(), 0);
        if (count <= 0) {
          open = false;
          break;
        }
        ssize_t pass = count;
        if (upstream == fault.upstream) {
          if (fault.flip_at >= counted && fault.flip_at < counted + count) {
            bytes[static_cast<size_t>(fault.flip_at - counted)] ^= 0x10;
          }
          if (fault.cut_after >= 0 && counted + count > fault.cut_after) {
            pass = static_cast<ssize_t>(fault.cut_after - counted);
            open = false;
          }
          counted += count;
        }
        const int to = upstream ? server : client;
        for (ssize_t sent = 0; sent < pass;) {
          const ssize_t n =
              send(to, bytes.data() + sent, static_cast<size_t>(pass - sent), MSG_NOSIGNAL);
          if (n <= 0) {
            open = false;
            break;
          }
          sent += n;
          if (!upstream) passed_back_ += n;
        }
      }
    }
    const std::lock_guard lock(mutex_);
    open_.erase(client);
    // A reset, not an orderly end.
    const linger now = {1, 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    setsockopt(server, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(client);
    close(server);
  }

  std::function<Fault(int)> next_fault_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> target_{0};
  std::atomic<int> connections_{0};
  std::atomic<int64_t> passed_back_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::map<int, int> open_;  // client to server
  std::thread acceptor_;
  std::list<std::thread> pumps_;
};

}  // namespace flightbridge::testing
