// What _client.pyx needs that Cython cannot say: results unpacked into a status and a value.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/python/common.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "flightbridge/client.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::bindings {

inline int StatusCode(const arrow::Status& status) { return static_cast<int>(CodeOf(status)); }

// Moves the value into `out` and returns the status.
template <typename T>
arrow::Status Take(arrow::Result<T> result, T* out) {
  if (result.ok()) *out = *std::move(result);
  return result.status();
}

template <typename T>
arrow::Status TakeShared(arrow::Result<std::unique_ptr<T>> result, std::shared_ptr<T>* out) {
  if (result.ok()) *out = *std::move(result);
  return result.status();
}

template <typename M>
arrow::Status TakeEncoded(arrow::Result<M> result, std::string* out) {
  if (result.ok()) *out = result->Encode();
  return result.status();
}

inline arrow::Status TakeFeeds(arrow::Result<std::vector<proto::FeedInfo>> result,
                               std::vector<std::string>* out) {
  if (!result.ok()) return result.status();
  for (const auto& feed : *result) out->push_back(feed.Encode());
  return arrow::Status::OK();
}

inline arrow::Status Begin(Client* client, const std::string& encoded, std::string* out) {
  const auto request = proto::Parse<proto::BeginWrite>(encoded);
  if (!request) return Error(Code::kInternal, "the begin request cannot be parsed");
  return TakeEncoded(client->BeginWrite(*request), out);
}

inline arrow::Status Confirm(Client* client, const std::string& encoded, std::string* out) {
  auto position = proto::Parse<proto::Position>(encoded);
  if (!position) {
    return Error(Code::kInvalidArgument, "position (", encoded.size(),
                 " bytes) is no position of a reader");
  }
  const std::string doing = "confirming a position of feed '" + position->feed + "'";
  proto::ConfirmPosition request;
  request.position = *std::move(position);
  return Take(client->Act("ConfirmPosition", request.Encode(), doing), out);
}

inline arrow::Status Statistics(Client* client, const std::string& encoded, std::string* out) {
  const auto request = proto::Parse<proto::FeedStatistics>(encoded);
  if (!request) return Error(Code::kInternal, "the request for statistics cannot be parsed");
  return Take(client->Act("FeedStatistics", encoded,
                          "asking for statistics of feed '" + request->feed + "'"),
              out);
}

inline arrow::Status EndFeed(Client* client, const std::string& feed, std::string* out) {
  return Take(client->Act("EndFeed", proto::EndFeed{feed}.Encode(), "ending feed '" + feed + "'"),
              out);
}

inline arrow::Status Commit(Client* client, const std::string& encoded, std::string* out) {
  const auto request = proto::Parse<proto::CommitWrite>(encoded);
  if (!request) return Error(Code::kInternal, "the commit request cannot be parsed");
  if (request->epoch) {
    std::string answer;
    ARROW_RETURN_NOT_OK(Take(
        client->Act("CommitWrite", encoded, "committing feed '" + request->feed + "'"), &answer));
    const auto committed = proto::Parse<proto::CommitWriteResult>(answer);
    if (!committed) return Error(Code::kInternal, "the answer to a commit cannot be parsed");
    *out = committed->feed.value_or(proto::FeedInfo{}).Encode();
    return arrow::Status::OK();
  }
  auto result = client->CommitWrite(request->feed, request->job_id, request->attempts);
  if (!result.ok()) return result.status();
  *out = result->feed.value_or(proto::FeedInfo{}).Encode();
  return arrow::Status::OK();
}

// A pa.RecordBatchReader raises what `hook` makes of the stream's errors.
inline arrow::Status OpenReader(Client* client, const std::string& encoded_ticket,
                                arrow::Status (*hook)(const arrow::Status&),
                                std::shared_ptr<arrow::RecordBatchReader>* out) {
  const auto ticket = proto::Parse<proto::GetTicket>(encoded_ticket);
  if (!ticket) return Error(Code::kInternal, "the ticket cannot be parsed");
  auto stream = client->OpenGet(*ticket);
  if (!stream.ok()) return stream.status();
  return Take(MakeBatchReader(*std::move(stream), hook), out);
}

}  // namespace flightbridge::bindings
