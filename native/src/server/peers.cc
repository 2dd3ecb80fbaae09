#include "server/peers_internal.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <set>
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

bool IsAway(const arrow::Status& status) {
  return CodeOf(status) == Code::kUnavailable || CodeOf(status) == Code::kDeadlineExceeded;
}

}  // namespace

struct Peers::Timer {
  std::mutex mutex;
  std::condition_variable wakes;
  bool stopping = false;
  std::thread thread;
};

Peers::Peers(std::shared_ptr<feed::FeedStore> store, PeerSettings settings)
    : pid_(::getpid()),
      store_(std::move(store)),
      settings_(std::move(settings)),
      timer_(std::make_unique<Timer>()) {
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
      Report(doubt.home, Ask(doubt));
    }
    AskRetained();
    lock.lock();
    timer_->wakes.wait_for(lock, kPeriod, [this] { return timer_->stopping; });
  }
}

void Peers::AskRetained() {
  std::set<std::string> away;  // not asked about its other feeds in this round
  for (const feed::RetainedPart& part : store_->RetainedParts()) {
    if (Stopping() || away.contains(part.home)) continue;
    const auto answer = With<proto::RetentionStatusResult>(part.home, [&](client::Connection* to) {
      return client::Act<proto::RetentionStatusResult>(
          to, "RetentionStatus", part.question.Encode(),
          "asking the home server of feed '" + part.question.feed + "' what of it to keep");
    });
    if (IsAway(answer.status())) away.insert(part.home);
    Report(part.home + " " + part.question.feed,
           answer.ok() ? store_->ResolveRetention(part, *answer) : answer.status());
  }
}

bool Peers::Stopping() {
  const std::lock_guard lock(timer_->mutex);
  return timer_->stopping;
}

// Nobody waits for an answer here: once in the log, as long as it stays the same.
void Peers::Report(const std::string& about, const arrow::Status& status) {
  const std::string words = status.ok() || IsAway(status) ? "" : status.message();
  const auto last = reported_.find(about);
  if (words.empty()) {
    if (last != reported_.end()) reported_.erase(last);
    return;
  }
  if (last != reported_.end() && last->second == words) return;
  std::fprintf(stderr, "flightbridge: %s\n", words.c_str());
  reported_[about] = words;
}

arrow::Result<Peers::ConnectionPtr> Peers::To(const std::string& uri) {
  const std::lock_guard lock(mutex_);
  if (const auto at = connections_.find(uri); at != connections_.end()) return at->second;
  ARROW_ASSIGN_OR_RAISE(ClientOptions options, settings_.ToAsk(uri));
  options.timeout_s = kTimeoutSeconds;
  ARROW_ASSIGN_OR_RAISE(auto connection, client::Connection::Open(options));
  if (connections_.size() >= kMostConnections) connections_.clear();
  connections_.emplace(uri, connection);
  return connection;
}

void Peers::Forget(const std::string& uri, const ConnectionPtr& connection) {
  const std::lock_guard lock(mutex_);
  const auto at = connections_.find(uri);
  if (at != connections_.end() && at->second == connection) connections_.erase(at);
}

template <typename T>
arrow::Result<T> Peers::With(const std::string& uri,
                             const std::function<arrow::Result<T>(client::Connection*)>& call) {
  for (bool again = false;; again = true) {
    ARROW_ASSIGN_OR_RAISE(const ConnectionPtr connection, To(uri));
    auto result = call(connection.get());
    const Code code = CodeOf(result.status());
    const bool refused = code == Code::kUnauthenticated || code == Code::kPermissionDenied;
    // What it was refused for, or a certificate, may have been renewed since.
    if (refused || code == Code::kUnavailable) Forget(uri, connection);
    if (refused && !again) continue;
    if (result.ok()) return result;
    return settings_.Explain(uri, result.status());
  }
}

arrow::Status Peers::CheckWrite(const std::string& feed, const std::vector<std::string>& servers,
                                const std::string& home) {
  ARROW_RETURN_NOT_OK(settings_.Admit(feed, servers));
  if (home.empty()) return {};
  proto::CommitStatus question;
  question.feed = feed;
  return CommitStatus(home, question).status();
}

arrow::Result<arrow::flight::FlightInfo> Peers::Describe(const std::string& home,
                                                         const std::string& feed) {
  using arrow::flight::FlightInfo;
  return With<FlightInfo>(home, [&](client::Connection* to) -> arrow::Result<FlightInfo> {
    auto options = to->UnaryOptions();
    options.headers.emplace_back(kRelayedHeader, "1");
    std::unique_ptr<FlightInfo> info;
    ARROW_RETURN_NOT_OK(
        to->Translate(to->transport().GetFlightInfo(
                          options, arrow::flight::FlightDescriptor::Path({feed}), &info),
                      "asking the home server of feed '" + feed + "'"));
    return *std::move(info);
  });
}

arrow::Result<proto::CommitStatusResult> Peers::CommitStatus(const std::string& home,
                                                             const proto::CommitStatus& question) {
  return With<proto::CommitStatusResult>(home, [&](client::Connection* to) {
    return client::Act<proto::CommitStatusResult>(
        to, "CommitStatus", question.Encode(),
        "asking the home server of feed '" + question.feed + "' for its decision");
  });
}

arrow::Status Peers::Ask(const feed::InDoubt& doubt) {
  ARROW_ASSIGN_OR_RAISE(const auto answer, CommitStatus(doubt.home, doubt.question));
  return store_->Resolve(doubt, answer);
}

arrow::Status Peers::Resolve(const std::string& feed) {
  if (feed.empty()) return {};
  for (const feed::InDoubt& doubt : store_->JobsInDoubt(feed)) ARROW_RETURN_NOT_OK(Ask(doubt));
  return {};
}

}  // namespace flightbridge::server
