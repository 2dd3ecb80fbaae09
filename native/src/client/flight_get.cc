#include "client/flight_get.h"

#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/flight/types.h>
#include <arrow/ipc/message.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/util/byte_size.h>

#include "client/get_plan.h"
#include "common/handoff.h"
#include "common/thread.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::client {
namespace {

namespace flight = arrow::flight;
namespace ipc = arrow::ipc;

// The IPC messages of a DoGet, and the application metadata of the last one.
class MessageSource : public ipc::MessageReader {
 public:
  explicit MessageSource(flight::internal::ClientDataStream* stream) : stream_(stream) {}

  arrow::Result<std::unique_ptr<ipc::Message>> ReadNextMessage() override {
    flight::internal::FlightData data;
    do {
      if (!stream_->ReadData(&data)) {
        ended_ = true;
        return nullptr;
      }
    } while (data.metadata == nullptr);
    app_metadata_ = data.app_metadata;
    return data.OpenMessage();
  }

  // True once the call has ended, well or not: its status says which.
  bool ended() const { return ended_; }
  std::string_view app_metadata() const {
    return app_metadata_ == nullptr ? std::string_view() : std::string_view(*app_metadata_);
  }

 private:
  flight::internal::ClientDataStream* stream_;
  std::shared_ptr<arrow::Buffer> app_metadata_;
  bool ended_ = false;
};

// Record batches received and not yet asked for.
constexpr int64_t kMaxWaitingBytes = 4 << 20;

struct Received {
  std::shared_ptr<arrow::RecordBatch> batch;
  std::string app_metadata;
};

// A thread of the stream's own receives the next batch while the caller's checks this one: one
// after the other, the checksum would come on top of every byte's time on the wire. From the first
// use only that thread touches the transport (but for TryCancel), until it has ended; it waits for
// the schema too, so that Cancel() has something to cancel from the beginning.
class FlightGet : public GetStream {
 public:
  FlightGet(std::shared_ptr<Connection> connection, const proto::GetTicket& ticket)
      : connection_(std::move(connection)),
        name_("getting feed '" + ticket.feed + "'"),
        feed_(ticket.feed),
        cursor_(ticket) {}

  ~FlightGet() override {
    if (!connection_->owner().is_this()) {
      // A forked child must not touch the parent's call, and has no such thread.
      (void)stream_.release();
      (void)receiver_.release();
    } else if (stream_ != nullptr) {
      Stop();
      if (!over_) (void)stream_->Finish(arrow::Status::OK());
    }
  }

  arrow::Status Open(const proto::GetTicket& ticket) {
    return connection_->Translate(
        connection_->transport().DoGet(connection_->StreamOptions(),
                                       flight::Ticket{ticket.Encode()}, &stream_),
        name_);
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    StartReceiver();
    if (auto schema = schema_.get()) return schema;
    JoinReceiver();
    return Remember(ended_);
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    if (!failure_.ok()) return failure_;
    StartReceiver();
    while (auto received = waiting_.Pop()) {
      if (auto verified = Verify(*received); !verified.ok()) {
        Stop();
        return Remember(std::move(verified));
      }
      if (received->batch->num_rows() > 0) return std::move(received->batch);
    }
    JoinReceiver();
    if (!ended_.ok()) return Remember(ended_);
    if (cancelled_) return Remember(Error(Code::kCancelled, name_, " was cancelled"));
    ARROW_RETURN_NOT_OK(Remember(cursor_.CheckEnd()));
    return nullptr;
  }

  void Cancel() override {
    cancelled_ = true;
    stream_->TryCancel();
    waiting_.Drop();
  }

 private:
  void StartReceiver() {
    if (receiver_ != nullptr || over_) return;
    receiver_ = std::make_unique<std::thread>(StartThread([this] { ReceiveAll(); }));
  }

  void ReceiveAll() {
    ended_ = ReceiveSchema();
    received_schema_.set_value(ended_.ok() ? reader_->schema() : nullptr);
    if (ended_.ok()) ReceiveBatches();
    waiting_.Close();
  }

  arrow::Status ReceiveSchema() {
    const Watchdog::Guard guard = connection_->Watch(stream_.get());
    auto source = std::make_unique<MessageSource>(stream_.get());
    source_ = source.get();
    auto reader = ipc::RecordBatchStreamReader::Open(std::move(source));
    if (!reader.ok()) {
      source_ = nullptr;  // gone with the reader that was not made
      return Fail(reader.status(), guard);
    }
    reader_ = *std::move(reader);
    return arrow::Status::OK();
  }

  void ReceiveBatches() {
    for (bool more = true; more;) {
      Received received;
      const Watchdog::Guard guard = connection_->Watch(stream_.get());
      const auto status = reader_->ReadNext(&received.batch);
      if (!status.ok()) {
        ended_ = Fail(status, guard);
        more = false;
      } else if (received.batch == nullptr) {
        ended_ = End(guard);
        more = false;
      } else {
        received.app_metadata = source_->app_metadata();
        more = HandOver(std::move(received));
      }
    }
  }

  // False where nobody wants more.
  bool HandOver(Received received) {
    const auto bytes = arrow::util::ReferencedBufferSize(*received.batch);
    return waiting_.Push(std::move(received), bytes.ValueOr(kMaxWaitingBytes));
  }

  void JoinReceiver() {
    if (receiver_ == nullptr) return;
    receiver_->join();
    receiver_ = nullptr;
  }

  void Stop() {
    if (receiver_ != nullptr || !over_)
      stream_->TryCancel();  // over_ is the receiver's while it runs
    waiting_.Drop();
    JoinReceiver();
  }

  arrow::Status Verify(const Received& received) {
    const arrow::RecordBatch& batch = *received.batch;
    const auto metadata = received.app_metadata.empty()
                              ? std::nullopt
                              : proto::Parse<proto::GetMetadata>(received.app_metadata);
    if (!metadata)
      return Error(Code::kDataLoss, name_, ": a record batch from ", connection_->uri(),
                   " carries no FlightBridge metadata: is something between client and server?");
    ARROW_ASSIGN_OR_RAISE(const uint32_t crc, segment::BatchChecksum(batch));
    if (crc != metadata->crc32c)
      return Error(Code::kDataLoss, "feed '", feed_, "' partition ", metadata->partition, " rows ",
                   metadata->row_begin, " to ", metadata->row_begin + batch.num_rows(),
                   ": the checksum of what arrived is ", crc, ", of what was sent ",
                   metadata->crc32c, ": read it again");
    return cursor_.Advance(metadata->partition, metadata->row_begin, batch.num_rows());
  }

  arrow::Status Remember(arrow::Status failure) {
    failure_ = std::move(failure);
    return failure_;
  }

  // The server ended the stream: well, or with an error of its own.
  arrow::Status End(const Watchdog::Guard& guard) {
    over_ = true;
    const auto status = stream_->Finish(arrow::Status::OK());
    ARROW_RETURN_NOT_OK(WhyStopped(guard));
    return status.ok() ? status : connection_->Translate(status, name_);
  }

  // `status` is ours (an undecodable message) unless the call itself had ended.
  arrow::Status Fail(const arrow::Status& status, const Watchdog::Guard& guard) {
    over_ = true;
    const bool ended = source_ == nullptr || source_->ended();
    if (!ended) stream_->TryCancel();
    const auto finished = stream_->Finish(arrow::Status::OK());
    ARROW_RETURN_NOT_OK(WhyStopped(guard));
    if (ended && !finished.ok()) return connection_->Translate(finished, name_);
    if (CodeOf(status) == Code::kDataLoss) return status;
    return Error(Code::kDataLoss, name_, ": what came from ", connection_->uri(),
                 " is no valid Arrow stream (", status.message(), "): read it again");
  }

  arrow::Status WhyStopped(const Watchdog::Guard& guard) const {
    if (guard.fired()) return connection_->TimedOut(name_);
    if (cancelled_) return Error(Code::kCancelled, name_, " was cancelled");
    return arrow::Status::OK();
  }

  const std::shared_ptr<Connection> connection_;
  const std::string name_;
  const std::string feed_;
  RowCursor cursor_;
  std::unique_ptr<flight::internal::ClientDataStream> stream_;
  std::shared_ptr<ipc::RecordBatchStreamReader> reader_;
  MessageSource* source_ = nullptr;  // owned by reader_
  Handoff<Received> waiting_{kMaxWaitingBytes};
  std::promise<std::shared_ptr<arrow::Schema>> received_schema_;  // nullptr: receiving has ended
  std::shared_future<std::shared_ptr<arrow::Schema>> schema_ = received_schema_.get_future();
  std::unique_ptr<std::thread> receiver_;  // from the first use to the end
  arrow::Status ended_;                    // how receiving went; the receiver's until it is joined
  arrow::Status failure_;
  bool over_ = false;  // the call has finished; likewise
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

arrow::Result<std::unique_ptr<GetStream>> OpenFlightGet(std::shared_ptr<Connection> connection,
                                                        const proto::GetTicket& resolved) {
  auto get = std::make_unique<FlightGet>(std::move(connection), resolved);
  ARROW_RETURN_NOT_OK(get->Open(resolved));
  return get;
}

}  // namespace flightbridge::client
