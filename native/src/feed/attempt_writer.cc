#include "feed/attempt_writer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/message_decoder.h"
#include "feed/schema_rules.h"
#include "feed/stored_record.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/message_body.h"

namespace flightbridge::feed {
namespace {

using segment::RoundUp;

// Segments of an attempt grow with it, so that a small one takes little and a large one few.
constexpr int64_t kFirstSegmentBytes = 64 << 10;
constexpr int64_t kLargestSegmentBytes = 8 << 20;

class PayloadSink : public arrow::ipc::internal::IpcPayloadWriter {
 public:
  explicit PayloadSink(PayloadStore* store) : store_(store) {}

  arrow::Status WritePayload(const arrow::ipc::IpcPayload& payload) override {
    if (payload.type == arrow::ipc::MessageType::SCHEMA) return {};  // kept beside the data
    return store_->Store(payload);
  }
  arrow::Status Close() override { return {}; }

 private:
  PayloadStore* store_;
};

arrow::ipc::IpcWriteOptions WriteOptions() {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.alignment = segment::kAlignment;
  options.use_threads = false;
  return options;
}

}  // namespace

arrow::Result<uint8_t*> PayloadStore::Allocate(int64_t bytes) {
  if (!written_.empty()) {
    if (uint8_t* at = written_.back()->Allocate(bytes)) return at;
    written_.back()->Trim();
  }
  int64_t want = std::clamp(allocated_, kFirstSegmentBytes, kLargestSegmentBytes);
  // Room for a whole number of messages like this one: what is left over and given back lies
  // between other streams' segments, too small for the next message of any of them.
  if (want > bytes) want -= want % RoundUp(bytes);
  ARROW_ASSIGN_OR_RAISE(auto segment, segments_->New(bytes, want, patience_));
  allocated_ += segment->capacity();
  written_.push_back(std::move(segment));
  if (uint8_t* at = written_.back()->Allocate(bytes)) return at;
  return Error(Code::kUnavailable, "a new segment's file was cut: try again");
}

arrow::Result<MessageRoom> PayloadStore::Reserve(int64_t metadata_bytes, int64_t body_bytes) {
  Unreserve();
  StoredHeader header;
  header.metadata_bytes = static_cast<uint32_t>(metadata_bytes);
  header.body_bytes = body_bytes;
  ARROW_ASSIGN_OR_RAISE(uint8_t* const record, Allocate(header.record_bytes()));
  reserved_.metadata = record + sizeof(header);
  reserved_.body = reserved_.metadata + RoundUp(metadata_bytes);
  reserved_.metadata_bytes = metadata_bytes;
  reserved_.body_bytes = body_bytes;
  return reserved_;
}

void PayloadStore::Unreserve() {
  if (reserved_.metadata == nullptr) return;
  segment::Segment& segment = *written_.back();
  segment.Rewind(reserved_.metadata - sizeof(StoredHeader) - segment.data());
  reserved_ = {};
}

std::shared_ptr<arrow::Buffer> PayloadStore::ReservedMetadata() {
  segment::Segment& segment = *written_.back();
  return segment.Slice(reserved_.metadata - segment.data(), reserved_.metadata_bytes);
}

std::shared_ptr<arrow::Buffer> PayloadStore::ReservedBody() {
  segment::Segment& segment = *written_.back();
  return segment.Slice(reserved_.body - segment.data(), reserved_.body_bytes);
}

void PayloadStore::Publish(const segment::IpcMessage& message, uint32_t crc32c) {
  uint8_t* const metadata = reserved_.metadata;
  uint8_t* const metadata_end = metadata + reserved_.metadata_bytes;
  // Recycled pages hold another feed's bytes.
  std::memset(metadata_end, 0, static_cast<size_t>(reserved_.body - metadata_end));
  StoredHeader header;
  header.kind = message.is_dictionary ? StoredHeader::kDictionary : StoredHeader::kRecordBatch;
  header.metadata_bytes = static_cast<uint32_t>(reserved_.metadata_bytes);
  header.body_bytes = reserved_.body_bytes;
  header.rows = message.is_dictionary ? 0 : message.rows;
  header.row_begin = rows_;
  header.sequence = static_cast<int64_t>(messages_.size());
  header.crc32c = crc32c;
  header.metadata_crc32c =
      segment::Crc32c(0, metadata, static_cast<size_t>(reserved_.metadata_bytes));
  header.header_crc32c = header.ComputeCrc();
  std::memcpy(metadata - sizeof(header), &header, sizeof(header));

  StoredMessage stored;
  stored.is_dictionary = message.is_dictionary;
  stored.rows = header.rows;
  stored.row_begin = rows_;
  stored.crc32c = crc32c;
  stored.metadata = ReservedMetadata();
  stored.body = ReservedBody();
  messages_.push_back(std::move(stored));
  rows_ += header.rows;
  bytes_ += reserved_.metadata_bytes + reserved_.body_bytes;
  reserved_ = {};
}

arrow::Status PayloadStore::Store(const arrow::ipc::IpcPayload& payload) {
  int64_t body_bytes = 0;
  for (const auto& buffer : payload.body_buffers) {
    if (buffer != nullptr) body_bytes += RoundUp(buffer->size());
  }
  const int64_t metadata_bytes = payload.metadata->size();
  ARROW_ASSIGN_OR_RAISE(const MessageRoom room, Reserve(metadata_bytes, body_bytes));
  std::memcpy(room.metadata, payload.metadata->data(), static_cast<size_t>(metadata_bytes));
  ARROW_ASSIGN_OR_RAISE(const int64_t aligned,
                        segment::AlignBuffers(room.metadata, metadata_bytes));
  if (aligned != body_bytes) return Error(Code::kInternal, "an IPC body has the wrong length");
  ARROW_ASSIGN_OR_RAISE(const auto message,
                        segment::IpcMessage::Parse(room.metadata, metadata_bytes));
  ARROW_RETURN_NOT_OK(segment::CheckBuffers(message, payload.body_buffers));
  Publish(message, segment::CopyBodyCrc32c(message, room.body, payload.body_buffers));
  return {};
}

arrow::Status PayloadStore::Finish() {
  Unreserve();
  if (!written_.empty()) written_.back()->Trim();
  for (const auto& segment : written_) ARROW_RETURN_NOT_OK(segment->Sync());
  return {};
}

std::vector<segment::SegmentRef> PayloadStore::refs() const {
  std::vector<segment::SegmentRef> refs;
  for (const auto& segment : written_) refs.push_back(segment->ref());
  return refs;
}

namespace {

class AttemptWriterImpl : public AttemptWriter {
 public:
  explicit AttemptWriterImpl(AttemptContext context)
      : context_(std::move(context)), store_(context_.segments, context_.patience) {}

  arrow::Status Open() {
    ARROW_ASSIGN_OR_RAISE(
        writer_, arrow::ipc::internal::OpenRecordBatchWriter(std::make_unique<PayloadSink>(&store_),
                                                             context_.schema, WriteOptions()));
    return {};
  }

  arrow::Status Append(const arrow::RecordBatch& batch,
                       std::optional<uint32_t> expected_crc32c) override {
    ARROW_RETURN_NOT_OK(failure_);
    failure_ = TryAppend(batch, expected_crc32c);
    if (!failure_.ok()) Discard();
    return failure_;
  }

  arrow::Result<MessageRoom> Reserve(int64_t metadata_bytes, int64_t body_bytes) override {
    ARROW_RETURN_NOT_OK(failure_);
    auto room = TryReserve(metadata_bytes, body_bytes);
    if (!room.ok() && CodeOf(room.status()) != Code::kCancelled) Fail(room.status());
    return room;
  }

  arrow::Result<segment::IpcMessage> ParseReserved() override {
    ARROW_RETURN_NOT_OK(failure_);
    auto message = TryParseReserved();
    if (!message.ok()) Fail(Refused(message.status()));
    ARROW_RETURN_NOT_OK(failure_);
    return message;
  }

  arrow::Status AppendReserved(const segment::IpcMessage& message, uint32_t crc32c,
                               uint32_t expected_crc32c) override {
    ARROW_RETURN_NOT_OK(failure_);
    if (auto status = TryAppendReserved(message, crc32c, expected_crc32c); !status.ok()) {
      Fail(status);
    }
    return failure_;
  }

  int64_t messages() const override { return static_cast<int64_t>(store_.messages().size()); }

  arrow::Result<proto::PutResult> Finish(const std::optional<proto::PutEnd>& end) override {
    ARROW_RETURN_NOT_OK(failure_);
    auto result = TryFinish(end);
    failure_ = result.ok() ? Error(Code::kFailedPrecondition, Name(), " is finished already")
                           : result.status();
    Discard();
    return result;
  }

 private:
  std::string Name() const {
    return "feed '" + context_.feed + "', partition " + std::to_string(context_.partition) +
           ", attempt " + std::to_string(context_.attempt);
  }

  // The bytes go back to the store now, not when the caller lets go of the writer.
  void Discard() {
    decoder_.reset();
    writer_.reset();
    store_ = PayloadStore(context_.segments, context_.patience);
  }

  void Fail(arrow::Status failure) {
    failure_ = std::move(failure);
    Discard();
  }

  arrow::Result<MessageRoom> TryReserve(int64_t metadata_bytes, int64_t body_bytes) {
    ARROW_RETURN_NOT_OK(context_.check());
    auto room = store_.Reserve(metadata_bytes, body_bytes);
    if (room.ok()) return room;
    return CodeOf(room.status()) == Code::kResourceExhausted ? context_.explain(room.status())
                                                             : WithContext(room.status(), Name());
  }

  arrow::Status Refused(const arrow::Status& why) const {
    return Error(Code::kInvalidArgument, Name(), ", message ", messages(), ": ", why.message());
  }

  arrow::Result<segment::IpcMessage> TryParseReserved() const {
    const MessageRoom& room = store_.reserved();
    ARROW_ASSIGN_OR_RAISE(const auto message,
                          segment::IpcMessage::Parse(room.metadata, room.metadata_bytes));
    ARROW_RETURN_NOT_OK(message.CheckAligned());
    if (message.body_length != room.body_bytes) {
      return arrow::Status::Invalid("the body is not as long as its metadata says");
    }
    if (message.compressed) return arrow::Status::Invalid("compressed bodies are not accepted");
    if (message.is_delta) return arrow::Status::Invalid("delta dictionaries are not accepted");
    if (message.rows < 0 || message.rows > std::numeric_limits<int32_t>::max()) {
      return arrow::Status::Invalid("a batch of ", message.rows,
                                    " rows: at most 2147483647 are allowed");
    }
    return message;
  }

  arrow::Status TryAppendReserved(const segment::IpcMessage& message, uint32_t crc32c,
                                  uint32_t expected_crc32c) {
    if (crc32c != expected_crc32c) {
      return Error(Code::kDataLoss, Name(), ": message ", messages(), " arrived with checksum ",
                   crc32c, " but was sent with ", expected_crc32c, ": send the attempt again");
    }
    segment::ZeroPadding(message, store_.reserved().body);
    if (auto status = CheckReceived(message); !status.ok()) return Refused(status);
    store_.Publish(message, crc32c);
    if (message.is_dictionary) return {};
    crc32c_ = segment::ChainChecksum(crc32c_, crc32c);
    ++batches_;
    return {};
  }

  // The bytes become ones to trust: readers rely on valid offsets, indices and UTF-8.
  arrow::Status CheckReceived(const segment::IpcMessage& message) {
    if (decoder_ == nullptr) decoder_ = std::make_unique<MessageDecoder>(context_.schema);
    ARROW_ASSIGN_OR_RAISE(
        const auto batch,
        decoder_->Decode(store_.ReservedMetadata(), store_.ReservedBody(), message.is_dictionary));
    return batch == nullptr ? arrow::Status::OK() : batch->ValidateFull();
  }

  arrow::Status TryAppend(const arrow::RecordBatch& batch,
                          std::optional<uint32_t> expected_crc32c) {
    ARROW_RETURN_NOT_OK(context_.check());
    if (!batch.schema()->Equals(*context_.schema, /*check_metadata=*/false)) {
      return Error(Code::kSchemaMismatch, Name(), ": ",
                   SchemaDifference(*batch.schema(), "in this batch", *context_.schema,
                                    "in the attempt's schema"));
    }
    if (auto status = writer_->WriteRecordBatch(batch); !status.ok()) {
      return CodeOf(status) == Code::kResourceExhausted ? context_.explain(status)
                                                        : WithContext(status, Name());
    }
    const uint32_t crc = store_.messages().back().crc32c;
    if (expected_crc32c.has_value() && *expected_crc32c != crc) {
      return Error(Code::kDataLoss, Name(), ": batch ", batches_, " arrived with checksum ", crc,
                   " but was sent with ", *expected_crc32c, ": send the attempt again");
    }
    crc32c_ = segment::ChainChecksum(crc32c_, crc);
    ++batches_;
    return {};
  }

  arrow::Result<proto::PutResult> TryFinish(const std::optional<proto::PutEnd>& end) {
    ARROW_RETURN_NOT_OK(context_.check());
    proto::PutResult result;
    result.batches = batches_;
    result.rows = store_.rows();
    result.bytes = store_.bytes();
    result.crc32c = crc32c_;
    if (end.has_value() && (end->batches != result.batches || end->rows != result.rows ||
                            end->crc32c != result.crc32c)) {
      return Error(Code::kDataLoss, Name(), ": the sender counted ", end->batches, " batches, ",
                   end->rows, " rows, checksum ", end->crc32c, "; received were ", result.batches,
                   " batches, ", result.rows, " rows, checksum ", result.crc32c,
                   ": send the attempt again");
    }
    if (auto status = store_.Finish(); !status.ok()) {
      return CodeOf(status) == Code::kResourceExhausted ? context_.explain(status)
                                                        : WithContext(status, Name());
    }
    auto partition = std::make_shared<Partition>();
    partition->feed = context_.feed;
    partition->partition = context_.partition;
    partition->attempt = context_.attempt;
    partition->rows = result.rows;
    partition->bytes = result.bytes;
    partition->batches = result.batches;
    partition->crc32c = result.crc32c;
    partition->schema = context_.schema;
    partition->segments = store_.refs();
    partition->messages = store_.TakeMessages();
    partition->verified = std::make_shared<VerifiedFlags>(partition->messages.size());
    partition->index = std::make_shared<PickIndex>(partition->messages.size());
    partition->statistics = std::make_shared<PartitionStatistics>(context_.statistics);
    ARROW_RETURN_NOT_OK(context_.stage(std::move(partition)));
    return result;
  }

  AttemptContext context_;
  PayloadStore store_;
  std::unique_ptr<arrow::ipc::RecordBatchWriter> writer_;
  std::unique_ptr<MessageDecoder> decoder_;  // from the first AppendReserved()
  arrow::Status failure_;                    // the first one; every later call repeats it
  int64_t batches_ = 0;
  uint32_t crc32c_ = 0;
};

}  // namespace

arrow::Result<std::unique_ptr<AttemptWriter>> MakeAttemptWriter(AttemptContext context) {
  auto writer = std::make_unique<AttemptWriterImpl>(std::move(context));
  ARROW_RETURN_NOT_OK(writer->Open());
  return writer;
}

}  // namespace flightbridge::feed
