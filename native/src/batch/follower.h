// Reads a feed that grows, generation after generation, until it is ended. Each is read as a feed
// of its own, by a Reader of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/batch.h"
#include "batch/layout.h"
#include "batch/reader.h"
#include "batch/source.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::batch {

// As Reader, with the same rules for threads.
class Follower {
 public:
  static arrow::Result<std::unique_ptr<Follower>> Open(const proto::ReaderSpec& spec,
                                                       ConnectFn connect, bool local);
  ~Follower();

  const std::vector<ColumnLayout>& layouts() const { return layouts_; }
  arrow::Status Seek(const proto::Position& position);
  arrow::Result<BatchPtr> Next();
  arrow::Result<int64_t> Skip(int64_t batches);
  // With a timeout of 0 no server is asked.
  bool WaitFor(std::chrono::milliseconds timeout);
  proto::Position position() const;
  ReaderStats stats() const;
  arrow::Status Confirm(const proto::Position& position);
  void Cancel();

 private:
  using Clock = std::chrono::steady_clock;

  Follower(const proto::ReaderSpec& spec, ConnectFn connect, bool local);
  arrow::Status Describe();
  arrow::Result<std::unique_ptr<Reader>> OpenGeneration(int64_t generation);
  // False where nothing is known at the deadline; else `front_` is what Next() returns. Without
  // `may_ask` no call is made to a server.
  bool Prepare(Clock::time_point deadline, bool may_ask = true);
  // One look at the feed, which may wait for as long. True where the next generation was opened,
  // or `over_` says that there is none.
  arrow::Result<bool> GoOn(Clock::duration longest);
  // Reads on where the connection was lost.
  arrow::Status Reopen();
  arrow::Status CheckChain(const proto::FeedInfo& info) const;
  arrow::Status CheckHere(const proto::Position& position) const;
  std::shared_ptr<Reader> reader() const;

  const proto::ReaderSpec spec_;
  const ConnectFn connect_;
  const bool local_;
  const Clock::duration patience_;
  std::unique_ptr<Source> source_;  // null: lost, to be made anew
  std::vector<ColumnLayout> layouts_;
  uint64_t schema_hash_ = 0;
  bool retained_ = false;
  Clock::time_point waiting_since_;
  bool progressed_ = true;               // something came since the connection was lost last
  std::optional<proto::Position> lost_;  // of the reader whose connection was lost
  int64_t seen_ = 0;                     // FeedInfo.generation, which a wait is for a change of
  bool over_ = false;                    // the feed is ended, and all of it is read
  std::optional<arrow::Result<BatchPtr>> front_;  // the caller's; not handed out

  mutable std::mutex mutex_;
  std::condition_variable cancels_;
  bool cancelled_ = false;
  bool begun_ = false;
  // The generation being read, or the last that was; its own fingerprint.
  int64_t generation_ = 0;
  uint64_t fingerprint_ = 0;
  std::shared_ptr<Reader> reader_;  // of that generation; null once it is read, and at the start
  proto::Position position_;        // what position() returns
  ReaderStats done_;                // of the generations before
};

}  // namespace flightbridge::batch
