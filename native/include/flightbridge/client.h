// A client of a FlightBridge server: feeds, write jobs, put streams and get streams.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/type_fwd.h>

#include "flightbridge/export.h"

namespace flightbridge {

namespace proto {
struct AttemptRef;
struct BeginWrite;
struct CommitWriteResult;
struct FeedInfo;
struct GetTicket;
struct PutResult;
struct ServerStatus;
struct BeginWriteResult;
}  // namespace proto

// For servers at grpc+tls://. Paths of PEM files; empty ones are left out.
struct TlsOptions {
  std::string ca;           // who may sign the server's certificate; empty: the system's list
  std::string client_cert;  // what a server with --tls-client-ca asks for, and its key
  std::string client_key;
  std::string override_hostname;  // the name to look for in the server's certificate instead
  bool empty() const {
    return ca.empty() && client_cert.empty() && client_key.empty() && override_hostname.empty();
  }
};

struct ClientOptions {
  std::string uri;    // grpc://HOST:PORT or grpc+tls://HOST:PORT
  std::string token;  // sent as "authorization: Bearer ..." when not empty
  TlsOptions tls;
  double timeout_s = 60;  // deadline of every unary call, and of connecting
  // How record batches travel: "auto" takes the fastest way there is. "local" is the server of this
  // process, "mapped" memory shared with a server on this machine, "channel" the server's data
  // port, "flight" DoPut and DoGet. Anything but "auto" is an error where it is not possible.
  std::string transport = "auto";
};

// One attempt at writing one partition. Not thread-safe. Write() blocks while the server holds
// the writer back. A batch's memory must not change before Finish(): it may still be on its way
// when Write() returns, and a failure to send it shows in a later call. Destroying an unfinished
// stream cancels it: the attempt never becomes visible.
class FB_EXPORT PutStream {
 public:
  virtual ~PutStream() = default;
  virtual arrow::Status Write(const arrow::RecordBatch& batch) = 0;
  // Sends the end record and waits for the server's ack that the attempt is staged.
  virtual arrow::Result<proto::PutResult> Finish() = 0;
  // Cancels; returns soon, whatever the server does.
  virtual void Abort() = 0;
};

// Record batches of a ticket, in order, checksums verified. Not thread-safe, except Cancel(), which
// wakes whichever call is waiting. A ticket the server refuses may show only in schema() or Next().
class FB_EXPORT GetStream {
 public:
  virtual ~GetStream() = default;
  // Waits for the server's where need be.
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> schema() = 0;
  // nullptr at the verified end of the stream.
  virtual arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
  virtual void Cancel() = 0;
};

// Rewrites the errors of a reader, so that a binding can make its language's errors of them.
using StatusHook = std::function<arrow::Status(const arrow::Status&)>;

// The stream as Arrow's own reader interface. Not thread-safe; closing or destroying it cancels.
// Waits for the schema.
FB_EXPORT arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> MakeBatchReader(
    std::unique_ptr<GetStream> stream, StatusHook on_error = nullptr);

// One Client is one connection (plus none at all where the server is in this process). Thread-safe.
// Not fork-safe: connect after the fork.
class FB_EXPORT Client {
 public:
  static arrow::Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  virtual ~Client() = default;

  virtual arrow::Result<std::vector<proto::FeedInfo>> ListFeeds() = 0;
  virtual arrow::Result<proto::FeedInfo> DescribeFeed(const std::string& feed) = 0;
  virtual arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema(const std::string& feed) = 0;
  virtual arrow::Result<proto::ServerStatus> Status() = 0;
  virtual arrow::Status DropFeed(const std::string& feed, bool if_exists) = 0;

  // The message without `servers`, `home` and `self`, which are the client's own to say.
  virtual arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& begin) = 0;
  // Waits until an open feed has another generation than this one, or is open no longer; at most
  // half of the client's timeout, then it returns the feed as it is.
  virtual arrow::Result<proto::FeedInfo> WaitFeed(const std::string& feed, int64_t generation,
                                                  std::chrono::milliseconds timeout) = 0;
  virtual arrow::Result<std::unique_ptr<PutStream>> OpenPut(
      const std::string& feed, const std::string& job_id, int64_t partition, int64_t attempt,
      const std::shared_ptr<arrow::Schema>& schema) = 0;
  virtual arrow::Result<proto::CommitWriteResult> CommitWrite(
      const std::string& feed, const std::string& job_id,
      const std::vector<proto::AttemptRef>& attempts) = 0;
  virtual arrow::Status AbortWrite(const std::string& feed, const std::string& job_id) = 0;

  // The way that record batches take, one of ClientOptions::transport; found out when first asked.
  virtual arrow::Result<std::string> Transport() = 0;

  virtual arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) = 0;

  // Runs action "flightbridge.v1.`action`" with an encoded message; the encoded answer, empty where
  // there is none. `doing` ("leasing splits") begins the errors of the connection.
  virtual arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                         const std::string& doing) = 0;
};

}  // namespace flightbridge
