#include "common/message_decoder.h"

#include <deque>
#include <utility>

#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/message.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>

namespace flightbridge {
namespace {

arrow::ipc::IpcReadOptions Options() {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  return options;
}

}  // namespace

// What the stream reader is to read next.
class MessageDecoder::Queue : public arrow::ipc::MessageReader {
 public:
  arrow::Result<std::unique_ptr<arrow::ipc::Message>> ReadNextMessage() override {
    if (waiting_.empty()) return nullptr;
    auto message = std::move(waiting_.front());
    waiting_.pop_front();
    return message;
  }
  void Push(std::unique_ptr<arrow::ipc::Message> message) {
    waiting_.push_back(std::move(message));
  }

 private:
  std::deque<std::unique_ptr<arrow::ipc::Message>> waiting_;
};

MessageDecoder::MessageDecoder(std::shared_ptr<arrow::Schema> schema)
    : schema_(std::move(schema)),
      has_dictionaries_(arrow::ipc::DictionaryFieldMapper(*schema_).num_dicts() > 0) {}

MessageDecoder::~MessageDecoder() = default;

arrow::Result<std::shared_ptr<arrow::RecordBatch>> MessageDecoder::Decode(
    std::shared_ptr<arrow::Buffer> metadata, std::shared_ptr<arrow::Buffer> body,
    bool is_dictionary) {
  if (is_dictionary && !has_dictionaries_) {
    return arrow::Status::Invalid("a dictionary, and the schema has no column with one");
  }
  ARROW_ASSIGN_OR_RAISE(auto message,
                        arrow::ipc::Message::Open(std::move(metadata), std::move(body)));
  const auto expected = is_dictionary ? arrow::ipc::MessageType::DICTIONARY_BATCH
                                      : arrow::ipc::MessageType::RECORD_BATCH;
  if (message->type() != expected) return arrow::Status::Invalid("not the expected message");
  if (!has_dictionaries_) {
    const arrow::ipc::DictionaryMemo memo;
    return arrow::ipc::ReadRecordBatch(*message, schema_, &memo, Options());
  }
  if (messages_ == nullptr) {
    auto queue = std::make_unique<Queue>();
    ARROW_ASSIGN_OR_RAISE(auto encapsulated, arrow::ipc::SerializeSchema(*schema_));
    arrow::io::BufferReader bytes(encapsulated);
    ARROW_ASSIGN_OR_RAISE(auto schema, arrow::ipc::ReadMessage(&bytes));
    queue->Push(std::move(schema));
    messages_ = queue.get();
    ARROW_ASSIGN_OR_RAISE(reader_,
                          arrow::ipc::RecordBatchStreamReader::Open(std::move(queue), Options()));
  }
  messages_->Push(std::move(message));
  if (is_dictionary) return nullptr;
  std::shared_ptr<arrow::RecordBatch> batch;
  ARROW_RETURN_NOT_OK(reader_->ReadNext(&batch));
  if (batch == nullptr) return arrow::Status::Invalid("the dictionaries of a batch are missing");
  return batch;
}

}  // namespace flightbridge
