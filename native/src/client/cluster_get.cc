#include "client/cluster_get.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>

#include "flightbridge/error.h"

namespace flightbridge::client {
namespace {

constexpr size_t kMostNamed = 20;

// Which of the feed's partitions a server holds, in words.
std::string PartitionsOn(const proto::FeedInfo& feed, size_t server) {
  std::string names;
  size_t held = 0;
  for (const auto& partition : feed.partitions) {
    if (partition.server != server) continue;
    if (++held <= kMostNamed) names += (held > 1 ? ", " : "") + std::to_string(partition.partition);
  }
  if (held > kMostNamed) names += " and " + std::to_string(held - kMostNamed) + " more";
  return (held == 1 ? "partition " : "partitions ") + names;
}

class ClusterGet : public GetStream {
 public:
  ClusterGet(proto::GetTicket resolved, proto::FeedInfo feed)
      : resolved_(std::move(resolved)), feed_(std::move(feed)) {
    for (const auto& partition : feed_.partitions)
      server_of_[partition.partition] = partition.server;
  }

  arrow::Status Open(const OpenGetOn& open) {
    std::map<size_t, proto::GetTicket> tickets;
    for (const proto::RowRange& range : resolved_.ranges) {
      const size_t server = server_of_[range.partition];
      tickets[server].ranges.push_back(range);
      runs_.push_back({server, range.row_end - range.row_begin});
    }
    for (const proto::RowPicks& picks : resolved_.picks) {
      const size_t server = server_of_[picks.partition];
      tickets[server].picks.push_back(picks);
      if (runs_.empty() || runs_.back().server != server) runs_.push_back({server, 0});
      runs_.back().rows += std::ssize(picks.steps);
    }
    for (auto& [server, ticket] : tickets) {
      ticket.feed = resolved_.feed;
      ticket.feed_id = resolved_.feed_id;
      ticket.columns = resolved_.columns;
      auto stream = open(server, ticket);
      if (!stream.ok()) return Explain(stream.status(), server);
      parts_[server].stream = *std::move(stream);
    }
    return arrow::Status::OK();
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override {
    auto& [server, part] = *parts_.begin();
    auto schema = part.stream->schema();
    return schema.ok() ? schema : Explain(schema.status(), server);
  }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    while (run_ < runs_.size() && runs_[run_].rows == 0) ++run_;
    if (run_ == runs_.size()) return CheckEnds();
    const size_t server = runs_[run_].server;
    Part& part = parts_.at(server);
    while (part.batch == nullptr || part.batch->num_rows() == 0) {
      auto next = part.stream->Next();  // checks that these are the rows that were asked for
      if (!next.ok()) return Explain(next.status(), server);
      if (*next == nullptr) {
        return Error(Code::kDataLoss, "feed '", feed_.feed, "': ", feed_.servers[server],
                     " ended its stream early: read it again");
      }
      part.batch = *std::move(next);
    }
    const int64_t rows = std::min(runs_[run_].rows, part.batch->num_rows());
    auto batch = rows == part.batch->num_rows() ? part.batch : part.batch->Slice(0, rows);
    part.batch = rows == part.batch->num_rows() ? nullptr : part.batch->Slice(rows);
    runs_[run_].rows -= rows;
    return batch;
  }

  void Cancel() override {
    for (auto& [server, part] : parts_) part.stream->Cancel();
  }

 private:
  struct Part {
    std::unique_ptr<GetStream> stream;
    std::shared_ptr<arrow::RecordBatch> batch;  // received and not yet handed out
  };

  // Rows that come from one server, one after the other, and are yet to be handed out.
  struct Run {
    size_t server = 0;
    int64_t rows = 0;
  };

  // Every stream's own check of its end.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> CheckEnds() {
    for (auto& [server, part] : parts_) {
      auto next = part.stream->Next();
      if (!next.ok()) return Explain(next.status(), server);
    }
    return nullptr;
  }

  arrow::Status Explain(const arrow::Status& status, size_t server) const {
    if (CodeOf(status) != Code::kUnavailable && CodeOf(status) != Code::kDeadlineExceeded)
      return status;
    return Error(CodeOf(status), "feed '", feed_.feed, "': ", PartitionsOn(feed_, server), " of ",
                 feed_.partitions.size(), " cannot be read, because ", feed_.servers[server],
                 " holds them and is away (", status.message(),
                 "); with a data directory they are back when it is");
  }

  const proto::GetTicket resolved_;
  const proto::FeedInfo feed_;
  std::map<int64_t, size_t> server_of_;  // by partition
  std::map<size_t, Part> parts_;         // by server
  std::vector<Run> runs_;                // in the ticket's order
  size_t run_ = 0;
};

}  // namespace

arrow::Result<std::unique_ptr<GetStream>> OpenClusterGet(const proto::GetTicket& resolved,
                                                         const proto::FeedInfo& feed,
                                                         const OpenGetOn& open) {
  auto get = std::make_unique<ClusterGet>(resolved, feed);
  ARROW_RETURN_NOT_OK(get->Open(open));
  return get;
}

}  // namespace flightbridge::client
