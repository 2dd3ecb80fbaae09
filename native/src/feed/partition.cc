#include "feed/partition.h"

#include <algorithm>
#include <map>

#include <arrow/io/memory.h>
#include <arrow/ipc/api.h>

#include "feed/stored_record.h"
#include "flightbridge/error.h"
#include "segment/ipc_message.h"

namespace flightbridge::feed {
namespace {

// The schema message, some dictionaries and one record batch, as if they came in a stream.
class StoredMessageReader : public arrow::ipc::MessageReader {
 public:
  StoredMessageReader(std::unique_ptr<arrow::ipc::Message> schema,
                      std::vector<const StoredMessage*> stored)
      : schema_(std::move(schema)), stored_(std::move(stored)) {}

  arrow::Result<std::unique_ptr<arrow::ipc::Message>> ReadNextMessage() override {
    if (schema_ != nullptr) return std::move(schema_);
    if (next_ == stored_.size()) return nullptr;
    const StoredMessage& message = *stored_[next_++];
    return arrow::ipc::Message::Open(message.metadata, message.body);
  }

 private:
  std::unique_ptr<arrow::ipc::Message> schema_;
  std::vector<const StoredMessage*> stored_;
  size_t next_ = 0;
};

arrow::ipc::IpcReadOptions ReadOptions() {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  return options;
}

arrow::Result<std::unique_ptr<arrow::ipc::Message>> SchemaMessage(const arrow::Schema& schema) {
  ARROW_ASSIGN_OR_RAISE(auto encapsulated, arrow::ipc::SerializeSchema(schema));
  arrow::io::BufferReader reader(encapsulated);
  return arrow::ipc::ReadMessage(&reader);
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> DecodeMessages(
    const Partition& partition, size_t i, const std::vector<size_t>& dictionaries) {
  const StoredMessage& stored = partition.messages[i];
  if (dictionaries.empty()) {
    ARROW_ASSIGN_OR_RAISE(auto message, arrow::ipc::Message::Open(stored.metadata, stored.body));
    const arrow::ipc::DictionaryMemo memo;
    return arrow::ipc::ReadRecordBatch(*message, partition.schema, &memo, ReadOptions());
  }
  std::vector<const StoredMessage*> sequence;
  for (const size_t dictionary : dictionaries) sequence.push_back(&partition.messages[dictionary]);
  sequence.push_back(&stored);
  ARROW_ASSIGN_OR_RAISE(auto schema, SchemaMessage(*partition.schema));
  ARROW_ASSIGN_OR_RAISE(
      auto reader,
      arrow::ipc::RecordBatchStreamReader::Open(
          std::make_unique<StoredMessageReader>(std::move(schema), sequence), ReadOptions()));
  std::shared_ptr<arrow::RecordBatch> batch;
  ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
  if (batch == nullptr) return arrow::Status::Invalid("no record batch in the stored messages");
  return batch;
}

}  // namespace

arrow::Status Partition::Verify(size_t i) const {
  const StoredMessage& message = messages[i];
  segment::Segment* const segment = segment::SegmentOf(*message.metadata);
  if (segment == nullptr) return {};
  const auto damaged = [&](const arrow::Status& status) {
    return Error(Code::kDataLoss, "feed '", feed, "', partition ", partition, ", message ", i,
                 " is damaged on disk: ", status.message(), "; write the feed again");
  };
  const uint32_t loads_before = segment->loads();
  if (auto status = segment->Touch(); !status.ok()) {
    return CodeOf(status) == Code::kDataLoss ? damaged(status) : status;
  }
  const uint32_t loads = segment->loads();
  if (loads != loads_before) ReadAhead(i, segment);
  if (verified == nullptr || verified->Get(i, loads)) return {};
  if (auto status = VerifyBody(message); !status.ok()) return damaged(status);
  verified->Set(i, loads);
  return {};
}

void Partition::ReadAhead(size_t i, const segment::Segment* current) const {
  for (; i < messages.size(); ++i) {
    segment::Segment* const next = segment::SegmentOf(*messages[i].metadata);
    if (next == current) continue;
    if (next != nullptr) next->ReadAhead();
    return;
  }
}

arrow::Result<std::vector<size_t>> Partition::DictionariesFor(size_t i) const {
  std::map<int64_t, size_t> latest;
  for (size_t k = 0; k < i; ++k) {
    if (!messages[k].is_dictionary) continue;
    ARROW_RETURN_NOT_OK(Verify(k));
    ARROW_ASSIGN_OR_RAISE(const auto parsed, segment::IpcMessage::Parse(*messages[k].metadata));
    latest[parsed.dictionary_id] = k;
  }
  std::vector<size_t> indices;
  for (const auto& [id, index] : latest) indices.push_back(index);
  std::sort(indices.begin(), indices.end());
  return indices;
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> Partition::Decode(size_t i) const {
  if (i >= messages.size() || messages[i].is_dictionary) {
    return Error(Code::kInvalidArgument, "feed '", feed, "', partition ", partition, ": message ",
                 i, " of ", messages.size(), " is not a record batch");
  }
  std::vector<size_t> dictionaries;
  // A dictionary comes before its first user, so a first message that is none means there are none.
  if (messages.front().is_dictionary) {
    ARROW_ASSIGN_OR_RAISE(dictionaries, DictionariesFor(i));
  }
  ARROW_RETURN_NOT_OK(Verify(i));
  auto batch = DecodeMessages(*this, i, dictionaries);
  if (!batch.ok()) {
    return Error(Code::kDataLoss, "feed '", feed, "', partition ", partition, ", message ", i,
                 " cannot be decoded: ", batch.status().message());
  }
  return batch;
}

size_t Partition::FindBatch(int64_t row) const {
  const auto at = std::partition_point(
      messages.begin(), messages.end(),
      [row](const StoredMessage& message) { return message.row_begin + message.rows <= row; });
  return static_cast<size_t>(at - messages.begin());
}

}  // namespace flightbridge::feed
