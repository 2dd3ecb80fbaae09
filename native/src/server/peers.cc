#include "server/peers_internal.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "client/action.h"
#include "common/thread.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::server {
namespace {

constexpr double kTimeoutSeconds = 5;
constexpr std::chrono::seconds kPeriod{2};
constexpr size_t kMostConnections = 1000;

}  // namespace

struct Peers::Timer {
  std::mutex mutex;
  std::condition_variable wakes;
  bool stopping = false;
  std::thread thread;
};

Peers::Peers(std::shared_ptr<feed::FeedStore> store)
    : pid_(::getpid()), store_(std::move(store)), timer_(std::make_unique<Timer>()) {
  timer_->thread = StartThread([this] { Run(); });
}

Peers::~Peers() {
  if (::getpid() != pid_) {
    (void)timer_.release();
    return;
  }
  {
    const std::lock_guard lock(timer_->mutex);
    timer_->stopping = true;
  }
  timer_->wakes.notify_all();
  timer_->thread.join();
}

void Peers::Run() {
  std::unique_lock lock(timer_->mutex);
  while (!timer_->stopping) {
    lock.unlock();
    for (const feed::InDoubt& doubt : store_->JobsInDoubt("")) {
      // A home that is away leaves the jobs in doubt until the next round.
      (void)Ask(doubt);
    }
    lock.lock();
    timer_->wakes.wait_for(lock, kPeriod, [this] { return timer_->stopping; });
  }
}

arrow::Result<std::shared_ptr<client::Connection>> Peers::To(const std::string& uri) {
  const std::lock_guard lock(mutex_);
  if (const auto at = connections_.find(uri); at != connections_.end()) return at->second;
  ClientOptions options;
  options.uri = uri;
  options.timeout_s = kTimeoutSeconds;
  ARROW_ASSIGN_OR_RAISE(auto connection, client::Connection::Open(options));
  if (connections_.size() >= kMostConnections) connections_.clear();
  connections_.emplace(uri, connection);
  return connection;
}

arrow::Result<arrow::flight::FlightInfo> Peers::Describe(const std::string& home,
                                                         const std::string& feed) {
  ARROW_ASSIGN_OR_RAISE(const auto connection, To(home));
  auto options = connection->UnaryOptions();
  options.headers.emplace_back(kRelayedHeader, "1");
  std::unique_ptr<arrow::flight::FlightInfo> info;
  ARROW_RETURN_NOT_OK(
      connection->Translate(connection->transport().GetFlightInfo(
                                options, arrow::flight::FlightDescriptor::Path({feed}), &info),
                            "asking the home server of feed '" + feed + "'"));
  return *std::move(info);
}

arrow::Status Peers::Ask(const feed::InDoubt& doubt) {
  ARROW_ASSIGN_OR_RAISE(const auto connection, To(doubt.home));
  ARROW_ASSIGN_OR_RAISE(
      const auto answer,
      client::Act<proto::CommitStatusResult>(
          connection.get(), "CommitStatus", doubt.question.Encode(),
          "asking the home server of feed '" + doubt.feed + "' for its decision"));
  return store_->Resolve(doubt, answer);
}

arrow::Status Peers::Resolve(const std::string& feed) {
  if (feed.empty()) return {};
  for (const feed::InDoubt& doubt : store_->JobsInDoubt(feed)) ARROW_RETURN_NOT_OK(Ask(doubt));
  return {};
}

}  // namespace flightbridge::server
