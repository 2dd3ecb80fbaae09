// grpc://HOST:PORT and grpc+tls://HOST:PORT, the two forms of a server's address.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

namespace flightbridge::client {

struct Endpoint {
  std::string host;  // without the brackets of an IPv6 literal
  int port = 0;
  bool tls = false;

  std::string ToUri() const;
};

// INVALID_ARGUMENT shows the URI and the form it must have.
arrow::Result<Endpoint> ParseUri(std::string_view uri);

// The servers of grpc://HOST:PORT,HOST:PORT,... (each may repeat the scheme), as URIs, sorted.
// INVALID_ARGUMENT also for one that is named twice.
arrow::Result<std::vector<std::string>> ParseServers(std::string_view uris);

}  // namespace flightbridge::client
