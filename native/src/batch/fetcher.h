// Reads ahead: several connections fetch the units of a schedule, the caller gets them in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>

#include "batch/chunk.h"
#include "batch/layout.h"
#include "batch/source.h"
#include "batch/unit_source.h"
#include "flightbridge/proto/commands.h"
#include "plan/rows.h"
#include "plan/schedule.h"

namespace flightbridge::batch {

struct FetchOptions {
  int64_t connections = 1;
  // Of record batches fetched and not yet taken. Each connection may pass it by one batch, and the
  // unit that the caller waits for always goes on.
  int64_t prefetch_bytes = 64 << 20;
  // The server puts rows into a full order.
  bool orders = false;
};

// NextUnit() and NextChunk() are for one thread; Cancel() is for any.
class Fetcher {
 public:
  // `feed` is what the schedule was made from; `first` serves the first connection.
  Fetcher(ConnectFn connect, std::unique_ptr<Source> first, const proto::FeedInfo& feed,
          std::vector<ColumnLayout> layouts, std::shared_ptr<const plan::FeedRows> rows,
          std::unique_ptr<UnitSource> units, const FetchOptions& options);
  ~Fetcher();

  // Goes to the next unit; nullptr at the end. The one before must be used up. Blocks.
  arrow::Result<const plan::Unit*> NextUnit();
  // The next rows of the unit; nullptr at its end. Blocks.
  arrow::Result<std::unique_ptr<Chunk>> NextChunk();
  // Makes both calls above return CANCELLED, soon and for ever.
  void Cancel();

 private:
  struct Ready {
    std::unique_ptr<Chunk> chunk;
    int64_t bytes = 0;
  };
  // A unit being fetched or taken.
  struct Active {
    plan::Unit unit;
    // Under a full order one of them, its connection's own: rows that the reader puts into order,
    // or that come in it.
    std::shared_ptr<const plan::Picks> picks;
    std::optional<proto::RowOrder> order;
    std::deque<Ready> ready;
    bool done = false;
    arrow::Status status;
  };
  // What one thread fetches with.
  struct Connection {
    std::unique_ptr<Source> source;
    uint64_t feed_id = 0;
    GetStream* stream = nullptr;  // being read; guarded by mutex_
    int64_t batch_bytes = 0;      // of the last one
    int64_t coming_bytes = 0;     // its part of coming_bytes_
  };

  void Work(Connection* connection);
  std::shared_ptr<Active> StartUnit();
  arrow::Status FetchUnit(Connection* connection, const std::shared_ptr<Active>& active);
  arrow::Status Stream(Connection* connection, const std::shared_ptr<Active>& active,
                       int64_t* received);
  arrow::Status Reconnect(Connection* connection);
  arrow::Status Deliver(Connection* connection, const arrow::RecordBatch& batch,
                        const std::shared_ptr<Active>& active, int64_t* received);
  bool WaitForRoom(Connection* connection, const Active& active);
  void Arrived(Connection* connection);
  proto::GetTicket TicketFor(const Active& active, int64_t received, uint64_t feed_id) const;

  const ConnectFn connect_;
  const std::string feed_;
  const uint64_t fingerprint_;
  const std::vector<ColumnLayout> layouts_;
  const std::shared_ptr<const plan::FeedRows> rows_;
  const FetchOptions options_;

  std::mutex mutex_;
  std::condition_variable filled_;   // something for the caller
  std::condition_variable drained_;  // room for the connections
  const std::unique_ptr<UnitSource> source_;
  std::mutex turn_;  // whose turn it is to take a unit: they are queued in the source's order
  arrow::Status source_status_;
  std::deque<std::shared_ptr<Active>> units_;  // front: the one being taken
  int64_t ahead_bytes_ = 0;                    // received and not taken
  int64_t coming_bytes_ = 0;                   // room that is taken for what connections wait for
  bool scheduled_all_ = false;
  bool failed_ = false;
  bool cancelled_ = false;
  bool at_front_ = false;  // NextUnit() has returned the front
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::thread> threads_;
};

}  // namespace flightbridge::batch
