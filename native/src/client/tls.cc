#include "client/tls.h"

#include <array>

#include "common/pem_file.h"
#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

constexpr std::chrono::milliseconds kProbe{1000};

struct Cause {
  std::string_view words;  // of gRPC and OpenSSL
  std::string_view meaning;
};

constexpr std::array kCauses = {
    Cause{"certificate has expired", "its certificate has expired: renew the server's certificate"},
    Cause{"certificate is not yet valid",
          "its certificate is not valid yet: look at both machines' clocks"},
    Cause{
        "wrong version number",
        "it does not speak TLS: use grpc:// in the uri, or start it with --tls-cert and --tls-key"},
    Cause{"is not in peer certificate",
          "its certificate is for another host: use a host name that stands in the certificate, or "
          "set tls_override_hostname to one"},
    Cause{"unable to get local issuer certificate",
          "its certificate was not signed by a CA that this client trusts: set tls_ca to the PEM "
          "file of the CA that signed it"},
    Cause{"self-signed certificate",
          "its certificate is signed by itself or by an unknown CA: set "
          "tls_ca to the PEM file of the CA that signed it"},
    Cause{"certificate verify failed",
          "its certificate is not accepted: look at it, and at tls_ca"},
};

bool Dropped(std::string_view message) {
  return message.find("Socket closed") != std::string_view::npos ||
         message.find("onnection reset") != std::string_view::npos ||
         message.find("roken pipe") != std::string_view::npos ||
         message.find("andshake") != std::string_view::npos;
}

}  // namespace

arrow::Status ConfigureTls(const TlsOptions& tls, const Endpoint& endpoint,
                           arrow::flight::FlightClientOptions* out) {
  if (!endpoint.tls) {
    if (tls.empty()) return arrow::Status::OK();
    return Error(Code::kInvalidArgument, "TLS settings are given for ", endpoint.ToUri(),
                 ", which is plain text: write grpc+tls:// in the uri, or leave them out");
  }
  if (tls.client_cert.empty() != tls.client_key.empty()) {
    return Error(Code::kInvalidArgument,
                 tls.client_cert.empty() ? "tls_client_key" : "tls_client_cert", " is set and ",
                 tls.client_cert.empty() ? "tls_client_cert" : "tls_client_key",
                 " is not: give both, or neither");
  }
  if (!tls.ca.empty()) {
    ARROW_ASSIGN_OR_RAISE(out->tls_root_certs, ReadPemFile("tls_ca", tls.ca, "CERTIFICATE"));
  }
  if (!tls.client_cert.empty()) {
    ARROW_ASSIGN_OR_RAISE(out->cert_chain,
                          ReadPemFile("tls_client_cert", tls.client_cert, "CERTIFICATE"));
    ARROW_ASSIGN_OR_RAISE(out->private_key,
                          ReadPemFile("tls_client_key", tls.client_key, "PRIVATE KEY"));
  }
  out->override_hostname = tls.override_hostname;
  return arrow::Status::OK();
}

std::string ExplainTls(const TlsOptions& tls, const Endpoint& endpoint, std::string_view message) {
  const std::string server = "the server at " + endpoint.ToUri() + " cannot be used: ";
  if (!endpoint.tls) {
    if (!Dropped(message) || !SpeaksTls(endpoint, kProbe)) return "";
    Endpoint secure = endpoint;
    secure.tls = true;
    return "the server at " + endpoint.ToUri() + " speaks TLS: use " + secure.ToUri();
  }
  for (const Cause& cause : kCauses) {
    if (message.find(cause.words) != std::string_view::npos)
      return server + std::string(cause.meaning);
  }
  if (!Dropped(message) || !SpeaksTls(endpoint, kProbe)) return "";
  if (tls.client_cert.empty()) {
    return server +
           "it ends the TLS handshake, as one does that asks for a client certificate: set "
           "tls_client_cert and tls_client_key";
  }
  return server +
         "it ends the TLS handshake, as one does that does not accept the client certificate: look "
         "at the dates of tls_client_cert, and whether the server's --tls-client-ca has signed it";
}

}  // namespace flightbridge::client
