#include "flightbridge/client.h"

#include <utility>

#include <arrow/record_batch.h>

#include "flightbridge/error.h"

namespace flightbridge {
namespace {

class StreamReader : public arrow::RecordBatchReader {
 public:
  StreamReader(std::unique_ptr<GetStream> stream, std::shared_ptr<arrow::Schema> schema,
               StatusHook on_error)
      : stream_(std::move(stream)), schema_(std::move(schema)), on_error_(std::move(on_error)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return schema_; }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    if (stream_ == nullptr) {
      return Raise(Error(Code::kFailedPrecondition, "this reader is closed: read the feed again"));
    }
    auto next = stream_->Next();
    if (!next.ok()) return Raise(next.status());
    *out = *std::move(next);
    return arrow::Status::OK();
  }

  arrow::Status Close() override {
    stream_.reset();  // cancels what has not arrived
    return arrow::Status::OK();
  }

 private:
  arrow::Status Raise(const arrow::Status& status) const {
    return on_error_ ? on_error_(status) : status;
  }

  std::unique_ptr<GetStream> stream_;
  const std::shared_ptr<arrow::Schema> schema_;
  const StatusHook on_error_;
};

}  // namespace

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> MakeBatchReader(
    std::unique_ptr<GetStream> stream, StatusHook on_error) {
  ARROW_ASSIGN_OR_RAISE(auto schema, stream->schema());
  return std::make_shared<StreamReader>(std::move(stream), std::move(schema), std::move(on_error));
}

}  // namespace flightbridge
