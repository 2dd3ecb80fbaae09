#include "server/put_command_internal.h"

#include <string>
#include <string_view>
#include <utility>

#include <arrow/buffer.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "server/append_thread_internal.h"

namespace flightbridge::server {
namespace {

arrow::Result<proto::PutCommand> ParseCommand(std::string_view bytes) {
  auto command = proto::Parse<proto::PutCommand>(bytes);
  if (!command.has_value()) {
    return Error(Code::kInvalidArgument, "the CMD descriptor (", bytes.size(),
                 " bytes) is not an encoded flightbridge.v1.PutCommand");
  }
  ARROW_RETURN_NOT_OK(CheckPutCommand(*command));
  return *std::move(command);
}

arrow::Result<proto::PutMetadata> ParseMetadata(const std::shared_ptr<arrow::Buffer>& bytes,
                                                bool with_batch) {
  if (bytes != nullptr) {
    auto metadata = proto::Parse<proto::PutMetadata>(std::string_view(*bytes));
    if (metadata.has_value() && metadata->batch.has_value() == with_batch &&
        metadata->end.has_value() != with_batch) {
      return *std::move(metadata);
    }
  }
  return Error(Code::kInvalidArgument, "app_metadata of ",
               with_batch ? "a record batch must be an encoded PutMetadata with `batch`"
                          : "a message without data must be an encoded PutMetadata with `end`");
}

}  // namespace

arrow::Status CheckPutCommand(const proto::PutCommand& command) {
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(command.feed));
  if (command.job_id.empty()) {
    return Error(Code::kInvalidArgument,
                 "PutCommand.job_id is empty: open a job with action flightbridge.v1.BeginWrite");
  }
  if (command.partition < 0 || command.attempt < 0) {
    return Error(Code::kInvalidArgument, "PutCommand has partition ", command.partition,
                 " and attempt ", command.attempt, "; both must be 0 or more");
  }
  return {};
}

arrow::Status PutByCommand(const PutStreams& streams) {
  ARROW_ASSIGN_OR_RAISE(const auto command, ParseCommand(streams.reader->descriptor().cmd));
  ARROW_RETURN_NOT_OK(Authorize(streams.caller, Scope::kWrite, command.feed));
  ARROW_ASSIGN_OR_RAISE(const auto schema, streams.Schema());
  ARROW_ASSIGN_OR_RAISE(auto attempt, streams.state->store->OpenAttempt(command, schema, [&] {
    return streams.CheckConnected();
  }));

  AppendThread append(streams.state, attempt.get());
  for (uint64_t expected = 0;; ++expected) {
    ARROW_ASSIGN_OR_RAISE(auto chunk, streams.Next());
    if (chunk.data == nullptr && chunk.app_metadata == nullptr) {
      ARROW_RETURN_NOT_OK(streams.CheckConnected());
      return Error(Code::kDataLoss, "the stream of partition ", command.partition, " attempt ",
                   command.attempt, " ended after ", expected,
                   " batches without an end record: nothing of it is kept, send it again");
    }
    ARROW_ASSIGN_OR_RAISE(const auto metadata,
                          ParseMetadata(chunk.app_metadata, chunk.data != nullptr));
    if (chunk.data == nullptr) {
      ARROW_RETURN_NOT_OK(append.Finish());
      ARROW_ASSIGN_OR_RAISE(const proto::PutResult result, attempt->Finish(metadata.end));
      return streams.writer->WriteMetadata(*arrow::Buffer::FromString(result.Encode()));
    }
    if (metadata.batch->sequence != expected) {
      return Error(Code::kDataLoss, "batch ", metadata.batch->sequence, " arrived where batch ",
                   expected, " was expected: send the attempt again");
    }
    ARROW_RETURN_NOT_OK(append.Append(std::move(chunk.data), metadata.batch->crc32c));
  }
}

}  // namespace flightbridge::server
