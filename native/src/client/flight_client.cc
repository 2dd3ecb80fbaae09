#include "client/flight_client.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include <arrow/flight/types.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>

#include "client/action.h"
#include "client/buffer_pool.h"
#include "client/channel_get.h"
#include "client/channel_pool.h"
#include "client/channel_put.h"
#include "client/empty_get.h"
#include "client/flight_get.h"
#include "client/flight_put.h"
#include "client/get_plan.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {
namespace {

namespace flight = arrow::flight;

class FlightClient : public Client {
 public:
  FlightClient(std::shared_ptr<Connection> connection, std::shared_ptr<BufferPool> buffers)
      : connection_(std::move(connection)),
        channels_(std::make_shared<ChannelPool>(connection_, connection_->options().transport)),
        buffers_(std::move(buffers)) {}

  arrow::Result<std::vector<proto::FeedInfo>> ListFeeds() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    std::unique_ptr<flight::FlightListing> listing;
    const auto translated = [this](const arrow::Status& status) {
      return connection_->Translate(status, "listing feeds");
    };
    ARROW_RETURN_NOT_OK(translated(
        connection_->transport().ListFlights(connection_->UnaryOptions(), {}, &listing)));
    std::vector<proto::FeedInfo> feeds;
    while (true) {
      auto next = listing->Next();
      if (!next.ok()) return translated(next.status());
      if (*next == nullptr) return feeds;
      ARROW_ASSIGN_OR_RAISE(
          feeds.emplace_back(),
          ParseAnswer<proto::FeedInfo>(*connection_, (*next)->app_metadata(), "listing feeds"));
    }
  }

  arrow::Result<proto::FeedInfo> DescribeFeed(const std::string& feed) override {
    return ActFor<proto::FeedInfo>("DescribeFeed", proto::DescribeFeed{feed}.Encode(),
                                   "describing feed '" + feed + "'");
  }

  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema(const std::string& feed) override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    const std::string doing = "asking for the schema of feed '" + feed + "'";
    auto result = connection_->transport().GetSchema(connection_->UnaryOptions(),
                                                     flight::FlightDescriptor::Path({feed}));
    if (!result.ok()) return connection_->Translate(result.status(), doing);
    arrow::ipc::DictionaryMemo memo;
    auto schema = (*result)->GetSchema(&memo);
    return schema.ok() ? schema : WithContext(schema.status(), doing);
  }

  arrow::Result<proto::ServerStatus> Status() override {
    return ActFor<proto::ServerStatus>("ServerStatus", "", "asking for the server's status");
  }

  arrow::Status DropFeed(const std::string& feed, bool if_exists) override {
    return ActWithoutAnswer("DropFeed", proto::DropFeed{feed, if_exists}.Encode(),
                            "dropping feed '" + feed + "'");
  }

  arrow::Result<proto::BeginWriteResult> BeginWrite(const proto::BeginWrite& begin) override {
    return ActFor<proto::BeginWriteResult>("BeginWrite", begin.Encode(),
                                           "beginning a write of feed '" + begin.feed + "'");
  }

  arrow::Result<proto::FeedInfo> WaitFeed(const std::string& feed, int64_t generation,
                                          std::chrono::milliseconds timeout) override {
    const auto half = std::chrono::duration_cast<std::chrono::milliseconds>(
        connection_->UnaryOptions().timeout / 2);  // the answer has to come back in time, too
    const int64_t wait_ms = std::min(timeout, half).count();
    return ActFor<proto::FeedInfo>("WaitFeed", proto::WaitFeed{feed, generation, wait_ms}.Encode(),
                                   "waiting for more of feed '" + feed + "'");
  }

  arrow::Result<std::unique_ptr<PutStream>> OpenPut(
      const std::string& feed, const std::string& job_id, int64_t partition, int64_t attempt,
      const std::shared_ptr<arrow::Schema>& schema) override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    const proto::PutCommand command{feed, job_id, partition, attempt};
    ARROW_ASSIGN_OR_RAISE(const Way way, channels_->FindWay());
    return way == Way::kFlight ? OpenFlightPut(connection_, command, schema)
                               : OpenChannelPut(channels_, command, schema);
  }

  arrow::Result<proto::CommitWriteResult> CommitWrite(
      const std::string& feed, const std::string& job_id,
      const std::vector<proto::AttemptRef>& attempts) override {
    return ActFor<proto::CommitWriteResult>("CommitWrite",
                                            proto::CommitWrite{feed, job_id, attempts}.Encode(),
                                            "committing feed '" + feed + "'");
  }

  arrow::Status AbortWrite(const std::string& feed, const std::string& job_id) override {
    return ActWithoutAnswer("AbortWrite", proto::AbortWrite{feed, job_id}.Encode(),
                            "aborting a write of feed '" + feed + "'");
  }

  arrow::Result<std::string> Transport() override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    ARROW_ASSIGN_OR_RAISE(const Way way, channels_->FindWay());
    switch (way) {
      case Way::kMapped: return "mapped";
      case Way::kChannel: return "channel";
      default: return "flight";
    }
  }

  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    ARROW_RETURN_NOT_OK(connection_->owner().Check());
    proto::GetTicket resolved = ticket;
    if (NeedsFeed(ticket)) {
      ARROW_ASSIGN_OR_RAISE(const auto info, DescribeFeed(ticket.feed));
      ARROW_ASSIGN_OR_RAISE(resolved, ResolveTicket(ticket, info));
    }
    if (CountRows(resolved) > 0) {
      ARROW_ASSIGN_OR_RAISE(const Way way, channels_->FindWay());
      return way == Way::kFlight ? OpenFlightGet(connection_, resolved)
                                 : OpenChannelGet(channels_, buffers_, resolved);
    }
    ARROW_ASSIGN_OR_RAISE(auto schema, GetSchema(ticket.feed));
    ARROW_ASSIGN_OR_RAISE(const auto columns, ResolveColumns(ticket, *schema));
    return std::make_unique<EmptyGet>(SelectFields(schema, columns));
  }

  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    ARROW_ASSIGN_OR_RAISE(auto answer, RunAction(connection_.get(), action, body, doing));
    return std::move(answer).value_or("");
  }

 private:
  template <typename M>
  arrow::Result<M> ActFor(std::string_view name, std::string body, const std::string& doing) {
    return client::Act<M>(connection_.get(), name, std::move(body), doing);
  }

  arrow::Status ActWithoutAnswer(std::string_view name, std::string body,
                                 const std::string& doing) {
    return RunAction(connection_.get(), name, std::move(body), doing).status();
  }

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<ChannelPool> channels_;
  const std::shared_ptr<BufferPool> buffers_;
};

}  // namespace

std::unique_ptr<Client> MakeFlightClient(std::shared_ptr<Connection> connection,
                                         std::shared_ptr<BufferPool> buffers) {
  return std::make_unique<FlightClient>(std::move(connection), std::move(buffers));
}

}  // namespace flightbridge::client
