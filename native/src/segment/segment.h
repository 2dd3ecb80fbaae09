// A segment: the storage unit. An append-only run of IPC messages, a page-aligned extent of a
// chunk. A chunk is one shared mapping: a memfd, or a file of the data directory. Everything in a
// segment starts at a multiple of 64 bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "segment/budget.h"

namespace flightbridge::segment {

inline constexpr int64_t kAlignment = 64;

constexpr int64_t RoundUp(int64_t bytes, int64_t to = kAlignment) {
  return (bytes + to - 1) / to * to;
}

class Chunk;
class Resident;
class SegmentStore;

// Where a segment lies: enough to find it again in the data directory.
struct SegmentRef {
  uint64_t chunk = 0;
  int64_t offset = 0;  // within the chunk
  int64_t used = 0;    // bytes appended
};

// Appended to by one thread at a time; bytes once appended never change, so any number of threads
// read them. Buffers from Slice() keep the segment alive. The last owner's release gives the
// pages back to the store, which recycles them: first-touch page faults cost more than the copy.
class Segment : public std::enable_shared_from_this<Segment> {
 public:
  // Made by SegmentStore only.
  Segment(std::shared_ptr<SegmentStore> store, std::shared_ptr<Chunk> chunk, int64_t offset,
          int64_t capacity, std::shared_ptr<Resident> resident);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  int64_t capacity() const { return capacity_; }
  int64_t used() const { return used_; }
  const uint8_t* data() const { return data_; }
  SegmentRef ref() const;
  // A new descriptor of the chunk it lies in, which can be mapped but not written.
  arrow::Result<int> OpenChunk() const;

  // Room for `bytes` at the next aligned offset, or nullptr when they do not fit, or when the file
  // under it was cut.
  uint8_t* Allocate(int64_t bytes);
  // Takes back what was allocated behind `used` and is in nobody's hands.
  void Rewind(int64_t used) { used_ = used; }
  // A view of [offset, offset + length) that keeps this segment alive.
  std::shared_ptr<arrow::Buffer> Slice(int64_t offset, int64_t length);
  // Gives back the pages behind the last byte appended: nothing more can be appended. Starts
  // writing those of a file to disk.
  void Trim();
  // Makes everything appended so far durable. A no-op for segments in memory.
  arrow::Status Sync();

  // Call before bytes of it are read: keeps the memory that file segments take inside its limit,
  // and reads them from the file where they are not in memory. DATA_LOSS where the file is no
  // longer whole. Costs one system call otherwise, and nothing for a segment in memory.
  arrow::Status Touch();
  // Says that it will be read soon.
  void ReadAhead();
  // Its pages were read once and are not needed for now.
  void Unmap();
  // How often its bytes came back from disk: 0 while they are those that were written.
  uint32_t loads() const;

 private:
  friend class SegmentStoreImpl;

  std::shared_ptr<SegmentStore> store_;
  std::shared_ptr<Chunk> chunk_;
  int64_t offset_;
  int64_t capacity_;
  int64_t used_ = 0;
  uint8_t* data_;
  std::shared_ptr<Resident> resident_;  // null: in memory for good
};

// The segment that a buffer made by Segment::Slice() lies in; null for any other buffer.
Segment* SegmentOf(const arrow::Buffer& slice);

struct SegmentStoreOptions {
  static constexpr int64_t kNoSpillLimit = -1;

  std::string data_dir;              // empty: memory
  int64_t segment_bytes = 64 << 20;  // of a chunk; a larger message gets a chunk of its own
  int64_t memory_limit_bytes = 1 << 30;
  int64_t spill_limit_bytes = kNoSpillLimit;  // on disk; only the disk limits it by default
};

// How long an allocation waits for room.
struct Patience {
  std::chrono::milliseconds limit{0};
  // Asked now and then while waiting, if given: an error ends the wait and is returned.
  std::function<arrow::Status()> interrupted;
};

// Creates, recycles and accounts for segments. Thread-safe; segments hold it by shared_ptr.
class SegmentStore : public std::enable_shared_from_this<SegmentStore> {
 public:
  // The data directory must exist already; makes DIR/segments in it.
  static arrow::Result<std::shared_ptr<SegmentStore>> Open(const SegmentStoreOptions& options);
  virtual ~SegmentStore() = default;

  // A segment with room for at least `min_bytes`, for `want_bytes` where there is room. Without
  // room it waits, as long as `patience` says, until some is freed. RESOURCE_EXHAUSTED then says
  // whether memory, the spill limit or the disk itself is full; UNAVAILABLE once StopWaiting().
  virtual arrow::Result<std::shared_ptr<Segment>> New(int64_t min_bytes, int64_t want_bytes,
                                                      const Patience& patience = {}) = 0;
  // Ends every wait for room, now and later.
  virtual void StopWaiting() = 0;
  // Maps a segment that an earlier run of the server left in the data directory. DATA_LOSS names
  // the file that is missing or too short.
  virtual arrow::Result<std::shared_ptr<Segment>> Reopen(const SegmentRef& ref) = 0;
  // Frees what nobody reopened (orphans of an earlier run).
  virtual arrow::Status RemoveUnclaimed() = 0;
  // From now on nothing is freed in the data directory: what readers still hold belongs to
  // whoever opens the directory next.
  virtual void Retire() = 0;
  // Gives up every pooled page.
  virtual void ReleasePool() = 0;

  // Counts bytes that lie beside the segments: false, or RESOURCE_EXHAUSTED, where there is no room
  // for them. No segment has to give way.
  virtual bool ReserveMemory(int64_t bytes) = 0;
  virtual void ReleaseMemory(int64_t bytes) = 0;
  virtual arrow::Status ReserveDisk(int64_t bytes) = 0;
  virtual void ReleaseDisk(int64_t bytes) = 0;
  // Who holds such bytes is asked to give some up when there is no room for a segment: of memory,
  // or else of disk. False where there is nothing to give up. Waits for a call that runs.
  virtual void OnShortage(std::function<bool(bool memory)> give_up) = 0;

  // What is held in memory: with a data directory, the pages of segments that were touched lately.
  virtual const Budget& budget() const = 0;
  // What is held on disk; its limit is 0 without a data directory.
  virtual const Budget& disk_budget() const = 0;

 private:
  friend class Segment;
  // Takes the pages behind a segment's new length.
  virtual void Cut(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length,
                   int64_t keep, Resident* resident) = 0;
  // Takes all of a segment's pages.
  virtual void Free(const std::shared_ptr<Chunk>& chunk, int64_t offset, int64_t length,
                    Resident* resident) = 0;
  // Brings a file segment's pages into memory, others out of it.
  virtual arrow::Status Load(Chunk* chunk, int64_t offset, Resident* resident) = 0;
};

}  // namespace flightbridge::segment
