#include "server/order_stream_internal.h"

#include <deque>
#include <utility>

#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>

#include "feed/order_reader.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "server/batch_encoder_internal.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

using arrow::flight::FlightPayload;

// A reader that waits for its first rows gets empty batches that often: so neither side takes the
// other for gone.
constexpr std::chrono::milliseconds kSignOfLife{500};

class OrderStream final : public arrow::flight::FlightDataStream {
 public:
  OrderStream(std::shared_ptr<ServiceState> state, StreamSlot slot,
              std::shared_ptr<arrow::Schema> schema, std::unique_ptr<feed::OrderReader> rows)
      : state_(std::move(state)),
        slot_(std::move(slot)),
        open_(&state_->open_gets),
        schema_(std::move(schema)),
        rows_(std::move(rows)),
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
    if (const arrow::Status status = Advance(); !status.ok()) return Reply(status);
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
    ARROW_ASSIGN_OR_RAISE(const auto batch, rows_->Next(kSignOfLife));
    if (batch == nullptr) return {};
    ARROW_ASSIGN_OR_RAISE(const uint32_t crc32c, segment::BatchChecksum(*batch));
    const proto::GetMetadata mark{.partition = 0, .row_begin = sent_, .crc32c = crc32c};
    sent_ += batch->num_rows();
    return encoder_.Encode(*batch, arrow::Buffer::FromString(mark.Encode()), &ready_);
  }

  const std::shared_ptr<ServiceState> state_;
  const StreamSlot slot_;
  const CountGuard open_;
  const std::shared_ptr<arrow::Schema> schema_;
  const std::unique_ptr<feed::OrderReader> rows_;
  BatchEncoder encoder_;
  int64_t sent_ = 0;  // rows
  std::deque<FlightPayload> ready_;
};

}  // namespace

arrow::Result<std::unique_ptr<arrow::flight::FlightDataStream>> MakeOrderStream(
    std::shared_ptr<ServiceState> state, StreamSlot slot, GetPlan plan) {
  ARROW_ASSIGN_OR_RAISE(auto rows, state->dealer->Open(plan.snapshot, plan.schema,
                                                       std::move(plan.columns), *plan.order));
  return std::make_unique<OrderStream>(std::move(state), std::move(slot), std::move(plan.schema),
                                       std::move(rows));
}

}  // namespace flightbridge::server
