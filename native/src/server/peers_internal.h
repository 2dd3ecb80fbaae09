// The other servers of feeds that span several: this one asks a feed's home, and nobody else.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include <arrow/flight/types.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "client/connection.h"
#include "feed/feed_store.h"
#include "server/peer_settings_internal.h"

namespace flightbridge::server {

// Header of a call that a server makes on a caller's behalf; a server answers such a call from
// what it has, so that no call goes round in circles. Such a call needs the scope peer.
constexpr std::string_view kRelayedHeader = "x-flightbridge-relayed";

// Thread-safe. Every call to another server has a deadline. A thread of its own asks, at once and
// then every few seconds, about write jobs whose outcome this server does not know, and about its
// parts of feeds that have a retention. Credentials are read when a connection is made, and anew
// after one was refused.
class Peers {
 public:
  explicit Peers(std::shared_ptr<feed::FeedStore> store, PeerSettings settings = {});
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // Whether a write job of the feed may be on these servers, of which `home` is another one: asks
  // it now, so that what would fail after the commit fails before the first row. Empty: this one.
  arrow::Status CheckWrite(const std::string& feed, const std::vector<std::string>& servers,
                           const std::string& home);
  // The whole feed as its home describes it.
  arrow::Result<arrow::flight::FlightInfo> Describe(const std::string& home,
                                                    const std::string& feed);
  // Asks about the feed's write jobs in doubt and does what was decided.
  arrow::Status Resolve(const std::string& feed);

 private:
  struct Timer;

  using ConnectionPtr = std::shared_ptr<client::Connection>;

  arrow::Result<ConnectionPtr> To(const std::string& uri);
  void Forget(const std::string& uri, const ConnectionPtr& connection);
  // Runs `call` on a connection to that server; once more on a new one where it was refused.
  template <typename T>
  arrow::Result<T> With(const std::string& uri,
                        const std::function<arrow::Result<T>(client::Connection*)>& call);
  arrow::Result<proto::CommitStatusResult> CommitStatus(const std::string& home,
                                                        const proto::CommitStatus& question);
  arrow::Status Ask(const feed::InDoubt& doubt);
  void Run();
  void AskRetained();
  bool Stopping();
  void Report(const std::string& about, const arrow::Status& status);

  const pid_t pid_;
  const std::shared_ptr<feed::FeedStore> store_;
  const PeerSettings settings_;
  std::mutex mutex_;
  std::map<std::string, ConnectionPtr> connections_;  // by URI
  // By URI, or URI and feed: what Report() said last. Of the thread alone.
  std::map<std::string, std::string> reported_;
  std::unique_ptr<Timer> timer_;  // on the heap: a forked child must leave it alone
};

}  // namespace flightbridge::server
