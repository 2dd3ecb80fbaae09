#include "client/flight_put.h"

#include <thread>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/flight/types.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/util/byte_size.h>

#include "client/put_checks.h"
#include "client/slicing.h"
#include "common/handoff.h"
#include "common/thread.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::client {
namespace {

namespace flight = arrow::flight;
namespace ipc = arrow::ipc;

// Hands the IPC messages of one stream to the transport: the descriptor with the first, the
// application metadata with each record batch.
class PayloadSink : public ipc::internal::IpcPayloadWriter {
 public:
  PayloadSink(flight::internal::ClientDataStream* stream, std::string descriptor)
      : stream_(stream), descriptor_(arrow::Buffer::FromString(std::move(descriptor))) {}

  void set_app_metadata(std::string bytes) {
    app_metadata_ = arrow::Buffer::FromString(std::move(bytes));
  }
  // True once the transport took no more: the call has ended and its status says why.
  bool refused() const { return refused_; }

  arrow::Status WritePayload(const ipc::IpcPayload& message) override {
    flight::FlightPayload payload(std::exchange(descriptor_, nullptr), nullptr, message);
    if (message.type == ipc::MessageType::RECORD_BATCH)
      payload.app_metadata = std::exchange(app_metadata_, nullptr);
    return Send(payload);
  }
  arrow::Status WriteMetadata(std::string bytes) {
    flight::FlightPayload payload;
    payload.app_metadata = arrow::Buffer::FromString(std::move(bytes));
    return Send(payload);
  }
  arrow::Status Close() override { return arrow::Status::OK(); }

 private:
  arrow::Status Send(const flight::FlightPayload& payload) {
    ARROW_ASSIGN_OR_RAISE(const bool taken, stream_->WriteData(payload));
    if (taken) return arrow::Status::OK();
    refused_ = true;
    return arrow::Status::IOError("stream closed");
  }

  flight::internal::ClientDataStream* stream_;
  std::shared_ptr<arrow::Buffer> descriptor_;
  std::shared_ptr<arrow::Buffer> app_metadata_;
  bool refused_ = false;
};

// Record batches whose checksum is known and which wait to be sent.
constexpr int64_t kMaxWaitingBytes = 4 << 20;

struct Piece {
  std::shared_ptr<arrow::RecordBatch> batch;
  proto::BatchMark mark;
};

// The caller's thread checksums the next piece while a thread of the stream's own sends this one:
// either is about as fast as the server receives, one after the other would be half of that.
// Once pieces are waiting only the sending thread touches the transport, until it has ended.
class FlightPut : public PutStream {
 public:
  FlightPut(std::shared_ptr<Connection> connection, const proto::PutCommand& command,
            std::shared_ptr<arrow::Schema> schema)
      : connection_(std::move(connection)),
        schema_(std::move(schema)),
        name_(PutName(command.feed, command.partition, command.attempt)) {}

  ~FlightPut() override {
    if (connection_->owner().is_this()) {
      Abort();
    } else {  // a forked child must not touch the parent's call, and has no such thread
      (void)stream_.release();
      (void)sender_.release();
    }
  }

  arrow::Status Open(const proto::PutCommand& command) {
    ARROW_RETURN_NOT_OK(connection_->Translate(
        connection_->transport().DoPut(connection_->StreamOptions(), &stream_),
        "putting " + name_));
    ARROW_ASSIGN_OR_RAISE(std::string descriptor,
                          flight::FlightDescriptor::Command(command.Encode()).SerializeToString());
    auto sink = std::make_unique<PayloadSink>(stream_.get(), std::move(descriptor));
    sink_ = sink.get();
    const Watchdog::Guard guard = connection_->Watch(stream_.get());
    auto writer = ipc::internal::OpenRecordBatchWriter(std::move(sink), schema_);
    if (!writer.ok()) return Fail(writer.status(), guard);
    writer_ = *std::move(writer);
    return arrow::Status::OK();
  }

  arrow::Status Write(const arrow::RecordBatch& batch) override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    ARROW_RETURN_NOT_OK(CheckBatchSchema(*schema_, batch));
    ARROW_ASSIGN_OR_RAISE(const auto slices, SliceForSending(batch));
    if (sender_ == nullptr)
      sender_ = std::make_unique<std::thread>(StartThread([this] { SendAll(); }));
    for (const auto& slice : slices) {
      ARROW_ASSIGN_OR_RAISE(const uint32_t crc, segment::BatchChecksum(*slice));
      ARROW_ASSIGN_OR_RAISE(const int64_t bytes, arrow::util::ReferencedBufferSize(*slice));
      Piece piece{slice, proto::BatchMark{static_cast<uint64_t>(end_.batches), crc}};
      if (!waiting_.Push(std::move(piece), bytes)) return JoinSender();
      end_.batches += 1;
      end_.rows += slice->num_rows();
      end_.crc32c = segment::ChainChecksum(end_.crc32c, crc);
    }
    return arrow::Status::OK();
  }

  arrow::Result<proto::PutResult> Finish() override {
    ARROW_RETURN_NOT_OK(CheckWritable());
    waiting_.Close();
    ARROW_RETURN_NOT_OK(JoinSender());
    const Watchdog::Guard guard = connection_->Watch(stream_.get());
    proto::PutMetadata metadata;
    metadata.end = end_;
    if (const auto status = sink_->WriteMetadata(metadata.Encode()); !status.ok())
      return Fail(status, guard);
    if (const auto status = stream_->WritesDone(); !status.ok()) return Fail(status, guard);
    std::shared_ptr<arrow::Buffer> ack;
    const bool answered = stream_->ReadPutMetadata(&ack);
    over_ = true;
    const auto status = stream_->Finish(arrow::Status::OK());
    if (guard.fired()) return Remember(connection_->TimedOut("finishing " + name_));
    if (!status.ok()) return Remember(connection_->Translate(status, "finishing " + name_));
    if (!answered) return Remember(NotAcknowledged());
    // The ack of an attempt without rows is an empty message.
    return CheckAck(ack == nullptr ? std::string_view() : std::string_view(*ack));
  }

  void Abort() override {
    if (stream_ == nullptr) return;
    aborted_ = true;
    if (sender_ != nullptr) {
      stream_->TryCancel();
      waiting_.Drop();
      (void)JoinSender();
    }
    if (over_) return;
    over_ = true;
    stream_->TryCancel();
    (void)stream_->Finish(arrow::Status::OK());
  }

 private:
  arrow::Status CheckWritable() {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    if (aborted_) return PutIsOver(name_);
    // While it runs, how sending went is the sending thread's; it closes the hand-off on failure.
    if (sender_ != nullptr) return waiting_.closed() ? JoinSender() : arrow::Status::OK();
    if (!failure_.ok()) return failure_;
    return over_ ? PutIsOver(name_) : arrow::Status::OK();
  }

  void SendAll() {
    while (auto piece = waiting_.Pop()) {
      proto::PutMetadata metadata;
      metadata.batch = piece->mark;
      sink_->set_app_metadata(metadata.Encode());
      const Watchdog::Guard guard = connection_->Watch(stream_.get());
      if (const auto status = writer_->WriteRecordBatch(*piece->batch); !status.ok()) {
        (void)Fail(status, guard);
        waiting_.Drop();
        return;
      }
    }
  }

  // Waits for what is on its way; how sending went.
  arrow::Status JoinSender() {
    if (sender_ != nullptr) {
      sender_->join();
      sender_ = nullptr;
    }
    return failure_;
  }

  arrow::Status Remember(arrow::Status failure) {
    failure_ = std::move(failure);
    return failure_;
  }

  // Ends the call and finds out why: what the server said, not that the stream is closed.
  arrow::Status Fail(const arrow::Status& status, const Watchdog::Guard& guard) {
    over_ = true;
    if (!sink_refused()) stream_->TryCancel();  // our own failure: the server has nothing to say
    const auto finished = stream_->Finish(arrow::Status::OK());
    if (guard.fired()) return Remember(connection_->TimedOut("putting " + name_));
    if (!sink_refused()) return Remember(WithContext(status, "putting " + name_));
    if (!finished.ok()) return Remember(connection_->Translate(finished, "putting " + name_));
    return Remember(Error(Code::kInternal, "putting ", name_, ": the server at ",
                          connection_->uri(), " ended the stream before its end record"));
  }
  bool sink_refused() const { return writer_ == nullptr || sink_->refused(); }

  arrow::Status NotAcknowledged() const {
    return Error(Code::kDataLoss, "finishing ", name_, ": the server at ", connection_->uri(),
                 " did not acknowledge the attempt: write it again");
  }

  arrow::Result<proto::PutResult> CheckAck(std::string_view bytes) {
    const auto result = proto::Parse<proto::PutResult>(bytes);
    if (!result) return Remember(NotAcknowledged());
    if (result->batches != end_.batches || result->rows != end_.rows ||
        result->crc32c != end_.crc32c)
      return Remember(Error(Code::kDataLoss, "finishing ", name_, ": sent ", end_.rows, " rows in ",
                            end_.batches, " batches (checksum ", end_.crc32c,
                            ") but the server acknowledged ", result->rows, " rows in ",
                            result->batches, " batches (checksum ", result->crc32c,
                            "): write it again"));
    return *result;
  }

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::string name_;
  std::unique_ptr<flight::internal::ClientDataStream> stream_;
  std::unique_ptr<ipc::RecordBatchWriter> writer_;
  PayloadSink* sink_ = nullptr;  // owned by writer_
  Handoff<Piece> waiting_{kMaxWaitingBytes};
  std::unique_ptr<std::thread> sender_;  // from the first Write() to Finish() or Abort()
  proto::PutEnd end_;
  arrow::Status failure_;
  bool over_ = false;
  bool aborted_ = false;
};

}  // namespace

arrow::Result<std::unique_ptr<PutStream>> OpenFlightPut(
    std::shared_ptr<Connection> connection, const proto::PutCommand& command,
    const std::shared_ptr<arrow::Schema>& schema) {
  auto put = std::make_unique<FlightPut>(std::move(connection), command, schema);
  ARROW_RETURN_NOT_OK(put->Open(command));
  return put;
}

}  // namespace flightbridge::client
