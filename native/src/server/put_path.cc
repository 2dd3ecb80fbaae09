#include "server/put_path_internal.h"

#include <array>
#include <random>
#include <string>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>
#include <arrow/util/string.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "server/echo_writer_internal.h"

namespace flightbridge::server {
namespace {

using proto::WriteMode;

arrow::Result<WriteMode> ParseMode(const std::string& text) {
  struct Entry {
    std::string_view name;
    WriteMode mode;
  };
  static constexpr std::array kModes = {
      Entry{"errorifexists", WriteMode::kErrorIfExists}, Entry{"error", WriteMode::kErrorIfExists},
      Entry{"append", WriteMode::kAppend}, Entry{"overwrite", WriteMode::kOverwrite},
      Entry{"ignore", WriteMode::kIgnore}};
  for (const Entry& entry : kModes) {
    if (arrow::internal::AsciiEqualsCaseInsensitive(text, entry.name)) return entry.mode;
  }
  return Error(Code::kInvalidArgument, "unknown write mode '", text.substr(0, 100),
               "' in the put's path: use errorifexists, append, overwrite or ignore");
}

arrow::Result<proto::BeginWrite> ParsePath(const arrow::flight::FlightDescriptor& descriptor) {
  const auto& path = descriptor.path;
  if (path.empty() || path.size() > 2) {
    return Error(Code::kInvalidArgument,
                 "a put's path has one or two elements, [feed] or [feed, mode]; got ", path.size());
  }
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(path[0]));
  proto::BeginWrite begin;
  begin.feed = path[0];
  ARROW_ASSIGN_OR_RAISE(begin.mode, ParseMode(path.size() == 2 ? path[1] : "errorifexists"));
  return begin;
}

std::string NewJobId() {
  std::random_device random;
  std::string id = "plain-";
  for (int i = 0; i < 32; ++i) id.push_back("0123456789abcdef"[random() & 15]);
  return id;
}

// Aborts the job unless it was committed.
class JobGuard {
 public:
  JobGuard(feed::FeedStore* store, std::string feed, std::string job_id)
      : store_(store), abort_{.feed = std::move(feed), .job_id = std::move(job_id)} {}
  ~JobGuard() {
    // Best effort: what matters, that nothing becomes visible, holds without it.
    if (store_ != nullptr) (void)store_->AbortWrite(abort_);
  }
  JobGuard(const JobGuard&) = delete;
  JobGuard& operator=(const JobGuard&) = delete;
  void Committed() { store_ = nullptr; }

 private:
  feed::FeedStore* store_;
  proto::AbortWrite abort_;
};

// Reads on, for nothing, until no echo is stuck: a client that only writes reads when it is done.
void ReadUntilIdle(const PutStreams& streams, EchoWriter* echo) {
  while (!echo->idle()) {
    const auto chunk = streams.Next();
    if (!chunk.ok() || (chunk->data == nullptr && chunk->app_metadata == nullptr)) return;
  }
}

// Calls `take` with each message until the stream ends.
template <typename Take>
arrow::Status ForEachMessage(const PutStreams& streams, Take&& take) {
  // An empty message looks like the end of the stream, but behind the end there is only more end.
  constexpr int kProbes = 8;
  for (int empty = 0; empty < kProbes;) {
    ARROW_ASSIGN_OR_RAISE(const auto chunk, streams.Next());
    if (chunk.data == nullptr && chunk.app_metadata == nullptr) {
      ++empty;
      continue;
    }
    if (empty > 0)
      return Error(Code::kInvalidArgument, "the stream has an empty message in its middle");
    ARROW_RETURN_NOT_OK(take(chunk));
  }
  return streams.CheckConnected();
}

}  // namespace

arrow::Status PutByPath(const PutStreams& streams) {
  feed::FeedStore* const store = streams.state->store.get();
  ARROW_ASSIGN_OR_RAISE(proto::BeginWrite begin, ParsePath(streams.reader->descriptor()));
  ARROW_RETURN_NOT_OK(Authorize(streams.caller, Scope::kWrite, begin.feed));
  ARROW_ASSIGN_OR_RAISE(const auto schema, streams.Schema());
  ARROW_ASSIGN_OR_RAISE(const auto schema_bytes, arrow::ipc::SerializeSchema(*schema));
  begin.job_id = NewJobId();
  begin.schema = schema_bytes->ToString();
  ARROW_ASSIGN_OR_RAISE(const auto begun, store->BeginWrite(begin));
  if (begun.skip) {
    return ForEachMessage(streams, [](const auto&) { return arrow::Status::OK(); });
  }

  JobGuard job(store, begin.feed, begin.job_id);
  const proto::PutCommand command{.feed = begin.feed, .job_id = begin.job_id};
  ARROW_ASSIGN_OR_RAISE(
      auto attempt, store->OpenAttempt(command, schema, [&] { return streams.CheckConnected(); }));
  EchoWriter echo(streams.writer);
  arrow::Status received =
      ForEachMessage(streams, [&](const arrow::flight::FlightStreamChunk& chunk) -> arrow::Status {
        if (chunk.app_metadata != nullptr) ARROW_RETURN_NOT_OK(echo.Push(chunk.app_metadata));
        if (chunk.data == nullptr) return arrow::Status::OK();
        return StoreBatch(streams.state, attempt.get(), *chunk.data, std::nullopt);
      });
  if (!received.ok()) {
    ReadUntilIdle(streams, &echo);
    return received;
  }
  ARROW_ASSIGN_OR_RAISE(const proto::PutResult result, attempt->Finish(std::nullopt));

  // Whether the client is still there decides between commit and abort, and its death shows with a
  // delay: a message that still goes out to it proves that the connection stands.
  if (!echo.used()) ARROW_RETURN_NOT_OK(echo.Push(arrow::Buffer::FromString(result.Encode())));
  ARROW_RETURN_NOT_OK(echo.Finish());
  ARROW_RETURN_NOT_OK(streams.CheckConnected());
  proto::CommitWrite commit;
  commit.feed = begin.feed;
  commit.job_id = begin.job_id;
  commit.attempts.push_back(
      {.rows = result.rows, .batches = result.batches, .crc32c = result.crc32c});
  ARROW_RETURN_NOT_OK(store->CommitWrite(commit).status());
  job.Committed();
  return arrow::Status::OK();
}

}  // namespace flightbridge::server
