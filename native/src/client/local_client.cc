#include "client/local_client.h"

#include <utility>

#include <arrow/ipc/writer.h>

#include "client/get_plan.h"
#include "client/local_streams.h"
#include "feed/feed_store.h"
#include "feed/local_registry.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {
namespace {

class LocalClient : public Client {
 public:
  explicit LocalClient(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  arrow::Result<std::vector<proto::FeedInfo>> ListFeeds() override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    std::vector<proto::FeedInfo> feeds = store->List();
    std::erase_if(feeds, [](const proto::FeedInfo& feed) {  // as ListFlights does
      return feed.state != proto::FeedState::kCommitted;
    });
    return feeds;
  }

  arrow::Result<proto::FeedInfo> DescribeFeed(const std::string& feed) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->Describe(feed);
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema(const std::string& feed) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    ARROW_ASSIGN_OR_RAISE(const auto snapshot, store->Find(feed));
    return snapshot->schema;
  }

  arrow::Result<proto::ServerStatus> Status() override {
    ARROW_RETURN_NOT_OK(FindStore(*connection_).status());  // says whose fault it is
    return feed::LocalStatus(connection_->uri());
  }

  arrow::Status DropFeed(const std::string& feed, bool if_exists) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->DropFeed({feed, if_exists});
  }

  arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& begin) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->BeginWrite(begin);
  }

  arrow::Result<proto::FeedInfo> WaitFeed(const std::string& feed, int64_t generation,
                                          std::chrono::milliseconds timeout) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->WaitForChange(feed, generation, timeout);
  }

  arrow::Result<std::unique_ptr<PutStream>> OpenPut(
      const std::string& feed, const std::string& job_id, int64_t partition, int64_t attempt,
      const std::shared_ptr<arrow::Schema>& schema) override {
    return OpenLocalPut(connection_, {feed, job_id, partition, attempt}, schema);
  }

  arrow::Result<proto::CommitWriteResult> CommitWrite(
      const std::string& feed, const std::string& job_id,
      const std::vector<proto::AttemptRef>& attempts) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->CommitWrite({feed, job_id, attempts});
  }

  arrow::Status AbortWrite(const std::string& feed, const std::string& job_id) override {
    ARROW_ASSIGN_OR_RAISE(const auto store, FindStore(*connection_));
    return store->AbortWrite({feed, job_id});
  }

  arrow::Result<std::string> Transport() override { return "local"; }

  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    return OpenLocalGet(connection_, ticket);
  }

  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    ARROW_RETURN_NOT_OK(FindStore(*connection_).status());
    return feed::LocalAct(connection_->uri(), action, body);
  }

 private:
  const std::shared_ptr<Connection> connection_;
};

}  // namespace

std::unique_ptr<Client> MakeLocalClient(std::shared_ptr<Connection> connection) {
  return std::make_unique<LocalClient>(std::move(connection));
}

}  // namespace flightbridge::client
