#include "server/listen_internal.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "flightbridge/error.h"

namespace flightbridge::server {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  if (address->sa_family == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr) != 0;
  }
  return false;
}

// Binds as the server will and lets go again, so that a failure can be told from others.
arrow::Status ProbeBind(const addrinfo& address, const std::string& host, int port) {
  const int fd = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return Error(Code::kUnavailable, "cannot open a socket for ", HostPort(host, port), ": ",
                 std::strerror(errno));
  }
  // As gRPC does: connections of an earlier server in TIME_WAIT are no reason to refuse.
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const int failed =
      ::bind(fd, address.ai_addr, address.ai_addrlen) != 0 || ::listen(fd, 1) != 0 ? errno : 0;
  ::close(fd);
  switch (failed) {
    case 0: return arrow::Status::OK();
    case EADDRINUSE:
      return Error(Code::kFailedPrecondition, HostPort(host, port),
                   " is in use by another process: stop it, or choose another port (--port 0 picks "
                   "a free one)");
    case EACCES:
      return Error(
          Code::kPermissionDenied, "not allowed to listen on ", HostPort(host, port),
          ": ports below 1024 need privileges, choose a higher one (--port 0 picks a free one)");
    case EADDRNOTAVAIL:
      return Error(Code::kInvalidArgument, "host '", host,
                   "' is not an address of this machine: use 127.0.0.1, or an address it has");
    default:
      return Error(Code::kUnavailable, "cannot listen on ", HostPort(host, port), ": ",
                   std::strerror(failed));
  }
}

}  // namespace

arrow::Status CheckListen(const std::string& host, int port, const Protection& protection) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  const AddressList addresses(found, &freeaddrinfo);
  if (failed != 0 || host.empty()) {
    return Error(Code::kInvalidArgument, "host '", host, "' does not resolve",
                 failed != 0 ? std::string(": ") + gai_strerror(failed) : "",
                 "; use 127.0.0.1, or a name or address of this machine");
  }
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const bool closed = protection.waived || (protection.tls && protection.tokens);
    if (!closed && !IsLoopback(address->ai_addr)) {
      return Error(Code::kPermissionDenied, "host '", host,
                   "' can be reached from other machines, and this server has ",
                   protection.tls      ? "TLS but no tokens"
                   : protection.tokens ? "tokens but no TLS, so that they could be read on the way"
                                       : "neither TLS nor tokens",
                   ": listen on 127.0.0.1, set tls_cert, tls_key and token_file (--tls-cert, "
                   "--tls-key, --token-file), or allow it with insecure=True (--insecure)");
    }
  }
  return ProbeBind(*found, host, port);
}

std::string HostPort(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace flightbridge::server
