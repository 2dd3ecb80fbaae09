// The FlightBridge server: an Arrow Flight service over a store of feeds.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "flightbridge/export.h"

namespace flightbridge {

namespace proto {
struct FeedInfo;
struct ServerStatus;
}  // namespace proto

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                  // 0: any free port
  int data_port = 0;             // of the data channel; 0: any free port, -1: none
  int advertised_data_port = 0;  // what clients are told, behind a port mapping; 0: data_port
  std::string data_dir;          // empty: feeds live in memory
  int64_t memory_limit_bytes = 1 << 30;  // for everything held in memory
  int64_t spill_limit_bytes = -1;        // for segments in data_dir; -1: only the disk limits them
  std::chrono::milliseconds put_wait{30'000};    // how long a put waits for room
  std::chrono::milliseconds job_ttl{3'600'000};  // a write job without any call for so long ends
  int64_t max_batch_bytes = 256 << 20;           // a larger record batch is refused
  int64_t max_streams = 1024;                    // puts and gets at the same time
  int64_t max_feeds = 10'000;                    // committed and open ones
  std::string token_file;                        // who may do what; empty: no tokens, everybody may
  // Paths of PEM files. With a certificate and its key the server speaks TLS and nothing else; with
  // client_ca it asks every client for a certificate that this CA has signed.
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  // For feeds that span several servers, which ask one another: grpc://HOST:PORT,HOST:PORT of those
  // that this one may ask (empty: any that a writer names), a file that holds the token to show
  // them and nothing else, and who may have signed their certificates. This server's certificate
  // is its client certificate, too.
  std::string peers;
  std::string peer_token_file;
  std::string peer_tls_ca;
  bool insecure = false;  // allow a non-loopback host without TLS and tokens
};

// Whether messages from outside are checked before Arrow decodes them. False with a build of Arrow
// in which the place for that check is not found: a server then works, but its process can be made
// to end by a malformed message, and to fill its memory by a compressed one.
FB_EXPORT bool ChecksIncomingIpc();

// Thread-safe. Start() returns once calls are served; data handlers run no Python and hold no GIL.
class FB_EXPORT Server {
 public:
  static arrow::Result<std::unique_ptr<Server>> Start(const ServerOptions& options);
  ~Server();  // Stop() with a short deadline

  std::string host() const;
  int port() const;
  int data_port() const;                       // of the data channel; 0: none
  std::string uri() const;                     // grpc://HOST:PORT, grpc+tls:// with TLS
  proto::ServerStatus status() const;          // once stopped: as it was then
  std::vector<proto::FeedInfo> feeds() const;  // committed and open ones; none once stopped

  // The same as a caller with this `authorization` header ("Bearer TOKEN") may see it;
  // UNAUTHENTICATED where the server has tokens and this is none of them.
  arrow::Result<proto::ServerStatus> StatusFor(const std::string& authorization) const;
  arrow::Result<std::vector<proto::FeedInfo>> FeedsFor(const std::string& authorization) const;

  // Refuses new calls, waits up to `grace` for running ones, then cancels them. Idempotent.
  arrow::Status Stop(std::chrono::milliseconds grace);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace flightbridge
