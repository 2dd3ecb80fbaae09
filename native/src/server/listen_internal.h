// Where a server listens, checked before anything is opened.
#pragma once

#include <string>

#include <arrow/status.h>

namespace flightbridge::server {

// What stands between a server and those who can reach it.
struct Protection {
  bool tls = false;
  bool tokens = false;
  bool waived = false;  // with insecure
};

// INVALID_ARGUMENT for a host that does not resolve or is not this machine's;
// PERMISSION_DENIED for one that others can reach, unless there are both TLS and tokens;
// FAILED_PRECONDITION for a port in use.
arrow::Status CheckListen(const std::string& host, int port, const Protection& protection);

// "HOST:PORT" as it stands in a URI: IPv6 addresses in brackets.
std::string HostPort(const std::string& host, int port);

}  // namespace flightbridge::server
