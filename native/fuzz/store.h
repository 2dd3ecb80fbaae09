// The state of a server without its socket, for fuzz targets: small limits, one committed feed.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/api.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"
#include "server/service_state_internal.h"

namespace flightbridge::fuzz {

inline constexpr const char* kFeed = "feed";
inline constexpr int64_t kMaxBatchBytes = 1 << 20;

inline std::shared_ptr<arrow::RecordBatch> FeedBatch() {
  arrow::Int64Builder numbers;
  arrow::StringBuilder words;
  for (int i = 0; i < 100; ++i) {
    if (!numbers.Append(i).ok() || !words.Append("w" + std::to_string(i)).ok()) std::abort();
  }
  const auto schema =
      arrow::schema({arrow::field("n", arrow::int64()), arrow::field("w", arrow::utf8())});
  return arrow::RecordBatch::Make(schema, 100, {*numbers.Finish(), *words.Finish()});
}

// Of a put: with a dictionary.
inline std::shared_ptr<arrow::RecordBatch> PutBatch(int64_t first, int64_t rows = 20) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder words;
  arrow::StringDictionaryBuilder kinds;
  for (int64_t i = first; i < first + rows; ++i) {
    const std::string word = "w" + std::to_string(i);
    if (!numbers.Append(i).ok() || !words.Append(word).ok() ||
        !kinds.Append(word.substr(0, 2)).ok())
      std::abort();
  }
  const std::vector<std::shared_ptr<arrow::Array>> columns = {*numbers.Finish(), *words.Finish(),
                                                              *kinds.Finish()};
  const auto schema =
      arrow::schema({arrow::field("n", columns[0]->type()), arrow::field("w", columns[1]->type()),
                     arrow::field("k", columns[2]->type())});
  return arrow::RecordBatch::Make(schema, rows, columns);
}

// A store of its own with that feed committed in it.
inline arrow::Result<std::shared_ptr<feed::FeedStore>> OpenStore() {
  feed::FeedStoreOptions options;
  options.segments.memory_limit_bytes = 64 << 20;
  options.max_feeds = 16;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<feed::FeedStore> store, feed::FeedStore::Open(options));
  const auto batch = FeedBatch();
  ARROW_ASSIGN_OR_RAISE(const auto schema, feed::EncodeSchema(*batch->schema()));
  ARROW_RETURN_NOT_OK(
      store->BeginWrite({kFeed, "first", proto::WriteMode::kOverwrite, schema, {}}).status());
  ARROW_ASSIGN_OR_RAISE(auto attempt, store->OpenAttempt({kFeed, "first", 0, 1}, batch->schema()));
  ARROW_RETURN_NOT_OK(attempt->Append(*batch, std::nullopt));
  ARROW_ASSIGN_OR_RAISE(const auto put, attempt->Finish(std::nullopt));
  ARROW_RETURN_NOT_OK(
      store->CommitWrite({kFeed, "first", {{0, 1, put.rows, put.batches, put.crc32c}}}).status());
  return store;
}

// The same for every input, so that one can leave the store in a state that the next finds; made
// anew where the feed is gone or feeds have filled it.
inline std::shared_ptr<server::ServiceState> State() {
  static const std::shared_ptr<server::ServiceState> state = [] {
    auto made = std::make_shared<server::ServiceState>();
    made->store = *OpenStore();
    made->dealer = std::make_shared<deal::Dealer>(made->store, deal::DealerOptions{});
    made->peers = std::make_unique<server::Peers>(made->store);
    made->auth = *server::Authenticator::Open("");
    made->max_batch_bytes = kMaxBatchBytes;
    made->max_streams = 4;
    return made;
  }();
  if (!state->store->Find(kFeed).ok() || state->store->List().size() > 8) {
    state->dealer = nullptr;  // it ends with its store
    state->store = *OpenStore();
    state->dealer = std::make_shared<deal::Dealer>(state->store, deal::DealerOptions{});
  }
  return state;
}

}  // namespace flightbridge::fuzz
