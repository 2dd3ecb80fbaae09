#include "client/channel_get.h"

#include <atomic>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>

#include "client/get_plan.h"
#include "client/reopen.h"
#include "common/message_decoder.h"
#include "flightbridge/error.h"
#include "segment/message_body.h"

namespace flightbridge::client {
namespace {

using channel::Header;
using channel::Kind;

// Bodies are received into recycled, aligned buffers and checksummed while they are in the cache.
// A stream whose channel is lost is opened again at the next row.
class ChannelGet : public GetStream {
 public:
  ChannelGet(std::shared_ptr<ChannelPool> pool, std::shared_ptr<BufferPool> buffers,
             const proto::GetTicket& resolved)
      : pool_(std::move(pool)),
        buffers_(std::move(buffers)),
        ticket_(resolved),
        name_("getting feed '" + resolved.feed + "'"),
        cursor_(resolved) {}

  ~ChannelGet() override {
    if (channel_ != nullptr && pool_->connection().owner().is_this()) channel_->BreakGet();
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override {
    ARROW_RETURN_NOT_OK(pool_->connection().owner().Check());
    ARROW_RETURN_NOT_OK(EnsureBegun());
    return schema_;
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    ARROW_RETURN_NOT_OK(pool_->connection().owner().Check());
    ARROW_RETURN_NOT_OK(EnsureBegun());
    while (!over_) {
      // What came before the cancellation is nobody's.
      if (cancelled_) return Fail(Error(Code::kCancelled, name_, " was cancelled"));
      auto batch = Receive();
      if (!batch.ok() && Lost() && !cancelled_) {
        over_ = cursor_.done();  // only the end was lost
        if (over_) break;
        if (const auto status = Recover(); !status.ok()) return Fail(status);
        continue;
      }
      if (!batch.ok()) return Fail(batch.status());
      if (*batch != nullptr && (*batch)->num_rows() > 0) return batch;
    }
    return nullptr;
  }

  void Cancel() override {
    cancelled_ = true;
    const std::lock_guard lock(mutex_);
    if (channel_ != nullptr) channel_->BreakGet();
  }

 private:
  bool Lost() const { return channel_ == nullptr || channel_->frames.socket().lost(); }

  // The first use waits for the server, and Cancel() ends that wait like any other.
  arrow::Status EnsureBegun() {
    ARROW_RETURN_NOT_OK(failure_);
    if (schema_ != nullptr) return arrow::Status::OK();
    auto status = Begin(false);
    // An idle channel may have been closed by the server a moment ago.
    if (!status.ok() && Lost() && !cancelled_) status = Begin(true);
    if (!status.ok() && Lost() && !cancelled_) status = Recover();
    return status.ok() ? status : Fail(status);
  }

  arrow::Status Begin(bool fresh) {
    ARROW_ASSIGN_OR_RAISE(auto opened, pool_->Take(ChannelPool::Use::kGet, fresh));
    {
      const std::lock_guard lock(mutex_);
      channel_ = std::move(opened);
      if (cancelled_) channel_->BreakGet();
    }
    channel::Frames& frames = channel_->frames;
    proto::ChannelGet get;
    get.ticket = cursor_.Remaining(ticket_).Encode();
    // Picked and ordered rows are in new batches.
    get.mapped = channel_->local && ticket_.picks.empty() && !ticket_.order;
    ARROW_RETURN_NOT_OK(channel_->Send(Kind::kGet, get.Encode()));
    ARROW_ASSIGN_OR_RAISE(const Header header, frames.ReceiveHeader(0));
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames.ReceiveMetadata(header));
    if (header.what() == Kind::kError) return channel::ReceivedError(metadata);
    if (header.what() != Kind::kSchema) return channel::Unexpected(header, "a schema");
    arrow::io::BufferReader bytes(std::make_shared<arrow::Buffer>(std::string_view(metadata)));
    arrow::ipc::DictionaryMemo memo;
    ARROW_ASSIGN_OR_RAISE(schema_, arrow::ipc::ReadSchema(&bytes, &memo));
    decoder_ = std::make_unique<MessageDecoder>(schema_);
    columns_.clear();
    if (get.mapped) {  // whole messages, of which this takes its columns
      ARROW_ASSIGN_OR_RAISE(columns_, ResolveColumns(ticket_, *schema_));
      schema_ = SelectFields(schema_, columns_);
    }
    return arrow::Status::OK();
  }

  // The next record batch; nullptr behind a dictionary or the end.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Receive() {
    channel::Frames& frames = channel_->frames;
    ARROW_ASSIGN_OR_RAISE(const Header header,
                          frames.ReceiveHeader(std::numeric_limits<int64_t>::max()));
    if (header.what() == Kind::kMessage) {
      return (header.flags & channel::kInSegment) != 0 ? MapMessage(header)
                                                       : ReceiveMessage(header);
    }
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames.ReceiveMetadata(header));
    if (header.what() == Kind::kError) return channel::ReceivedError(metadata);
    if (header.what() != Kind::kEnd) return channel::Unexpected(header, "a record batch");
    over_ = true;
    std::shared_ptr<DataChannel> free;
    {
      const std::lock_guard lock(mutex_);
      free = std::move(channel_);
    }
    if (!cancelled_) pool_->Give(ChannelPool::Use::kGet, std::move(free));
    ARROW_RETURN_NOT_OK(cursor_.CheckEnd());
    return nullptr;
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReceiveMessage(const Header& header) {
    channel::Frames& frames = channel_->frames;
    ARROW_ASSIGN_OR_RAISE(auto metadata, buffers_->Get(header.metadata_bytes));
    ARROW_RETURN_NOT_OK(frames.ReceiveMetadata(header, metadata->mutable_data()));
    ARROW_ASSIGN_OR_RAISE(const auto parsed, segment::IpcMessage::Parse(*metadata));
    ARROW_RETURN_NOT_OK(parsed.CheckAligned());
    if (parsed.body_length != header.body_bytes) return Invalid("a body has the wrong length");
    ARROW_ASSIGN_OR_RAISE(auto body, buffers_->Get(header.body_bytes));
    segment::BodyChecksum checksum(parsed, body->data());
    const std::function<void(int64_t)> advance = [&](int64_t end) { checksum.Advance(end); };
    ARROW_RETURN_NOT_OK(frames.socket().Receive(body->mutable_data(), header.body_bytes, &advance));
    ARROW_ASSIGN_OR_RAISE(const uint32_t expected, frames.ReceiveTrailer());
    const uint32_t crc = checksum.Finish();
    if (crc != expected) {
      return Error(Code::kDataLoss, "feed '", ticket_.feed, "' partition ", header.partition,
                   " from row ", header.row_begin, " on: the checksum of what arrived is ", crc,
                   ", of what was sent ", expected, ": read it again");
    }
    auto batch = decoder_->Decode(std::move(metadata), std::move(body), parsed.is_dictionary);
    if (!batch.ok()) return Invalid(batch.status().message());
    if (*batch != nullptr) {
      ARROW_RETURN_NOT_OK(
          cursor_.Advance(header.partition, header.row_begin, (*batch)->num_rows()));
    }
    return batch;
  }

  // The message as it lies in the server's segment. Its bytes are those that the server verified,
  // in the same memory, so they are not checked again.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> MapMessage(const Header& header) {
    channel::Frames& frames = channel_->frames;
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> metadata,
                          arrow::AllocateBuffer(header.metadata_bytes));
    ARROW_RETURN_NOT_OK(frames.ReceiveMetadata(header, metadata->mutable_data()));
    ARROW_RETURN_NOT_OK(frames.ReceiveTrailer().status());
    if ((header.flags & channel::kWithChunk) != 0) {
      ARROW_RETURN_NOT_OK(channel_->chunks.Add(header.chunk, frames.socket().TakeFd()));
    }
    ARROW_ASSIGN_OR_RAISE(
        auto body, channel_->chunks.Borrow(header.chunk, header.place, header.body_bytes, channel_,
                                           header.sequence));
    const bool is_dictionary = header.partition < 0;
    auto decoded = decoder_->Decode(std::move(metadata), std::move(body), is_dictionary);
    if (!decoded.ok()) return Invalid(decoded.status().message());
    if (is_dictionary) return nullptr;
    std::shared_ptr<arrow::RecordBatch> batch = *std::move(decoded);
    const int64_t skip = header.row_begin - header.first_row;
    if (skip < 0 || header.rows < 0 || header.rows > batch->num_rows() - skip) {
      return Invalid("rows outside of their batch");
    }
    if (skip > 0 || header.rows < batch->num_rows()) batch = batch->Slice(skip, header.rows);
    if (!columns_.empty()) {
      ARROW_ASSIGN_OR_RAISE(batch, batch->SelectColumns(columns_));
    }
    ARROW_RETURN_NOT_OK(cursor_.Advance(header.partition, header.row_begin, batch->num_rows()));
    return batch;
  }

  arrow::Status Invalid(const std::string& what) const {
    return Error(Code::kDataLoss, name_, ": what came from ", pool_->connection().uri(),
                 " is no valid Arrow stream (", what, "): read it again");
  }

  // Opens the stream again, until it works, the server says no, or the time is up.
  arrow::Status Recover() {
    const auto reopen = [this] {
      if (cancelled_) return Error(Code::kCancelled, name_, " was cancelled");
      {
        const std::lock_guard lock(mutex_);
        channel_.reset();
      }
      return Begin(true);
    };
    return ReopenUntil(pool_->timeout(), reopen, [this] { return Lost(); });
  }

  arrow::Status Translate(const arrow::Status& status) const {
    if (cancelled_) return Error(Code::kCancelled, name_, " was cancelled");
    const std::string& words = status.message();
    return words.find("feed '" + ticket_.feed + "'") != std::string::npos
               ? status
               : WithContext(status, name_);
  }

  arrow::Status Fail(const arrow::Status& status) {
    failure_ = Translate(status);
    const std::lock_guard lock(mutex_);
    if (channel_ != nullptr) channel_->BreakGet();
    channel_.reset();
    return failure_;
  }

  const std::shared_ptr<ChannelPool> pool_;
  const std::shared_ptr<BufferPool> buffers_;
  const proto::GetTicket ticket_;
  const std::string name_;
  RowCursor cursor_;
  std::mutex mutex_;  // guards the pointer, which Cancel() follows
  std::shared_ptr<DataChannel> channel_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> columns_;  // of mapped messages; empty: all
  std::unique_ptr<MessageDecoder> decoder_;
  arrow::Status failure_;
  bool over_ = false;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

arrow::Result<std::unique_ptr<GetStream>> OpenChannelGet(std::shared_ptr<ChannelPool> pool,
                                                         std::shared_ptr<BufferPool> buffers,
                                                         const proto::GetTicket& resolved) {
  return std::make_unique<ChannelGet>(std::move(pool), std::move(buffers), resolved);
}

}  // namespace flightbridge::client
