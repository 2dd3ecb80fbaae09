// Sends a plain client its own metadata back, as Arrow's integration scenarios expect.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include <arrow/buffer.h>
#include <arrow/flight/server.h>
#include <arrow/status.h>

namespace flightbridge::server {

// Sends on a thread of its own, started with the first message: a client that writes on without
// reading would otherwise stop the server's writing, and so its reading, for ever.
// Used by one thread.
class EchoWriter {
 public:
  explicit EchoWriter(arrow::flight::FlightMetadataWriter* writer) : writer_(writer) {}
  ~EchoWriter();  // waits until the client has read, or has gone
  EchoWriter(const EchoWriter&) = delete;
  EchoWriter& operator=(const EchoWriter&) = delete;

  // RESOURCE_EXHAUSTED where too much waits for the client to read it.
  arrow::Status Push(std::shared_ptr<arrow::Buffer> metadata);
  // Waits until everything is sent; CANCELLED where the client has gone.
  arrow::Status Finish();
  bool used() const { return used_; }
  bool idle();  // nothing waits to be sent

 private:
  void Work();

  arrow::flight::FlightMetadataWriter* const writer_;
  std::thread thread_;
  bool used_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<arrow::Buffer>> waiting_;
  int64_t waiting_bytes_ = 0;
  bool stop_ = false;
  bool gone_ = false;
};

}  // namespace flightbridge::server
