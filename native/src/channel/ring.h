// Memory that a writer shares with the server on its own machine: it copies the bodies of its
// messages into it, and only their headers travel. Both sides keep their mapping for as long as the
// connection lives: making a fresh one costs a page fault for every page of it.
#pragma once

#include <cstdint>
#include <memory>

#include <arrow/result.h>

#include "channel/socket.h"

namespace flightbridge::channel {

// A mapping of a sealed memfd. The writer's side is written, the server's read only. What the
// server checks it has copied out before: the writer can change the ring at any time.
class Ring {
 public:
  static constexpr int64_t kMaxBytes = 256 << 20;

  // The writer's side.
  static arrow::Result<std::unique_ptr<Ring>> Create(int64_t bytes);
  // The server's. INVALID_ARGUMENT for a descriptor that could shrink under the mapping, and with
  // that kill this process.
  static arrow::Result<std::unique_ptr<Ring>> Map(Fd fd);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int fd() const { return fd_.get(); }
  int64_t bytes() const { return bytes_; }
  uint8_t* data() { return data_; }
  // INVALID_ARGUMENT for a range outside of the ring.
  arrow::Result<const uint8_t*> At(int64_t place, int64_t bytes) const;

 private:
  Ring(Fd fd, uint8_t* data, int64_t bytes) : fd_(std::move(fd)), data_(data), bytes_(bytes) {}

  Fd fd_;
  uint8_t* data_;
  int64_t bytes_;
};

}  // namespace flightbridge::channel
