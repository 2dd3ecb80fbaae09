// What all handlers of one server share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/flight/types.h>

#include "deal/dealer.h"
#include "feed/feed_store.h"
#include "flightbridge/proto/commands.h"
#include "lease/lease_table.h"
#include "server/auth.h"
#include "server/peers_internal.h"

namespace flightbridge::server {

struct ServiceState {
  std::shared_ptr<feed::FeedStore> store;
  std::shared_ptr<const Authenticator> auth;
  std::string data_dir;
  int64_t max_batch_bytes = 0;
  int64_t max_streams = 0;
  bool has_tokens = false;
  std::unique_ptr<Peers> peers;
  std::shared_ptr<deal::Dealer> dealer;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  // A place for one data channel; an empty offer where there is none.
  proto::ChannelOffer OfferChannel(const Caller& caller);
  void SetOffer(std::function<proto::ChannelOffer(const Caller&)> offer);

  std::atomic<int64_t> streams{0};   // StreamSlots that are taken
  mutable lease::LeaseTable leases;  // expires what is over whenever it is looked at

  std::atomic<int64_t> open_puts{0};
  std::atomic<int64_t> open_gets{0};
  std::atomic<int64_t> bytes_put{0};
  std::atomic<int64_t> bytes_got{0};

  proto::ServerStatus Status() const;
  // What that caller may see: version and uptime, and the rest with the scope admin:*.
  proto::ServerStatus StatusFor(const Caller& caller) const;
  // The feeds that the caller may read.
  std::vector<proto::FeedInfo> FeedsFor(const Caller& caller) const;

 private:
  std::mutex offer_mutex_;
  std::function<proto::ChannelOffer(const Caller&)> offer_;
};

// Counts one more for as long as it lives.
class CountGuard {
 public:
  explicit CountGuard(std::atomic<int64_t>* counter) : counter_(counter) {
    counter_->fetch_add(1, std::memory_order_relaxed);
  }
  ~CountGuard() { counter_->fetch_sub(1, std::memory_order_relaxed); }
  CountGuard(const CountGuard&) = delete;
  CountGuard& operator=(const CountGuard&) = delete;

 private:
  std::atomic<int64_t>* counter_;
};

// A place among the streams that one server serves at the same time; given back by the destructor.
class StreamSlot {
 public:
  // RESOURCE_EXHAUSTED where max_streams are open.
  static arrow::Result<StreamSlot> Take(ServiceState* state);
  ~StreamSlot() {
    if (state_ != nullptr) state_->streams.fetch_sub(1, std::memory_order_relaxed);
  }
  StreamSlot(StreamSlot&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  StreamSlot& operator=(StreamSlot&&) = delete;

 private:
  explicit StreamSlot(ServiceState* state) : state_(state) {}

  ServiceState* state_;
};

// The feed that a PATH descriptor names; INVALID_ARGUMENT for any other kind of descriptor.
arrow::Result<std::string> FeedOf(const arrow::flight::FlightDescriptor& descriptor);

// What Flight shows of a committed feed: one endpoint, with its own ticket, per partition. Of a
// feed that spans several servers the home shows all, with their locations; another its own part.
arrow::Result<arrow::flight::FlightInfo> DescribeFlight(const feed::Snapshot& snapshot);

}  // namespace flightbridge::server
