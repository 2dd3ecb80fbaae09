#include "client/uri.h"

#include <algorithm>
#include <charconv>

#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

arrow::Status BadUri(std::string_view uri, std::string_view why) {
  return Error(
      Code::kInvalidArgument, "uri '", uri, "' ", why,
      ": write grpc://HOST:PORT, or grpc+tls://HOST:PORT for a server with TLS, for example "
      "grpc://127.0.0.1:8815");
}

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_';
}

}  // namespace

std::string Endpoint::ToUri() const {
  const bool v6 = host.find(':') != std::string::npos;
  return std::string(tls ? "grpc+tls://" : "grpc://") + (v6 ? "[" + host + "]" : host) + ":" +
         std::to_string(port);
}

arrow::Result<Endpoint> ParseUri(std::string_view uri) {
  constexpr std::string_view kScheme = "grpc://";
  constexpr std::string_view kTlsScheme = "grpc+tls://";
  Endpoint endpoint;
  endpoint.tls = uri.starts_with(kTlsScheme);
  if (!endpoint.tls && !uri.starts_with(kScheme))
    return BadUri(uri, "does not start with grpc:// or grpc+tls://");
  std::string_view rest = uri.substr(endpoint.tls ? kTlsScheme.size() : kScheme.size());

  if (rest.starts_with('[')) {  // an IPv6 literal
    const size_t close = rest.find(']');
    if (close == std::string_view::npos || close == 1) return BadUri(uri, "has no IPv6 address");
    endpoint.host = rest.substr(1, close - 1);
    if (endpoint.host.find_first_not_of("0123456789abcdefABCDEF:.%") != std::string::npos)
      return BadUri(uri, "has no IPv6 address");
    rest.remove_prefix(close + 1);
    if (!rest.starts_with(':')) return BadUri(uri, "has no port");
  } else {
    const size_t colon = rest.find(':');
    if (colon == std::string_view::npos) return BadUri(uri, "has no port");
    endpoint.host = rest.substr(0, colon);
    if (endpoint.host.empty()) return BadUri(uri, "has no host");
    for (const char c : endpoint.host) {
      if (!IsHostCharacter(c)) return BadUri(uri, "has a host that is no host name or address");
    }
    rest.remove_prefix(colon);
  }
  rest.remove_prefix(1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), endpoint.port);
  if (error != std::errc{} || end != rest.data() + rest.size() || endpoint.port < 1 ||
      endpoint.port > 65535)
    return BadUri(uri, "has a port that is not a number from 1 to 65535");
  return endpoint;
}

arrow::Result<std::vector<std::string>> ParseServers(std::string_view uris) {
  std::vector<std::string> servers;
  const size_t scheme = uris.find("://");
  const std::string prefix(scheme == std::string_view::npos ? "" : uris.substr(0, scheme + 3));
  for (std::string_view rest = uris;;) {
    const size_t comma = rest.find(',');
    std::string one(rest.substr(0, comma));
    if (one.find("://") == std::string::npos) one.insert(0, prefix);
    if (comma != std::string_view::npos || !servers.empty()) {
      ARROW_ASSIGN_OR_RAISE(const Endpoint endpoint, ParseUri(one));
      one = endpoint.ToUri();
    }
    servers.push_back(std::move(one));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::ranges::sort(servers);
  if (const auto twice = std::ranges::adjacent_find(servers); twice != servers.end())
    return BadUri(uris, "names " + *twice + " twice");
  return servers;
}

}  // namespace flightbridge::client
