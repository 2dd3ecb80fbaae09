// The journal of a data directory: an append-only file of checksummed records.
//
// File: 16 bytes "FlightBridgeJ01\n", then records. A record: u32 payload length, u32 CRC32C of all
// the rest, u64 durable, payload. `durable` is the file offset up to which the journal was known
// to be on disk when the record was written. It tells a torn tail from damage: bytes behind every
// later record's `durable` were never acknowledged, so they may be dropped; all others may not.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flightbridge::segment {

// Thread-safe. After a failed write the file is cut back to its last durable byte, every record
// behind it is reported as failed, and the next Append() tries again.
class Journal {
 public:
  // What an appended record needs to be waited for.
  struct Ticket {
    int64_t end = 0;     // file offset behind the record
    uint64_t epoch = 0;  // counts the cuts
  };
  // Called for every record, in order.
  using Replay = std::function<arrow::Status(std::string_view payload)>;
  // Calls its argument with every payload the new file is to have.
  using Rewriter = std::function<arrow::Status(const Replay& emit)>;

  // Opens or makes the file and replays it. A torn tail is cut off; damage before it is a
  // DATA_LOSS that names the file and the offset.
  static arrow::Result<std::unique_ptr<Journal>> Open(const std::string& path,
                                                      const Replay& replay);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Writes a record; it is durable only after Sync(). RESOURCE_EXHAUSTED where the disk is full.
  arrow::Result<Ticket> Append(std::string_view payload);
  // Blocks until the record is on disk; callers that wait together share one fdatasync.
  arrow::Status Sync(const Ticket& ticket);
  // Replaces the file by one with what `rewriter` emits, atomically. Neither Append()
  // nor Sync() may run meanwhile.
  arrow::Status Rewrite(const Rewriter& rewriter);

  int64_t bytes() const;

 private:
  Journal(std::string path, int fd, int64_t size);
  arrow::Status Failed(int error, std::string_view what) const;
  arrow::Status CutBack();  // under mutex_

  const std::string path_;
  mutable std::mutex mutex_;
  std::condition_variable synced_;
  int fd_;
  int64_t written_;
  int64_t durable_;
  uint64_t epoch_ = 0;
  bool syncing_ = false;
  bool dirty_tail_ = false;  // bytes behind durable_ are to be cut before the next write
};

// The frame of one record, as Append() writes it.
std::string FrameRecord(std::string_view payload, uint64_t durable);

// fsync of a directory: makes the names in it durable.
arrow::Status SyncDirectory(const std::string& path);

}  // namespace flightbridge::segment
