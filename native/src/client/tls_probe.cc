// A connection that says hello in TLS, to tell a server that speaks it from one that does not.
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "client/tls.h"

namespace flightbridge::client {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::string;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

Bytes Raw(std::initializer_list<int> bytes) {
  Bytes out;
  for (const int byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

// `body` behind its length in two bytes.
Bytes Sized(const Bytes& body) {
  return Raw({static_cast<int>(body.size() >> 8), static_cast<int>(body.size() & 255)}) + body;
}

// RFC 5246, section 7.4.1.2: a ClientHello of TLS 1.2 that any server of today can answer.
Bytes ClientHello() {
  const Bytes suites = Raw({0xC0, 0x2B, 0xC0, 0x2F, 0xC0, 0x2C, 0xC0, 0x30, 0x00, 0x9C});
  const Bytes groups = Raw({0x00, 0x0A}) + Sized(Sized(Raw({0x00, 0x1D, 0x00, 0x17, 0x00, 0x18})));
  const Bytes formats = Raw({0x00, 0x0B}) + Sized(Raw({0x01, 0x00}));
  const Bytes signatures =
      Raw({0x00, 0x0D}) + Sized(Sized(Raw({0x04, 0x03, 0x08, 0x04, 0x04, 0x01, 0x05, 0x03, 0x08,
                                           0x05, 0x05, 0x01, 0x06, 0x03, 0x08, 0x06, 0x06, 0x01})));
  // Nothing is ever encrypted with it, so that any random will do.
  const Bytes random(32, 'f');
  const Bytes hello = Raw({0x03, 0x03}) + random + Raw({0x00}) + Sized(suites) + Raw({0x01, 0x00}) +
                      Sized(groups + formats + signatures);
  return Raw({0x16, 0x03, 0x01}) + Sized(Raw({0x01, 0x00}) + Sized(hello));
}

bool WaitFor(int fd, int16_t events, Clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wanted{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (ready >= 0 || errno != EINTR) return ready == 1;
  }
}

bool AnswersInTls(const addrinfo& address, Clock::time_point deadline) {
  const Socket socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return false;
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0 &&
      (errno != EINPROGRESS || !WaitFor(socket.get(), POLLOUT, deadline)))
    return false;
  const Bytes hello = ClientHello();
  if (::send(socket.get(), hello.data(), hello.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(hello.size()))
    return false;
  // The type of the first record, handshake or alert, and the major version.
  Bytes answer;
  while (answer.size() < 2) {
    if (!WaitFor(socket.get(), POLLIN, deadline)) return false;
    char block[16];
    const ssize_t got = ::recv(socket.get(), block, sizeof(block), 0);
    if (got <= 0) return false;
    answer.append(block, static_cast<size_t>(got));
  }
  return (answer[0] == 0x16 || answer[0] == 0x15) && answer[1] == 0x03;
}

}  // namespace

bool SpeaksTls(const Endpoint& endpoint, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found) !=
      0)
    return false;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    if (AnswersInTls(*address, deadline)) return true;
  }
  return false;
}

}  // namespace flightbridge::client
