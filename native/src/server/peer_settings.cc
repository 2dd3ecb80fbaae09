#include <algorithm>
#include <string_view>

#include "client/uri.h"
#include "common/pem_file.h"
#include "common/secret_file.h"
#include "flightbridge/error.h"
#include "server/peer_settings_internal.h"

namespace flightbridge::server {
namespace {

arrow::Result<std::string> ReadToken(const std::string& path) {
  constexpr std::string_view kBlank = " \t\r\n";
  ARROW_ASSIGN_OR_RAISE(std::string text,
                        ReadSecretFile("peer_token_file (--peer-token-file)", path, nullptr));
  text.erase(text.find_last_not_of(kBlank) + 1);
  text.erase(0, text.find_first_not_of(kBlank));
  if (!text.empty() && text.find_first_of(kBlank) == std::string::npos) return text;
  return Error(Code::kInvalidArgument, "peer_token_file (--peer-token-file) ", path,
               text.empty() ? " is empty" : " holds more than one word",
               ": it must hold the token to show to other servers and nothing else");
}

bool IsTls(std::string_view uri) { return uri.starts_with("grpc+tls:"); }

}  // namespace

arrow::Result<PeerSettings> PeerSettings::Make(const ServerOptions& options) {
  PeerSettings made;
  made.has_tokens_ = !options.token_file.empty();
  made.token_file_ = options.peer_token_file;
  made.tls_.ca = options.peer_tls_ca;
  made.tls_.client_cert = options.tls_cert;
  made.tls_.client_key = options.tls_key;
  if (!options.peers.empty()) {
    ARROW_ASSIGN_OR_RAISE(made.servers_, client::ParseServers(options.peers));
    for (std::string& uri : made.servers_) {
      ARROW_ASSIGN_OR_RAISE(const auto endpoint, client::ParseUri(uri));
      uri = endpoint.ToUri();
    }
  }
  if (!made.token_file_.empty()) {
    if (made.servers_.empty()) {
      return Error(Code::kInvalidArgument,
                   "peer_token_file is set and peers is not, so that the token would go to any "
                   "server that a writer names: set peers to those that may have it (--peers "
                   "grpc+tls://HOST:PORT,HOST:PORT)");
    }
    ARROW_RETURN_NOT_OK(ReadToken(made.token_file_).status());
  }
  if (!made.tls_.ca.empty()) {
    ARROW_RETURN_NOT_OK(ReadPemFile("peer_tls_ca", made.tls_.ca, "CERTIFICATE").status());
  }
  return made;
}

bool PeerSettings::Knows(const std::string& uri) const {
  return servers_.empty() || std::ranges::binary_search(servers_, uri);
}

std::string PeerSettings::Listed() const {
  std::string text;
  for (const std::string& uri : servers_) text += (text.empty() ? "" : ",") + uri;
  return text;
}

arrow::Status PeerSettings::Admit(const std::string& feed,
                                  const std::vector<std::string>& servers) const {
  if (has_tokens_ && token_file_.empty()) {
    return Error(Code::kFailedPrecondition, "feed '", feed,
                 "' cannot span several servers: this one asks for tokens and has none to ask the "
                 "others with; start each of them with --peer-token-file, a token that has peer:",
                 feed, " on the others, and --peers");
  }
  for (const std::string& uri : servers) {
    if (Knows(uri)) continue;
    return Error(Code::kFailedPrecondition, "feed '", feed, "' cannot be on ", uri,
                 ": this server may ask only ", Listed(),
                 "; name those, spelled the same, or start it with that one in --peers, too");
  }
  return {};
}

arrow::Result<ClientOptions> PeerSettings::ToAsk(const std::string& uri) const {
  if (!Knows(uri)) {  // a job from before a restart with other settings
    return Error(Code::kFailedPrecondition, "this server may not ask ", uri,
                 ": it is not in --peers, ", Listed());
  }
  ClientOptions options;
  options.uri = uri;
  if (!token_file_.empty()) {
    ARROW_ASSIGN_OR_RAISE(options.token, ReadToken(token_file_));
  }
  if (IsTls(uri)) options.tls = tls_;
  return options;
}

arrow::Status PeerSettings::Explain(const std::string& uri, const arrow::Status& status) const {
  switch (CodeOf(status)) {
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
      return Error(
          Code::kFailedPrecondition, "this server may not ask ", uri, " (", status.message(), "): ",
          token_file_.empty()
              ? "set --peer-token-file to a file with a token, and --peers; give that token"
              : "the token in --peer-token-file " + token_file_ + " must have",
          " the scope peer, such as peer:*, in the token file of ", uri);
    case Code::kUnavailable:
      if (!IsTls(uri)) return status;
      return Error(Code::kUnavailable, status.message(),
                   "; this server's settings for that are --peer-tls-ca (now ",
                   tls_.ca.empty() ? "the system's CAs" : tls_.ca,
                   ") and its own certificate, --tls-cert and --tls-key");
    default: return status;
  }
}

}  // namespace flightbridge::server
