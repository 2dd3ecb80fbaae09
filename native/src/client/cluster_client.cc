#include "client/cluster_client.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>

#include "client/action.h"
#include "client/cluster_get.h"
#include "client/connection.h"
#include "client/empty_get.h"
#include "client/flight_client.h"
#include "client/get_plan.h"
#include "common/thread.h"
#include "feed/placement.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {
namespace {

// Whose readers' action that is; none for one that is about a server.
std::optional<std::string> FeedOf(const std::string& action, const std::string& body) {
  const auto feed = [](const auto& parsed) {
    return parsed ? std::optional(parsed->feed) : std::nullopt;
  };
  if (action == "AcquireSplits") return feed(proto::Parse<proto::AcquireSplits>(body));
  if (action == "RenewLease") return feed(proto::Parse<proto::RenewLease>(body));
  if (action == "ReleaseSplits") return feed(proto::Parse<proto::ReleaseSplits>(body));
  if (action == "CommitWrite") return feed(proto::Parse<proto::CommitWrite>(body));
  if (action == "DescribeFeed") return feed(proto::Parse<proto::DescribeFeed>(body));
  if (action == "WaitFeed") return feed(proto::Parse<proto::WaitFeed>(body));
  if (action == "EndFeed") return feed(proto::Parse<proto::EndFeed>(body));
  if (action == "ConfirmPosition") {
    const auto parsed = proto::Parse<proto::ConfirmPosition>(body);
    return feed(parsed ? parsed->position : std::nullopt);
  }
  return std::nullopt;
}

// One answer of those of all servers; it ends where the first of them does.
proto::FeedStatisticsResult MergeStatistics(std::vector<proto::FeedStatisticsResult> parts) {
  proto::FeedStatisticsResult all;
  for (auto& part : parts) {
    all.feed_id = part.feed_id;
    if (part.more && (!all.more || part.next_partition < all.next_partition)) {
      all.more = true;
      all.next_partition = part.next_partition;
    }
    for (auto& partition : part.partitions) all.partitions.push_back(std::move(partition));
  }
  if (all.more) {
    std::erase_if(all.partitions,
                  [&](const auto& partition) { return partition.partition >= all.next_partition; });
  }
  std::ranges::sort(all.partitions, {}, &proto::PartitionStatistics::partition);
  return all;
}

class ClusterClient : public Client {
 public:
  ClusterClient(std::vector<std::string> servers, std::shared_ptr<BufferPool> buffers)
      : servers_(std::move(servers)), buffers_(std::move(buffers)) {}

  arrow::Status Open(const ClientOptions& options) {
    for (const std::string& uri : servers_) {
      ClientOptions one = options;
      one.uri = uri;
      ARROW_ASSIGN_OR_RAISE(auto connection, Connection::Open(one));
      connections_.push_back(connection);
      clients_.push_back(MakeFlightClient(std::move(connection), buffers_));
    }
    // One that is away is an error where it is needed; that all are, or the token is wrong, here.
    arrow::Status status;
    for (const auto& client : clients_) {
      status = client->Status().status();
      if (CodeOf(status) != Code::kUnavailable && CodeOf(status) != Code::kDeadlineExceeded) break;
    }
    return status.ok() ? status : WithContext(status, "connecting");
  }

  arrow::Result<std::vector<proto::FeedInfo>> ListFeeds() override {
    std::map<std::string, proto::FeedInfo> feeds;  // each is listed by its home only
    for (const auto& client : clients_) {
      ARROW_ASSIGN_OR_RAISE(auto listed, client->ListFeeds());
      for (auto& feed : listed) feeds.emplace(feed.feed, std::move(feed));
    }
    std::vector<proto::FeedInfo> found;
    for (auto& [name, feed] : feeds) found.push_back(std::move(feed));
    return found;
  }

  arrow::Result<proto::FeedInfo> DescribeFeed(const std::string& feed) override {
    return Home(feed)->DescribeFeed(feed);
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema(const std::string& feed) override {
    return Home(feed)->GetSchema(feed);
  }

  // Sums; the version and the uptime are the first server's.
  arrow::Result<proto::ServerStatus> Status() override {
    ARROW_ASSIGN_OR_RAISE(proto::ServerStatus sum, clients_.front()->Status());
    for (size_t i = 1; i < clients_.size(); ++i) {
      ARROW_ASSIGN_OR_RAISE(const proto::ServerStatus one, clients_[i]->Status());
      sum.memory_limit_bytes += one.memory_limit_bytes;
      sum.memory_used_bytes += one.memory_used_bytes;
      sum.disk_limit_bytes = sum.disk_limit_bytes < 0 || one.disk_limit_bytes < 0
                                 ? -1
                                 : sum.disk_limit_bytes + one.disk_limit_bytes;
      sum.disk_used_bytes += one.disk_used_bytes;
      sum.dealt_bytes += one.dealt_bytes;
      sum.feeds += one.feeds;
      sum.open_puts += one.open_puts;
      sum.open_gets += one.open_gets;
      sum.bytes_put += one.bytes_put;
      sum.bytes_got += one.bytes_got;
      if (!one.data_dir.empty()) sum.data_dir += (sum.data_dir.empty() ? "" : ",") + one.data_dir;
    }
    return sum;
  }

  // Without its home's part a feed is gone; then the other parts are room to free.
  arrow::Status DropFeed(const std::string& feed, bool if_exists) override {
    ARROW_RETURN_NOT_OK(Home(feed)->DropFeed(feed, if_exists));
    for (const arrow::Status& status : OnOthers(
             feed, [&](size_t i) { return clients_[i]->DropFeed(feed, /*if_exists=*/true); })) {
      if (!status.ok())
        return WithContext(status, "feed '" + feed +
                                       "' is dropped, but a server keeps its part of it until it "
                                       "is dropped again with if_exists");
    }
    return arrow::Status::OK();
  }

  // The home first: the others ask it about the job, and would take it for aborted.
  arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& asked) override {
    const std::string& feed = asked.feed;
    proto::BeginWrite begin = asked;
    begin.servers = servers_;
    begin.home = static_cast<uint32_t>(feed::HomeOf(servers_, feed));
    const auto begin_on = [&, this](size_t server) {
      proto::BeginWrite one = begin;
      one.self = static_cast<uint32_t>(server);
      return client::Act<proto::BeginWriteResult>(connections_[server].get(), "BeginWrite",
                                                  one.Encode(),
                                                  "beginning a write of feed '" + feed + "'");
    };
    ARROW_ASSIGN_OR_RAISE(const auto result, begin_on(begin.home));
    if (result.skip || result.already_committed) return result;
    for (const arrow::Status& status :
         OnOthers(feed, [&](size_t server) { return begin_on(server).status(); })) {
      if (status.ok()) continue;
      (void)AbortWrite(feed, begin.job_id);  // the first error is the one that tells
      return status;
    }
    return result;
  }

  arrow::Result<proto::FeedInfo> WaitFeed(const std::string& feed, int64_t generation,
                                          std::chrono::milliseconds timeout) override {
    return Home(feed)->WaitFeed(feed, generation, timeout);
  }

  arrow::Result<std::unique_ptr<PutStream>> OpenPut(
      const std::string& feed, const std::string& job_id, int64_t partition, int64_t attempt,
      const std::shared_ptr<arrow::Schema>& schema) override {
    const size_t server = feed::ServerOf(servers_, feed, partition);
    return clients_[server]->OpenPut(feed, job_id, partition, attempt, schema);
  }

  // The home's answer is the decision. A server that could not be told asks the home by itself.
  arrow::Result<proto::CommitWriteResult> CommitWrite(
      const std::string& feed, const std::string& job_id,
      const std::vector<proto::AttemptRef>& attempts) override {
    ARROW_ASSIGN_OR_RAISE(auto result, Home(feed)->CommitWrite(feed, job_id, attempts));
    (void)OnOthers(feed,
                   [&](size_t i) { return clients_[i]->CommitWrite(feed, job_id, {}).status(); });
    return result;
  }

  arrow::Status AbortWrite(const std::string& feed, const std::string& job_id) override {
    ARROW_RETURN_NOT_OK(Home(feed)->AbortWrite(feed, job_id));
    (void)OnOthers(feed, [&](size_t i) { return clients_[i]->AbortWrite(feed, job_id); });
    return arrow::Status::OK();
  }

  // Several, where servers are reached in different ways.
  arrow::Result<std::string> Transport() override {
    std::set<std::string> ways;
    for (const auto& client : clients_) {
      ARROW_ASSIGN_OR_RAISE(auto way, client->Transport());
      ways.insert(std::move(way));
    }
    std::string all;
    for (const std::string& way : ways) all.append(all.empty() ? "" : ", ").append(way);
    return all;
  }

  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    ARROW_ASSIGN_OR_RAISE(const proto::FeedInfo info, Known(ticket));
    if (info.servers.empty()) return Home(ticket.feed)->OpenGet(ticket);  // not written by us
    ARROW_ASSIGN_OR_RAISE(const auto resolved, ResolveTicket(ticket, info));
    if (CountRows(resolved) == 0) {
      ARROW_ASSIGN_OR_RAISE(auto schema, GetSchema(ticket.feed));
      ARROW_ASSIGN_OR_RAISE(const auto columns, ResolveColumns(ticket, *schema));
      return std::make_unique<EmptyGet>(SelectFields(schema, columns));
    }
    ARROW_RETURN_NOT_OK(CheckServers(info));
    return OpenClusterGet(resolved, info, [this](size_t server, const proto::GetTicket& part) {
      return clients_[server]->OpenGet(part);
    });
  }

  // Leases and what readers confirm are kept by the feed's home.
  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    if (action == "FeedStatistics") return Statistics(body, doing);
    const auto feed = FeedOf(action, body);
    if (feed.has_value()) return Home(*feed)->Act(action, body, doing);
    return Error(Code::kFailedPrecondition, doing, ": action ", action,
                 " concerns one server, and this client is of several: connect to one");
  }

 private:
  // Each server answers for the partitions that it holds.
  arrow::Result<std::string> Statistics(const std::string& body, const std::string& doing) {
    const auto request = proto::Parse<proto::FeedStatistics>(body);
    if (!request) return Error(Code::kInternal, doing, ": the request cannot be parsed");
    proto::GetTicket ticket;
    ticket.feed = request->feed;
    ticket.feed_id = request->feed_id;
    ARROW_ASSIGN_OR_RAISE(const proto::FeedInfo info, Known(ticket));
    if (info.servers.empty()) return Home(request->feed)->Act("FeedStatistics", body, doing);
    ARROW_RETURN_NOT_OK(CheckServers(info));
    std::vector<proto::FeedStatisticsResult> parts;
    for (const auto& connection : connections_) {
      ARROW_ASSIGN_OR_RAISE(parts.emplace_back(),
                            client::Act<proto::FeedStatisticsResult>(
                                connection.get(), "FeedStatistics", body, doing));
    }
    return MergeStatistics(std::move(parts)).Encode();
  }

  arrow::Status CheckServers(const proto::FeedInfo& info) const {
    if (info.servers == servers_) return {};
    return Error(Code::kInvalidArgument, "feed '", info.feed,
                 "' is on other servers than this client is connected to: name all of its "
                 "servers, as the writer did");
  }

  Client* Home(const std::string& feed) const {
    return clients_[feed::HomeOf(servers_, feed)].get();
  }

  // The whole feed. Asked for once per content: a ticket with a feed_id names one.
  arrow::Result<proto::FeedInfo> Known(const proto::GetTicket& ticket) {
    {
      const std::lock_guard lock(mutex_);
      if (ticket.feed_id != 0 && known_.feed == ticket.feed && known_.feed_id == ticket.feed_id)
        return known_;
    }
    ARROW_ASSIGN_OR_RAISE(proto::FeedInfo info, DescribeFeed(ticket.feed));
    const std::lock_guard lock(mutex_);
    known_ = info;
    return info;
  }

  // Calls all servers but the feed's home at the same time; how each went.
  template <typename F>
  std::vector<arrow::Status> OnOthers(const std::string& feed, const F& call) {
    const size_t home = feed::HomeOf(servers_, feed);
    std::vector<arrow::Status> statuses(servers_.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < servers_.size(); ++i) {
      if (i == home) continue;
      threads.push_back(StartThread([&statuses, &call, i] { statuses[i] = call(i); }));
    }
    for (std::thread& thread : threads) thread.join();
    return statuses;
  }

  const std::vector<std::string> servers_;
  const std::shared_ptr<BufferPool> buffers_;
  std::vector<std::shared_ptr<Connection>> connections_;  // by server
  std::vector<std::unique_ptr<Client>> clients_;          // by server, on these connections
  std::mutex mutex_;
  proto::FeedInfo known_;  // the last feed that was read
};

}  // namespace

arrow::Result<std::unique_ptr<Client>> MakeClusterClient(const ClientOptions& options,
                                                         std::vector<std::string> servers,
                                                         std::shared_ptr<BufferPool> buffers) {
  auto client = std::make_unique<ClusterClient>(std::move(servers), std::move(buffers));
  ARROW_RETURN_NOT_OK(client->Open(options));
  return client;
}

}  // namespace flightbridge::client
