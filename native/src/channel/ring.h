// Memory that a writer shares with the server on its own machine: it copies the bodies of its
// messages into it, and only their headers travel. The writer makes it, or, where it has no way to
// make a memfd or to pass one, the server. Both sides keep their mapping for as long as the
// connection lives: making a fresh one costs a page fault for every page of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

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
  // The server's side of one that it makes itself: only processes of its own user can open it, by
  // /proc, and nobody can cut it. All its pages are there from the start, so that no write to it
  // can fail.
  static arrow::Result<struct LentRing> Lend(int64_t bytes);
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

struct LentRing {
  std::unique_ptr<Ring> ring;
  std::string name;  // of its file, like no other's
  std::string key;   // its first kKeyBytes bytes: who knows them has opened it
};

}  // namespace flightbridge::channel
