// A segment: the storage unit. An append-only run of IPC messages in one memory mapping, in memory
// (memfd) or in a file of the data directory. Everything in it starts at a multiple of 64 bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/budget.h"

namespace flightbridge::segment {

inline constexpr int64_t kAlignment = 64;

// Appended to by one thread at a time; bytes once appended never change, so any number of threads
// read them. Buffers from Slice() keep the segment alive. The last owner's release gives the
// mapping back to the store, which recycles it: first-touch page faults cost more than the copy.
class Segment : public std::enable_shared_from_this<Segment> {
 public:
  virtual ~Segment() = default;

  int64_t capacity() const { return capacity_; }
  int64_t used() const { return used_; }
  uint64_t id() const { return id_; }
  const uint8_t* data() const { return data_; }

  // Room for `bytes` at the next aligned offset, or nullptr when they do not fit.
  uint8_t* Allocate(int64_t bytes);
  // A view of [offset, offset + length) that keeps this segment alive.
  std::shared_ptr<arrow::Buffer> Slice(int64_t offset, int64_t length);
  // Makes everything appended so far durable. A no-op for segments in memory.
  virtual arrow::Status Sync() = 0;

 protected:
  uint8_t* data_ = nullptr;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  uint64_t id_ = 0;
};

struct SegmentStoreOptions {
  std::string data_dir;  // empty: memory
  int64_t segment_bytes = 64 << 20;
  int64_t memory_limit_bytes = 1 << 30;
};

// Creates, recycles and accounts for segments. Thread-safe; must outlive no segment (segments hold
// it by shared_ptr).
class SegmentStore : public std::enable_shared_from_this<SegmentStore> {
 public:
  static arrow::Result<std::shared_ptr<SegmentStore>> Open(const SegmentStoreOptions& options);
  virtual ~SegmentStore() = default;

  // A segment with room for at least `min_bytes`. RESOURCE_EXHAUSTED when the budget (memory) or
  // the disk (data directory) has no room; the message says what to raise or drop.
  virtual arrow::Result<std::shared_ptr<Segment>> New(int64_t min_bytes) = 0;
  // Maps a segment that an earlier run of the server left in the data directory.
  virtual arrow::Result<std::shared_ptr<Segment>> Reopen(uint64_t id, int64_t used) = 0;
  // Removes segment files that nobody reopened (orphans of an earlier run).
  virtual arrow::Status RemoveUnclaimed() = 0;

  virtual const Budget& budget() const = 0;
};

}  // namespace flightbridge::segment
