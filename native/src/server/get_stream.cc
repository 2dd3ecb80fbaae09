#include "server/get_stream_internal.h"

#include <algorithm>
#include <deque>
#include <utility>

#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "server/batch_encoder_internal.h"
#include "server/get_plan_internal.h"
#include "server/order_stream_internal.h"
#include "server/pick_stream_internal.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

using arrow::flight::FlightPayload;

int64_t PayloadBytes(const FlightPayload& payload) {
  return payload.ipc_message.metadata->size() + payload.ipc_message.body_length;
}

// Serves ranges in order, one record batch of the store at a time. Batches that go out whole are
// sent as the bytes in their segment; the others are decoded in place, cut and encoded.
class GetStream final : public arrow::flight::FlightDataStream {
 public:
  GetStream(std::shared_ptr<ServiceState> state, StreamSlot slot, GetPlan plan)
      : state_(std::move(state)),
        slot_(std::move(slot)),
        open_(&state_->open_gets),
        plan_(std::move(plan)),
        encoder_(*plan_.schema),
        has_dictionaries_(arrow::ipc::DictionaryFieldMapper(*plan_.schema).num_dicts() > 0) {
    // With dictionaries a stored batch can go out only behind the dictionary messages before it,
    // and the encoder has to know what was sent: so either the whole stream is stored bytes or
    // none.
    const bool whole = std::ranges::all_of(plan_.ranges, &PlannedRange::whole);
    stored_ = plan_.columns.empty() && (whole || !has_dictionaries_);
  }

  std::shared_ptr<arrow::Schema> schema() override { return plan_.schema; }

  arrow::Result<FlightPayload> GetSchemaPayload() override {
    FlightPayload payload;
    const arrow::Status status = arrow::ipc::GetSchemaPayload(
        *plan_.schema, arrow::ipc::IpcWriteOptions::Defaults(),
        arrow::ipc::DictionaryFieldMapper(*plan_.schema), &payload.ipc_message);
    if (!status.ok()) return Reply(status);
    return payload;
  }

  // A payload without metadata is the end of the stream.
  arrow::Result<FlightPayload> Next() override {
    while (ready_.empty() && range_ < plan_.ranges.size()) {
      if (const arrow::Status status = Advance(); !status.ok()) return Reply(status);
    }
    if (ready_.empty()) return FlightPayload{};
    FlightPayload payload = std::move(ready_.front());
    ready_.pop_front();
    state_->bytes_got.fetch_add(PayloadBytes(payload), std::memory_order_relaxed);
    return payload;
  }

 private:
  // Makes payloads of the next message of the current range, or goes on to the next range.
  arrow::Status Advance() {
    const PlannedRange& range = plan_.ranges[range_];
    if (!range_started_) {
      range_started_ = true;
      // A whole partition starts with its dictionaries.
      message_ =
          range.whole() || range.begin == range.end ? 0 : range.partition->FindBatch(range.begin);
    }
    if (message_ == range.partition->messages.size() ||
        (range.begin == range.end && !range.whole())) {
      return NextRange();
    }
    const feed::StoredMessage& message = range.partition->messages[message_];
    if (message.is_dictionary) {
      ARROW_RETURN_NOT_OK(range.partition->Verify(message_));
      if (stored_) ready_.push_back(Stored(message, nullptr));
      ++message_;
      return arrow::Status::OK();
    }
    if (message.row_begin >= range.end && !range.whole()) return NextRange();
    ARROW_RETURN_NOT_OK(SendBatch(range, message));
    ++message_;
    return arrow::Status::OK();
  }

  arrow::Status NextRange() {
    ++range_;
    range_started_ = false;
    return arrow::Status::OK();
  }

  arrow::Status SendBatch(const PlannedRange& range, const feed::StoredMessage& message) {
    const int64_t begin = std::max(range.begin, message.row_begin);
    const int64_t end = std::min(range.end, message.row_begin + message.rows);
    const bool whole = end - begin == message.rows;
    if (whole && stored_) {
      ARROW_RETURN_NOT_OK(range.partition->Verify(message_));
      ready_.push_back(Stored(message, Mark(range, begin, message.crc32c)));
      return arrow::Status::OK();
    }
    ARROW_ASSIGN_OR_RAISE(auto batch, range.partition->Decode(message_));
    if (!plan_.columns.empty()) {
      ARROW_ASSIGN_OR_RAISE(batch, batch->SelectColumns(plan_.columns));
    }
    if (!whole) batch = batch->Slice(begin - message.row_begin, end - begin);
    // Also of a whole batch: its writer may have laid it out otherwise than this encoder does.
    ARROW_ASSIGN_OR_RAISE(const uint32_t crc32c, segment::BatchChecksum(*batch));
    return encoder_.Encode(*batch, Mark(range, begin, crc32c), &ready_);
  }

  static std::shared_ptr<arrow::Buffer> Mark(const PlannedRange& range, int64_t row_begin,
                                             uint32_t crc32c) {
    const proto::GetMetadata mark{
        .partition = range.partition->partition, .row_begin = row_begin, .crc32c = crc32c};
    return arrow::Buffer::FromString(mark.Encode());
  }

  // The message exactly as it lies in its segment.
  static FlightPayload Stored(const feed::StoredMessage& message,
                              std::shared_ptr<arrow::Buffer> app_metadata) {
    FlightPayload payload;
    payload.app_metadata = std::move(app_metadata);
    payload.ipc_message.type = message.is_dictionary ? arrow::ipc::MessageType::DICTIONARY_BATCH
                                                     : arrow::ipc::MessageType::RECORD_BATCH;
    payload.ipc_message.metadata = message.metadata;
    payload.ipc_message.body_buffers = {message.body};
    payload.ipc_message.body_length = message.body->size();
    payload.ipc_message.raw_body_length = message.body->size();
    return payload;
  }

  std::shared_ptr<ServiceState> state_;
  StreamSlot slot_;
  CountGuard open_;
  GetPlan plan_;  // holds the snapshot, and so every segment that is being sent
  BatchEncoder encoder_;
  bool has_dictionaries_;
  bool stored_ = false;

  size_t range_ = 0;
  bool range_started_ = false;
  size_t message_ = 0;
  std::deque<FlightPayload> ready_;
};

}  // namespace

arrow::Result<std::unique_ptr<arrow::flight::FlightDataStream>> OpenGetStream(
    std::shared_ptr<ServiceState> state, const Caller& caller, std::string_view ticket) {
  ARROW_ASSIGN_OR_RAISE(StreamSlot slot, StreamSlot::Take(state.get()));
  ARROW_ASSIGN_OR_RAISE(auto plan, PlanGet(state.get(), caller, ticket));
  if (plan.order) return MakeOrderStream(std::move(state), std::move(slot), std::move(plan));
  if (!plan.picks.empty()) {
    return MakePickStream(std::move(state), std::move(slot), std::move(plan));
  }
  return std::make_unique<GetStream>(std::move(state), std::move(slot), std::move(plan));
}

}  // namespace flightbridge::server
