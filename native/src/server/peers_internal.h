// The other servers of feeds that span several: this one asks a feed's home, and nobody else.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <sys/types.h>

#include <arrow/flight/types.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "client/connection.h"
#include "feed/feed_store.h"

namespace flightbridge::server {

// Header of a call that a server makes on a caller's behalf; a server answers such a call from
// what it has, so that no call goes round in circles.
constexpr std::string_view kRelayedHeader = "x-flightbridge-relayed";

// Thread-safe. Every call to another server has a deadline. A thread of its own asks, at once and
// then every few seconds, about write jobs whose outcome this server does not know.
class Peers {
 public:
  explicit Peers(std::shared_ptr<feed::FeedStore> store);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // The whole feed as its home describes it.
  arrow::Result<arrow::flight::FlightInfo> Describe(const std::string& home,
                                                    const std::string& feed);
  // Asks about the feed's write jobs in doubt and does what was decided.
  arrow::Status Resolve(const std::string& feed);

 private:
  struct Timer;

  arrow::Result<std::shared_ptr<client::Connection>> To(const std::string& uri);
  arrow::Status Ask(const feed::InDoubt& doubt);
  void Run();

  const pid_t pid_;
  const std::shared_ptr<feed::FeedStore> store_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<client::Connection>> connections_;  // by URI
  std::unique_ptr<Timer> timer_;  // on the heap: a forked child must leave it alone
};

}  // namespace flightbridge::server
