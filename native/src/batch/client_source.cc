// Sources that are connections of a Client.
#include <utility>

#include "batch/source.h"
#include "batch/split_leases.h"
#include "client/connect.h"
#include "feed/local_registry.h"

namespace flightbridge::batch {
namespace {

class ClientSource : public Source {
 public:
  ClientSource(std::unique_ptr<Client> client, std::string feed)
      : client_(std::move(client)), feed_(std::move(feed)) {}

  arrow::Result<proto::FeedInfo> DescribeFeed() override { return client_->DescribeFeed(feed_); }
  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema() override {
    return client_->GetSchema(feed_);
  }
  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    return client_->OpenGet(ticket);
  }
  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    return client_->Act(action, body, doing);
  }

 private:
  const std::unique_ptr<Client> client_;
  const std::string feed_;
};

}  // namespace

ConnectFn ConnectTo(const proto::ReaderSpec& spec) {
  ClientOptions options;
  options.uri = spec.uri;
  options.token = spec.token;
  options.tls = {.ca = spec.tls_ca,
                 .client_cert = spec.tls_client_cert,
                 .client_key = spec.tls_client_key,
                 .override_hostname = spec.tls_override_hostname};
  if (spec.timeout_s > 0) options.timeout_s = spec.timeout_s;
  if (!spec.transport.empty()) options.transport = spec.transport;
  // Of all connections of the reader, or each would keep what it alone held at its busiest.
  auto buffers = std::make_shared<client::BufferPool>(client::kIdleBufferBytes);
  return [options, buffers, feed = spec.feed]() -> arrow::Result<std::unique_ptr<Source>> {
    ARROW_ASSIGN_OR_RAISE(auto client, client::Connect(options, buffers));
    return std::make_unique<ClientSource>(std::move(client), feed);
  };
}

ConnectFn ConnectForLeases(const proto::ReaderSpec& spec) {
  proto::ReaderSpec lease = spec;
  lease.timeout_s = LeaseCallTimeout(spec);
  return ConnectTo(lease);
}

bool IsLocal(const proto::ReaderSpec& spec) {
  const bool may = spec.transport.empty() || spec.transport == "auto" || spec.transport == "local";
  return may && feed::FindLocal(spec.uri) != nullptr;
}

}  // namespace flightbridge::batch
