// All feeds of a server and the rules of their life: open -> committed | aborted -> dropped.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/partition.h"
#include "feed/row_set.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/ipc_message.h"
#include "segment/segment.h"

namespace flightbridge::feed {

// The servers of a feed that spans several.
struct Span {
  std::vector<std::string> servers;              // sorted URIs
  uint32_t home = 0;                             // index of the one that decides the feed's commits
  uint32_t self = 0;                             // index of this one
  std::vector<proto::PartitionInfo> partitions;  // at home: of the whole feed, by number

  bool is_home() const { return self == home; }
};

// Write jobs of one feed whose outcome another server decides and this one does not know.
struct InDoubt {
  std::string feed;
  std::string home;  // the URI to ask
  proto::CommitStatus question;
};

// This server's part of a feed that has a retention and whose home is another one.
struct RetainedPart {
  std::string home;  // the URI to ask
  proto::RetentionStatus question;
};

// A feed as readers see it: committed, or open and partly visible. Immutable: a commit or the next
// partition replaces it, and readers that hold the old one keep reading it.
// In place of a partition among confirmed rows: places in a full order, of which only all together
// say which rows they are.
inline constexpr int64_t kPlaces = -1;

struct Snapshot {
  std::string name;
  bool open = false;       // more may come
  bool streaming = false;  // written in mode STREAM: a generation by each commit, until it is ended
  uint64_t feed_id = 0;
  uint64_t fingerprint = 0;
  uint64_t schema_hash = 0;
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t created_unix_ms = 0;
  std::shared_ptr<arrow::Schema> schema;
  std::vector<std::shared_ptr<const Partition>> partitions;  // that are here, by number
  std::shared_ptr<const Span> span;  // null: the feed is on this server alone
  proto::Retention retention;
  // By partition, or kPlaces: what readers need no more.
  std::shared_ptr<const std::map<int64_t, RowSet>> confirmed;
  // Of a feed that grows, or grew: ascending, from generation 0 on. Else empty.
  std::vector<proto::GenerationInfo> generations;
  std::map<std::string, int64_t> writers;  // streaming: the last epoch that each has committed

  // NOT_FOUND that names the feed and the partition, FAILED_PRECONDITION where it is released.
  arrow::Result<std::shared_ptr<const Partition>> Find(int64_t partition) const;
  // With generation `after` and what came behind it, where the feed has generations.
  proto::FeedInfo Info(int64_t after = 0) const;
  int64_t last_generation() const {
    return generations.empty() ? 0 : generations.back().generation;
  }
  // Grows with every generation of an open feed, and once more when it is sealed.
  int64_t generation() const {
    const int64_t last =
        generations.empty() ? static_cast<int64_t>(partitions.size()) : last_generation();
    return last + (open ? 0 : 1);
  }
};

// Room for one IPC message inside a segment, to be filled by whoever receives it.
struct MessageRoom {
  uint8_t* metadata = nullptr;  // 8-byte aligned
  uint8_t* body = nullptr;      // 64-byte aligned
  int64_t metadata_bytes = 0;
  int64_t body_bytes = 0;
};

// One attempt being written. Not thread-safe. Destroying it unfinished discards its bytes.
class AttemptWriter {
 public:
  virtual ~AttemptWriter() = default;
  // Copies the batch into the attempt's segment, once. `expected_crc32c`, when given, is verified
  // on the copied bytes (DATA_LOSS on a mismatch). The batch must already be validated.
  virtual arrow::Status Append(const arrow::RecordBatch& batch,
                               std::optional<uint32_t> expected_crc32c) = 0;
  // The other way in, without a copy. Room for a message whose body is laid out as
  // segment::AlignBuffers() does it. Replaces a reservation that was not appended. CANCELLED where
  // the wait for room was interrupted: the attempt can go on, every other error ends it.
  virtual arrow::Result<MessageRoom> Reserve(int64_t metadata_bytes, int64_t body_bytes) = 0;
  // What the metadata received into the room says, checked: INVALID_ARGUMENT for a message that
  // cannot be one of this attempt. It points into the room.
  virtual arrow::Result<segment::IpcMessage> ParseReserved() = 0;
  // Appends the message, whose body is there, too: record batches and, before those that need them,
  // dictionaries. It comes from outside, and is fully checked here: INVALID_ARGUMENT for anything
  // that is no valid message of this schema. `crc32c` is the batch checksum computed over it,
  // `expected_crc32c` the sender's.
  virtual arrow::Status AppendReserved(const segment::IpcMessage& message, uint32_t crc32c,
                                       uint32_t expected_crc32c) = 0;
  // Messages appended so far, dictionaries included.
  virtual int64_t messages() const = 0;
  // Stages the attempt, durably where there is a data directory. `end`, when given, must agree
  // with what was received (DATA_LOSS names the difference).
  virtual arrow::Result<proto::PutResult> Finish(const std::optional<proto::PutEnd>& end) = 0;
};

struct FeedStoreOptions {
  segment::SegmentStoreOptions segments;
  // How long a put waits for room before it is refused.
  std::chrono::milliseconds put_wait{0};
  // Committed, damaged and open feeds; a write of one more is refused.
  int64_t max_feeds = INT64_MAX;
  // Whether errors may name other feeds than the caller's, as a help: not where callers may see
  // some feeds only.
  bool name_other_feeds = true;
  // A write job without begin or put activity for this long is aborted.
  std::chrono::milliseconds orphan_ttl{3'600'000};
  // Milliseconds of a steady clock; tests set it.
  std::function<int64_t()> clock_ms;
};

// Thread-safe. No call blocks on readers or writers, except that an attempt's Append() waits for
// room, up to `put_wait`; with a data directory Commit() and Finish() block on fsync.
class FeedStore {
 public:
  // Opens the data directory if there is one: takes its lock, replays its journal.
  static arrow::Result<std::shared_ptr<FeedStore>> Open(const FeedStoreOptions& options);
  virtual ~FeedStore() = default;

  virtual arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& request) = 0;
  // `interrupted`, if given, is asked while the writer waits for room: an error of it, such as that
  // the client has gone, ends the wait. Called until the writer is destroyed, on its thread.
  virtual arrow::Result<std::unique_ptr<AttemptWriter>> OpenAttempt(
      const proto::PutCommand& command, const std::shared_ptr<arrow::Schema>& schema,
      std::function<arrow::Status()> interrupted = {}) = 0;
  // What Finish() answered for an attempt that is staged already.
  virtual std::optional<proto::PutResult> FindStaged(const proto::PutCommand& command) const = 0;
  virtual arrow::Result<proto::CommitWriteResult> CommitWrite(
      const proto::CommitWrite& request) = 0;
  virtual arrow::Status AbortWrite(const proto::AbortWrite& request) = 0;
  // No generation follows; jobs that are open are aborted. Idempotent. FAILED_PRECONDITION for a
  // feed that is not of mode STREAM.
  virtual arrow::Result<proto::FeedInfo> EndFeed(const proto::EndFeed& request) = 0;
  virtual arrow::Status DropFeed(const proto::DropFeed& request) = 0;

  // The feed, committed or partly visible; NOT_FOUND names the feed and may list some that exist,
  // FAILED_PRECONDITION says that its stream job has ended without a commit.
  virtual arrow::Result<std::shared_ptr<const Snapshot>> Find(const std::string& feed) const = 0;
  // The same for who reads its rows: counts as use of a feed that has a Retention.ttl_ms.
  virtual arrow::Result<std::shared_ptr<const Snapshot>> FindToRead(
      const std::string& feed) const = 0;
  // Every feed, committed or only open.
  virtual std::vector<proto::FeedInfo> List() const = 0;
  // As List(), for one feed; of one that grows from generation `after` on.
  virtual arrow::Result<proto::FeedInfo> Describe(const std::string& feed,
                                                  int64_t after = 0) const = 0;

  // Waits until an open feed has another generation than this one, or is open no longer; after
  // `timeout` it returns the feed as it is, from generation `after` on. Errors as Find();
  // UNAVAILABLE once StopWaiting().
  virtual arrow::Result<proto::FeedInfo> WaitForChange(const std::string& feed, int64_t generation,
                                                       std::chrono::milliseconds timeout,
                                                       int64_t after = 0) = 0;
  // For feeds that span several servers (docs/protocol.md). The home of a feed that another server
  // decides; empty for every other name.
  virtual std::string HomeElsewhere(const std::string& feed) const = 0;
  // The write jobs in doubt: of one feed, or of all where the name is empty.
  virtual std::vector<InDoubt> JobsInDoubt(const std::string& feed) const = 0;
  // At home: what became of the jobs. FAILED_PRECONDITION where this is not the feed's home.
  virtual arrow::Result<proto::CommitStatusResult> CommitStatus(
      const proto::CommitStatus& question) = 0;
  // Does here what the home has answered, in its order. Idempotent.
  virtual arrow::Status Resolve(const InDoubt& asked, const proto::CommitStatusResult& answer) = 0;

  // The parts here of feeds that have a retention and another home.
  virtual std::vector<RetainedPart> RetainedParts() const = 0;
  // At home: what became of the feed, and which partitions of the asker's part are released.
  // Nothing that is not on disk. FAILED_PRECONDITION where this is not the feed's home.
  virtual arrow::Result<proto::RetentionStatusResult> RetentionStatus(
      const proto::RetentionStatus& question) = 0;
  // Releases or drops here what the home has answered. Idempotent; nothing where the feed is
  // another one by now, and no drop while a write job is open under its name.
  virtual arrow::Status ResolveRetention(const RetainedPart& asked,
                                         const proto::RetentionStatusResult& answer) = 0;

  // Notes that readers need these rows of the feed no more, durably, and releases the partitions
  // of which that is true as a whole. Does nothing for a feed without Retention.epochs.
  // FAILED_PRECONDITION where the feed has another feed_id.
  virtual arrow::Result<proto::ConfirmPositionResult> Confirm(
      const std::string& feed, uint64_t feed_id, const std::vector<proto::RowRange>& rows) = 0;

  // Aborts write jobs past their orphan_ttl; returns how many. Also run by the store itself, now
  // and then.
  virtual int SweepOrphans() = 0;
  // Drops feeds that nothing used for their Retention.ttl_ms; returns how many. Also run by the
  // store itself, now and then. The time begins anew when the server starts. A feed that spans
  // several servers is dropped by its home, once all that hold rows of it have said that they did
  // not use it.
  virtual int DropIdleFeeds() = 0;

  // Ends every wait for room with UNAVAILABLE, now and later: the server is stopping.
  virtual void StopWaiting() = 0;

  // What the segments of its feeds are of.
  virtual const std::shared_ptr<segment::SegmentStore>& segments() const = 0;
  virtual const segment::Budget& budget() const = 0;
  virtual const segment::Budget& disk_budget() const = 0;
};

// 1 to 200 characters from [A-Za-z0-9_.-], not starting with a dot.
arrow::Status ValidateFeedName(const std::string& feed);

}  // namespace flightbridge::feed
