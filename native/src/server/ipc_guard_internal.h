// Stands before Arrow's IPC decoder on the way in.
//
// Two things a stranger can send get past every handler, because libarrow_flight decodes messages
// before a handler sees them: a message without an IPC header between a dictionary and its record
// batch makes it follow a null pointer (seen with pyarrow 26.0), and a compressed batch is
// decompressed at whatever size it claims. Flight offers no hook there, but it reaches the decoder
// through its procedure linkage table, and that is where the guard sits.
#pragma once

#include <cstdint>

#include <arrow/buffer.h>
#include <arrow/status.h>

namespace flightbridge::server {

// Process-wide and idempotent; thread-safe. False where libarrow_flight's table has no such entry
// (another build of Arrow): the server then works without the guard.
bool InstallIpcGuard();

// While one lives, every IPC message that this thread opens is held to `max_bytes`, before
// anything is allocated for it.
class IpcLimit {
 public:
  explicit IpcLimit(int64_t max_bytes);
  ~IpcLimit();
  IpcLimit(const IpcLimit&) = delete;
  IpcLimit& operator=(const IpcLimit&) = delete;

 private:
  int64_t previous_;
};

// RESOURCE_EXHAUSTED where the decoded body would be larger than `max_bytes`. `metadata` is the
// flatbuffer of a message that ipc::Message::Open() has verified.
arrow::Status CheckMessageSize(const arrow::Buffer& metadata, const arrow::Buffer* body,
                               int64_t max_bytes);

}  // namespace flightbridge::server
