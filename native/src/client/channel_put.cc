#include "client/channel_put.h"

#include <chrono>
#include <string>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "channel/message.h"
#include "client/put_checks.h"
#include "client/put_window.h"
#include "client/reopen.h"
#include "client/ring_space.h"
#include "client/slicing.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::client {
namespace {

namespace ipc = arrow::ipc;
using channel::Header;
using channel::Kind;

// Sent and not yet acked: enough to keep a fast link busy, little enough to hold.
constexpr int64_t kWindowBytes = 32 << 20;
// A put of up to this many bytes can be sent again from its start.
constexpr int64_t kReplayBytes = 64 << 20;
// Large enough for the server to copy one message while the next is written.
constexpr int64_t kRingBytes = 16 << 20;
// A smaller body costs less on the socket.
constexpr int64_t kRingFrom = 16 << 10;

// Collects the messages that Arrow's writer makes of a record batch: its dictionaries and itself.
class MessageSink : public ipc::internal::IpcPayloadWriter {
 public:
  explicit MessageSink(std::vector<channel::Message>* out) : out_(out) {}
  arrow::Status WritePayload(const ipc::IpcPayload& payload) override {
    if (payload.type == ipc::MessageType::SCHEMA) return {};  // sent with the request
    ARROW_ASSIGN_OR_RAISE(auto message, channel::Message::Of(payload));
    out_->push_back(std::move(message));
    return {};
  }
  arrow::Status Close() override { return {}; }

 private:
  std::vector<channel::Message>* out_;
};

class ChannelPut : public PutStream {
 public:
  ChannelPut(std::shared_ptr<ChannelPool> pool, const proto::PutCommand& command,
             std::shared_ptr<arrow::Schema> schema)
      : pool_(std::move(pool)),
        command_(command),
        schema_(std::move(schema)),
        name_(PutName(command.feed, command.partition, command.attempt)),
        window_(kWindowBytes, kReplayBytes) {}

  ~ChannelPut() override {
    if (pool_->connection().owner().is_this()) Abort();
  }

  arrow::Status Open() {
    ARROW_ASSIGN_OR_RAISE(const auto bytes, ipc::SerializeSchema(*schema_));
    schema_bytes_ = bytes->ToString();
    ARROW_ASSIGN_OR_RAISE(writer_, ipc::internal::OpenRecordBatchWriter(
                                       std::make_unique<MessageSink>(&made_), schema_));
    auto status = Begin(false, false);
    // An idle channel may have been closed by the server a moment ago.
    if (!status.ok() && Lost()) status = Begin(true, false);
    return status.ok() || !Lost() ? status : Recover();
  }

  arrow::Status Write(const arrow::RecordBatch& batch) override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    ARROW_RETURN_NOT_OK(CheckBatchSchema(*schema_, batch));
    ARROW_ASSIGN_OR_RAISE(const auto slices, SliceForSending(batch));
    for (const auto& slice : slices) {
      made_.clear();
      if (const auto status = writer_->WriteRecordBatch(*slice); !status.ok())
        return WithContext(status, "putting " + name_);
      for (channel::Message& message : made_) {
        const channel::Message kept = message;
        sent_crc_.reset();
        window_.Add(std::move(message));
        if (const auto status = SendAll(); !status.ok()) return Fail(status);
        if (kept.parsed().is_dictionary) continue;
        // Lost on its way back, it may have arrived without being sent to its end here.
        const uint32_t crc = sent_crc_ ? *sent_crc_ : kept.Checksum();
        end_.batches += 1;
        end_.rows += slice->num_rows();
        end_.crc32c = segment::ChainChecksum(end_.crc32c, crc);
      }
    }
    return arrow::Status::OK();
  }

  arrow::Result<proto::PutResult> Finish() override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    while (true) {
      auto result = TryFinish();
      if (result.ok()) {
        over_ = true;
        pool_->Give(ChannelPool::Use::kPut, std::move(channel_));
        if (result->batches == end_.batches && result->rows == end_.rows &&
            result->crc32c == end_.crc32c)
          return result;
        return Remember(Error(Code::kDataLoss, "finishing ", name_, ": sent ", end_.rows,
                              " rows in ", end_.batches, " batches (checksum ", end_.crc32c,
                              ") but the server acknowledged ", result->rows, " rows in ",
                              result->batches, " batches (checksum ", result->crc32c,
                              "): write it again"));
      }
      if (!Lost()) return Fail(result.status());
      if (const auto status = Recover(); !status.ok()) return Fail(status);
      if (const auto status = SendAll(); !status.ok()) return Fail(status);
    }
  }

  void Abort() override {
    aborted_ = true;
    if (over_ || channel_ == nullptr) return;
    over_ = true;
    // The server need not keep what nobody comes back for. Not worth waiting for.
    channel_->frames.socket().set_timeout(std::chrono::milliseconds(0));
    if (!in_frame_) (void)channel_->frames.Send(Kind::kError, {});
    channel_->frames.socket().Break();
    channel_.reset();
  }

 private:
  arrow::Status CheckWritable() const {
    ARROW_RETURN_NOT_OK(pool_->connection().owner().Check());
    if (!failure_.ok()) return failure_;
    return over_ || aborted_ ? PutIsOver(name_) : arrow::Status::OK();
  }

  bool Lost() const { return channel_ == nullptr || channel_->frames.socket().lost(); }

  // Opens the put on a channel and learns from where on the server wants it.
  arrow::Status Begin(bool fresh, bool resume) {
    channel_.reset();
    ARROW_ASSIGN_OR_RAISE(channel_, pool_->Take(ChannelPool::Use::kPut, fresh));
    proto::ChannelPut put;
    put.command = command_;
    put.schema = schema_bytes_;
    put.resume = resume;
    ARROW_RETURN_NOT_OK(channel_->frames.Send(Kind::kPut, put.Encode()));
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, Await(Kind::kReady));
    const auto ready = proto::Parse<proto::ChannelReady>(metadata);
    if (!ready) return Error(Code::kInternal, "the server's answer cannot be parsed");
    staged_ = ready->staged;
    if (staged_) return arrow::Status::OK();
    if (!window_.Restart(ready->next_sequence)) {
      return Error(Code::kUnavailable, "the server at ", pool_->connection().uri(),
                   " has lost what it was sent of ", name_,
                   " (it restarted, or waited for longer "
                   "than some seconds): write the partition again, as a new attempt");
    }
    next_ = ready->next_sequence;
    return channel_->local ? ShareRing() : arrow::Status::OK();
  }

  // On one machine the bodies go through memory that both sides see. Where there is no memory for
  // it they go over the socket.
  arrow::Status ShareRing() {
    ring_ = RingSpace(kRingBytes);
    if (channel_->ring != nullptr) return arrow::Status::OK();  // an earlier put shared it
    auto made = channel::Ring::Create(kRingBytes);
    if (!made.ok()) return arrow::Status::OK();
    channel_->ring = *std::move(made);
    Header header;
    header.kind = static_cast<uint16_t>(Kind::kRing);
    return channel_->frames.SendFd(header, channel_->ring->fd());
  }

  // Sends what is in the window and was not sent over this channel, waiting for acks while too
  // much is on its way.
  arrow::Status SendAll() {
    while (true) {
      auto status = TrySendAll();
      if (status.ok() || !Lost()) return status;
      ARROW_RETURN_NOT_OK(Recover());
    }
  }

  arrow::Status TrySendAll() {
    const auto on_readable = [this] { return TakeAnswer(); };
    while (channel_->frames.socket().Readable()) ARROW_RETURN_NOT_OK(TakeAnswer());
    while (!staged_ && next_ < window_.end()) {
      Header header;
      header.sequence = next_;
      in_frame_ = true;
      ARROW_ASSIGN_OR_RAISE(const uint32_t crc, SendOne(header, window_.At(next_), on_readable));
      in_frame_ = false;
      if (++next_ == window_.end()) sent_crc_ = crc;
      // What is sent again is sent whole; the window is for what is new.
      while (window_.full() && window_.acked() < next_) ARROW_RETURN_NOT_OK(TakeAnswer());
    }
    return arrow::Status::OK();
  }

  arrow::Result<uint32_t> SendOne(Header header, const channel::Message& message,
                                  const channel::Frames::OnReadable& on_readable) {
    const int64_t bytes = message.body_bytes();
    if (channel_->ring == nullptr || bytes < kRingFrom || bytes > kRingBytes / 2)
      return channel_->frames.SendMessage(header, message, on_readable);
    auto place = ring_.Allocate(header.sequence, bytes);
    while (!place) {
      ARROW_RETURN_NOT_OK(TakeAnswer());
      place = ring_.Allocate(header.sequence, bytes);
    }
    header.flags = channel::kInRing;
    header.place = *place;
    header.body_bytes = bytes;
    const uint32_t crc = message.CopyBody(channel_->ring->data() + *place);
    ARROW_RETURN_NOT_OK(
        channel_->frames.SendReference(header, message.metadata(), crc, -1, on_readable));
    return crc;
  }

  arrow::Result<proto::PutResult> TryFinish() {
    if (staged_) return *staged_;
    ARROW_RETURN_NOT_OK(channel_->frames.Send(Kind::kEnd, end_.Encode()));
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, Await(Kind::kResult));
    const auto result = proto::Parse<proto::PutResult>(metadata);
    if (!result)
      return Error(Code::kDataLoss, "finishing ", name_, ": the server at ",
                   pool_->connection().uri(), " sent an answer that cannot be read");
    return *result;
  }

  // The frame of that kind, behind any acks.
  arrow::Result<std::string> Await(Kind kind) {
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const Header header, channel_->frames.ReceiveHeader(0));
      ARROW_ASSIGN_OR_RAISE(std::string metadata, channel_->frames.ReceiveMetadata(header));
      if (header.what() == kind) return metadata;
      ARROW_RETURN_NOT_OK(Take(header, metadata));
    }
  }

  arrow::Status TakeAnswer() {
    ARROW_ASSIGN_OR_RAISE(const Header header, channel_->frames.ReceiveHeader(0));
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, channel_->frames.ReceiveMetadata(header));
    return Take(header, metadata);
  }

  arrow::Status Take(const Header& header, const std::string& metadata) {
    if (header.what() == Kind::kError) return channel::ReceivedError(metadata);
    const auto ack = proto::Parse<proto::ChannelAck>(metadata);
    if (header.what() != Kind::kAck || !ack || !window_.Ack(ack->next_sequence))
      return channel::Unexpected(header, "an ack of the put");
    ring_.Free(ack->next_sequence);
    return arrow::Status::OK();
  }

  // Opens the put again, until it works, the server says no, or the time is up.
  arrow::Status Recover() {
    const auto reopen = [this] {
      in_frame_ = false;
      return Begin(true, true);
    };
    return ReopenUntil(pool_->timeout(), reopen, [this] { return Lost(); });
  }

  arrow::Status Fail(const arrow::Status& status) {
    over_ = true;
    if (channel_ != nullptr) channel_->frames.socket().Break();
    channel_.reset();
    const auto& words = status.message();
    return Remember(words.find(name_) != std::string::npos ||
                            words.find("feed '" + command_.feed + "'") != std::string::npos
                        ? status
                        : WithContext(status, "putting " + name_));
  }

  arrow::Status Remember(arrow::Status failure) {
    failure_ = std::move(failure);
    return failure_;
  }

  const std::shared_ptr<ChannelPool> pool_;
  const proto::PutCommand command_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::string name_;
  std::string schema_bytes_;
  std::vector<channel::Message> made_;
  std::unique_ptr<ipc::RecordBatchWriter> writer_;
  std::shared_ptr<DataChannel> channel_;
  PutWindow window_;
  RingSpace ring_{0};
  uint64_t next_ = 0;                       // to be sent over this channel
  std::optional<uint32_t> sent_crc_;        // of the message added last, once it is sent
  std::optional<proto::PutResult> staged_;  // known to be, since a channel was lost
  proto::PutEnd end_;
  arrow::Status failure_;
  bool in_frame_ = false;
  bool over_ = false;
  bool aborted_ = false;
};

}  // namespace

arrow::Result<std::unique_ptr<PutStream>> OpenChannelPut(
    std::shared_ptr<ChannelPool> pool, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema) {
  auto put = std::make_unique<ChannelPut>(std::move(pool), command, schema);
  ARROW_RETURN_NOT_OK(put->Open());
  return put;
}

}  // namespace flightbridge::client
