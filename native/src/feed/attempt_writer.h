// Writes one attempt into segments. Private to feed/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/ipc/writer.h>

#include "feed/feed_store.h"
#include "feed/partition_statistics.h"
#include "segment/ipc_message.h"

namespace flightbridge::feed {

// What an attempt needs from its store.
struct AttemptContext {
  std::string feed;
  int64_t partition = 0;
  int64_t attempt = 0;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<segment::SegmentStore> segments;
  std::shared_ptr<StatisticsRoom> statistics;
  segment::Patience patience;  // of every wait for room
  // FAILED_PRECONDITION once the job is committed, aborted or expired; counts as activity.
  std::function<arrow::Status()> check;
  // Makes the attempt available to its job's commit.
  std::function<arrow::Status(std::shared_ptr<const Partition>)> stage;
  // The error for a full store, in the feed's words.
  std::function<arrow::Status(const arrow::Status&)> explain;
};

// Copies IPC payloads into segments, each as one record of stored_record.h.
class PayloadStore {
 public:
  PayloadStore(std::shared_ptr<segment::SegmentStore> segments, segment::Patience patience)
      : segments_(std::move(segments)), patience_(std::move(patience)) {}

  arrow::Status Store(const arrow::ipc::IpcPayload& payload);
  // Room behind what is stored; the last reservation that was not published is taken back.
  arrow::Result<MessageRoom> Reserve(int64_t metadata_bytes, int64_t body_bytes);
  // What was reserved last; its metadata and body as buffers of the segment.
  const MessageRoom& reserved() const { return reserved_; }
  std::shared_ptr<arrow::Buffer> ReservedMetadata();
  std::shared_ptr<arrow::Buffer> ReservedBody();
  // Makes the reserved message, which is complete and checked, one of messages().
  void Publish(const segment::IpcMessage& message, uint32_t crc32c);
  // Gives back what the last segment does not need and makes all of them durable.
  arrow::Status Finish();

  const std::vector<StoredMessage>& messages() const { return messages_; }
  std::vector<StoredMessage> TakeMessages() { return std::move(messages_); }
  std::vector<segment::SegmentRef> refs() const;
  int64_t rows() const { return rows_; }
  int64_t bytes() const { return bytes_; }

 private:
  arrow::Result<uint8_t*> Allocate(int64_t bytes);
  void Unreserve();

  std::shared_ptr<segment::SegmentStore> segments_;
  segment::Patience patience_;
  std::vector<std::shared_ptr<segment::Segment>> written_;  // the last one is appended to
  std::vector<StoredMessage> messages_;
  MessageRoom reserved_;
  int64_t rows_ = 0;
  int64_t bytes_ = 0;
  int64_t allocated_ = 0;
};

arrow::Result<std::unique_ptr<AttemptWriter>> MakeAttemptWriter(AttemptContext context);

}  // namespace flightbridge::feed
