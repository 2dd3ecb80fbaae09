#include "server/tls_internal.h"

#include <utility>

#include "common/pem_file.h"
#include "flightbridge/error.h"

namespace flightbridge::server {

arrow::Result<bool> WantsTls(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return Error(Code::kInvalidArgument, options.tls_cert.empty() ? "tls_key" : "tls_cert",
                 " is set and ", options.tls_cert.empty() ? "tls_cert" : "tls_key",
                 " is not: give both (--tls-cert and --tls-key), or neither for plain text");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return Error(Code::kInvalidArgument,
                 "tls_client_ca asks clients for certificates, which needs TLS: set tls_cert and "
                 "tls_key, too (--tls-cert and --tls-key)");
  }
  return !options.tls_cert.empty();
}

arrow::Status ConfigureTls(const ServerOptions& options, arrow::flight::FlightServerOptions* out) {
  arrow::flight::CertKeyPair pair;
  ARROW_ASSIGN_OR_RAISE(pair.pem_cert, ReadPemFile("tls_cert", options.tls_cert, "CERTIFICATE"));
  ARROW_ASSIGN_OR_RAISE(pair.pem_key, ReadPemFile("tls_key", options.tls_key, "PRIVATE KEY"));
  out->tls_certificates.push_back(std::move(pair));
  if (!options.tls_client_ca.empty()) {
    ARROW_ASSIGN_OR_RAISE(out->root_certificates,
                          ReadPemFile("tls_client_ca", options.tls_client_ca, "CERTIFICATE"));
    out->verify_client = true;
  }
  return arrow::Status::OK();
}

}  // namespace flightbridge::server
