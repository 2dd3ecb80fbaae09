// grpc://HOST:PORT and grpc+tls://HOST:PORT, the two forms of a server's address.
#pragma once

#include <string>
#include <string_view>

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

}  // namespace flightbridge::client
