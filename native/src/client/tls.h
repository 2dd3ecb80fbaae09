// The client's side of TLS: its files, and what went wrong when a connection could not be made.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <arrow/flight/client.h>
#include <arrow/status.h>

#include "client/uri.h"
#include "flightbridge/client.h"

namespace flightbridge::client {

// Reads the files into Flight's options. INVALID_ARGUMENT names the setting and the file, and
// refuses TLS settings for a plain grpc:// endpoint, where they would be of no use.
arrow::Status ConfigureTls(const TlsOptions& tls, const Endpoint& endpoint,
                           arrow::flight::FlightClientOptions* out);

// What the transport's words about a failed connection mean and what to do, or empty where they
// have nothing to do with TLS. May ask the server once more, for at most a second.
std::string ExplainTls(const TlsOptions& tls, const Endpoint& endpoint, std::string_view message);

// Whether what listens there answers to the beginning of a TLS handshake. Blocks up to `timeout`.
bool SpeaksTls(const Endpoint& endpoint, std::chrono::milliseconds timeout);

}  // namespace flightbridge::client
