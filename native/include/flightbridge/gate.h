// What stands before a Flight server that is not ours, such as one written in Python: where it may
// listen, who may call it, and how large a message may be. The same rules as
// flightbridge::Server's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

#include "flightbridge/export.h"

namespace flightbridge {

struct GateOptions {
  std::string host;
  int port = 0;
  bool tls = false;
  std::string token_file;  // empty: whoever can connect may do everything
  bool insecure = false;
};

// Thread-safe.
class FB_EXPORT Gate {
 public:
  // Checks the address as Server::Start() does, reads the token file, and has messages from outside
  // checked before Arrow decodes them. INVALID_ARGUMENT, FAILED_PRECONDITION (the port is in use)
  // or PERMISSION_DENIED (others reach the host, and TLS or tokens are missing).
  static arrow::Result<std::unique_ptr<Gate>> Open(const GateOptions& options);
  ~Gate();

  // Whether the caller with this `authorization` header may read what is called `name`:
  // UNAUTHENTICATED or PERMISSION_DENIED.
  arrow::Status Admit(std::string_view authorization, const std::string& name) const;

 private:
  class Impl;
  explicit Gate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// From now on no IPC message that this thread opens may be larger than `max_bytes`, decompressed.
FB_EXPORT void LimitIpcMessages(int64_t max_bytes);

}  // namespace flightbridge
