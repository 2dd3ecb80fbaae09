#include "server/pick_stream_internal.h"

#include <deque>
#include <utility>

#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>

#include "feed/row_picker.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "server/batch_encoder_internal.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

using arrow::flight::FlightPayload;

class PickStream final : public arrow::flight::FlightDataStream {
 public:
  PickStream(std::shared_ptr<ServiceState> state, StreamSlot slot, GetPlan plan)
      : state_(std::move(state)),
        slot_(std::move(slot)),
        open_(&state_->open_gets),
        snapshot_(std::move(plan.snapshot)),
        schema_(std::move(plan.schema)),
        picker_(schema_, std::move(plan.columns), std::move(plan.picks)),
        encoder_(*schema_) {}

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }

  arrow::Result<FlightPayload> GetSchemaPayload() override {
    FlightPayload payload;
    const arrow::Status status = arrow::ipc::GetSchemaPayload(
        *schema_, arrow::ipc::IpcWriteOptions::Defaults(),
        arrow::ipc::DictionaryFieldMapper(*schema_), &payload.ipc_message);
    if (!status.ok()) return Reply(status);
    return payload;
  }

  // A payload without metadata is the end of the stream.
  arrow::Result<FlightPayload> Next() override {
    if (ready_.empty()) {
      if (const arrow::Status status = Advance(); !status.ok()) return Reply(status);
    }
    if (ready_.empty()) return FlightPayload{};
    FlightPayload payload = std::move(ready_.front());
    ready_.pop_front();
    state_->bytes_got.fetch_add(
        payload.ipc_message.metadata->size() + payload.ipc_message.body_length,
        std::memory_order_relaxed);
    return payload;
  }

 private:
  arrow::Status Advance() {
    ARROW_ASSIGN_OR_RAISE(const auto batch, picker_.Next());
    if (batch == nullptr) return {};
    ARROW_ASSIGN_OR_RAISE(const uint32_t crc32c, segment::BatchChecksum(*batch));
    const proto::GetMetadata mark{.partition = 0, .row_begin = sent_, .crc32c = crc32c};
    sent_ += batch->num_rows();
    return encoder_.Encode(*batch, arrow::Buffer::FromString(mark.Encode()), &ready_);
  }

  const std::shared_ptr<ServiceState> state_;
  const StreamSlot slot_;
  const CountGuard open_;
  const std::shared_ptr<const feed::Snapshot> snapshot_;
  const std::shared_ptr<arrow::Schema> schema_;
  feed::RowPicker picker_;
  BatchEncoder encoder_;
  int64_t sent_ = 0;  // rows
  std::deque<FlightPayload> ready_;
};

}  // namespace

std::unique_ptr<arrow::flight::FlightDataStream> MakePickStream(std::shared_ptr<ServiceState> state,
                                                                StreamSlot slot, GetPlan plan) {
  return std::make_unique<PickStream>(std::move(state), std::move(slot), std::move(plan));
}

}  // namespace flightbridge::server
