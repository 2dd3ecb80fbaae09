#include "server/batch_encoder_internal.h"

#include <utility>

#include <arrow/array.h>
#include <arrow/ipc/writer.h>
#include <arrow/result.h>

namespace flightbridge::server {

arrow::Status BatchEncoder::Encode(const arrow::RecordBatch& batch,
                                   std::shared_ptr<arrow::Buffer> app_metadata,
                                   std::deque<arrow::flight::FlightPayload>* out) {
  if (mapper_.num_dicts() > 0) {
    ARROW_ASSIGN_OR_RAISE(const auto dictionaries, arrow::ipc::CollectDictionaries(batch, mapper_));
    for (const auto& [id, dictionary] : dictionaries) {
      std::shared_ptr<arrow::Array>& sent = sent_[id];
      if (sent != nullptr && (sent->data() == dictionary->data() || sent->Equals(*dictionary)))
        continue;
      arrow::flight::FlightPayload payload;
      ARROW_RETURN_NOT_OK(
          arrow::ipc::GetDictionaryPayload(id, dictionary, options_, &payload.ipc_message));
      out->push_back(std::move(payload));
      sent = dictionary;
    }
  }
  arrow::flight::FlightPayload payload;
  payload.app_metadata = std::move(app_metadata);
  ARROW_RETURN_NOT_OK(arrow::ipc::GetRecordBatchPayload(batch, options_, &payload.ipc_message));
  out->push_back(std::move(payload));
  return arrow::Status::OK();
}

}  // namespace flightbridge::server
