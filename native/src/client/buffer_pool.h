// Buffers for the bodies of received messages: recycled, because the first touch of fresh pages
// costs several times what the copy into them does.
#pragma once

#include <cstdint>
#include <memory>

#include <arrow/buffer.h>
#include <arrow/result.h>

namespace flightbridge::client {

// Thread-safe. Buffers may outlive the pool.
class BufferPool {
 public:
  // Keeps at most `max_idle_bytes` for later.
  explicit BufferPool(int64_t max_idle_bytes);
  // A buffer of `bytes`, 64-byte aligned, contents undefined.
  arrow::Result<std::shared_ptr<arrow::Buffer>> Get(int64_t bytes);

 private:
  class Shelf;
  std::shared_ptr<Shelf> shelf_;
};

}  // namespace flightbridge::client
