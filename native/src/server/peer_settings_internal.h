// Which servers this one may ask about feeds that span several, and what it shows to them.
#pragma once

#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "flightbridge/client.h"
#include "flightbridge/server.h"

namespace flightbridge::server {

// Immutable. A writer names the servers of a feed; so a token is shown only to those that the
// server's own settings name.
class PeerSettings {
 public:
  // Without credentials, for any server.
  PeerSettings() = default;
  // INVALID_ARGUMENT where a setting lacks another, or a file cannot be used.
  static arrow::Result<PeerSettings> Make(const ServerOptions& options);

  // FAILED_PRECONDITION, naming the setting, where this server could not or must not ask those.
  arrow::Status Admit(const std::string& feed, const std::vector<std::string>& servers) const;
  // For a connection to one of them; reads the token file.
  arrow::Result<ClientOptions> ToAsk(const std::string& uri) const;
  // A failure to ask it as an error about this server's settings, where that is what it is.
  arrow::Status Explain(const std::string& uri, const arrow::Status& status) const;

 private:
  bool Knows(const std::string& uri) const;
  std::string Listed() const;

  std::vector<std::string> servers_;  // sorted; empty: any
  std::string token_file_;
  TlsOptions tls_;
  bool has_tokens_ = false;  // this server asks its callers for one
};

}  // namespace flightbridge::server
