#include "deal/dealer.h"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/format.h"
#include "common/thread.h"
#include "flightbridge/error.h"
#include "plan/full_order.h"

namespace flightbridge::deal {
namespace {

constexpr std::chrono::milliseconds kWatchEvery{500};
// A deal that readers are in the middle of is not given up for another one while they may come
// back.
constexpr std::chrono::seconds kBetweenReads{30};
// How long somebody who stores waits for a deal to let go of its memory.
constexpr std::chrono::milliseconds kLettingGo{2000};

}  // namespace

Dealer::Dealer(std::shared_ptr<feed::FeedStore> store, DealerOptions options)
    : store_(std::move(store)), options_(std::move(options)), pid_(getpid()) {
  store_->segments()->OnShortage([this](bool memory) { return GiveUp(memory, memory); });
}

Dealer::~Dealer() {
  if (getpid() != pid_) {
    // A forked child has none of the threads.
    for (auto& [key, entry] : entries_) {
      if (entry.thread.joinable()) entry.thread.detach();
    }
    for (Entry& entry : retired_) {
      if (entry.thread.joinable()) entry.thread.detach();
    }
    if (watcher_.joinable()) watcher_.detach();
    return;
  }
  Stop();
  store_->segments()->OnShortage(nullptr);
}

arrow::Result<std::unique_ptr<feed::OrderReader>> Dealer::Open(
    const std::shared_ptr<const feed::Snapshot>& snapshot, std::shared_ptr<arrow::Schema> schema,
    std::vector<int> columns, const proto::RowOrder& order) {
  if (columns.empty()) {
    columns.resize(schema->num_fields());
    std::iota(columns.begin(), columns.end(), 0);
  }
  for (const auto& field : schema->fields()) {
    if (feed::IsDealt(*field->type())) continue;
    return Error(Code::kUnsupportedType, "column '", field->name(), "' of feed '", snapshot->name,
                 "' is a ", field->type()->ToString(),
                 ", which the server does not put into order: ask for its rows by picks");
  }
  OrderPart part;
  ARROW_ASSIGN_OR_RAISE(part.rows, FeedRows::Of(*snapshot));
  if (order.begin < 0 || order.end < order.begin || order.end > part.rows->rows() ||
      order.shard < 0 || order.num_shards < 0) {
    return Error(Code::kInvalidArgument, "places [", order.begin, ", ", order.end,
                 ") of an order of shard ", order.shard, " of ", order.num_shards,
                 " were asked of feed '", snapshot->name, "', which has ", part.rows->rows(),
                 " rows");
  }
  part.schema = std::move(schema);
  part.columns = std::move(columns);
  part.order =
      std::make_shared<const plan::Permutation>(plan::PermutationOf(order, part.rows->rows()));
  part.places = {order.begin, order.end};
  const bool resident =
      options_.data_dir.empty() || part.rows->bytes() <= options_.memory_limit_bytes;
  if (part.places.rows() == 0 || part.columns.empty() ||
      (resident && part.rows->bytes() < options_.least_bytes)) {
    return std::make_unique<PickedOrder>(std::move(part));
  }
  const Key key{snapshot->name,
                snapshot->feed_id,
                snapshot->fingerprint,
                order.seed,
                order.epoch,
                order.shard,
                std::max<int64_t>(order.num_shards, 1),
                part.columns};
  const std::lock_guard lock(mutex_);
  if (stopping_) return Error(Code::kUnavailable, "the server is stopping");
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    DealSpec spec{.feed = snapshot->name,
                  .rows = part.rows,
                  .schema = part.schema,
                  .columns = part.columns,
                  .order = part.order,
                  .resident = resident,
                  .threads = options_.threads,
                  .stage_bytes = std::min<int64_t>(64 << 20, options_.memory_limit_bytes / 8)};
    spec.take_memory = [this](int64_t bytes) { return TakeMemory(bytes); };
    spec.take_disk = [this](int64_t bytes) { return TakeDisk(bytes); };
    spec.grow_disk = [this](Space* space, int64_t bytes) { return GrowDisk(space, bytes); };
    Start(key, std::move(spec));
    found = entries_.find(key);
  }
  Entry& entry = found->second;
  ++entry.readers;
  return std::make_unique<DealtOrder>(std::move(part), entry.deal, resident,
                                      [this, key, deal = entry.deal] { Leave(key, deal); });
}

std::shared_ptr<Deal> Dealer::Start(const Key& key, DealSpec spec) {
  Entry entry;
  entry.deal = std::make_shared<Deal>(std::move(spec));
  entry.thread = StartThread([deal = entry.deal] { deal->Run(); });
  auto deal = entry.deal;
  entries_.emplace(key, std::move(entry));
  if (!watcher_.joinable()) watcher_ = StartThread([this] { Watch(); });
  return deal;
}

void Dealer::Leave(const Key& key, const std::shared_ptr<Deal>& deal) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.deal != deal) return;
  --found->second.readers;
  found->second.used = Clock::now();
}

std::shared_ptr<Space> Dealer::TakeMemory(int64_t bytes) {
  bytes = std::max<int64_t>(bytes, 1);
  // With a data directory the rest is for what is read and written.
  if (!options_.data_dir.empty() && bytes > options_.memory_limit_bytes / 2) return nullptr;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      Entry& entry = at->second;
      const int64_t held = entry.deal->bytes();
      if (entry.readers > 0 || !entry.deal->in_memory() || !entry.deal->gone_through()) continue;
      if (held < bytes || held / 2 > bytes) continue;
      auto space = entry.deal->TakeSpace();  // the system takes its time to make pages
      Retire(entries_.extract(at));
      if (space != nullptr) return space;
      break;
    }
  }
  for (;;) {
    if (auto space = Space::InMemory(store_->segments(), bytes)) return space;
    if (!GiveUp(/*memory=*/true, /*with_readers=*/false)) return nullptr;
  }
}

arrow::Result<std::shared_ptr<Space>> Dealer::TakeDisk(int64_t bytes) {
  if (options_.data_dir.empty()) {
    return Error(Code::kResourceExhausted, "--memory-limit leaves no room for ", FormatBytes(bytes),
                 " of rows that are dealt for a full shuffle");
  }
  for (;;) {
    auto space = Space::OnDisk(store_->segments(), options_.data_dir, bytes);
    if (space.ok() || CodeOf(space.status()) != Code::kResourceExhausted) return space;
    if (!GiveUp(/*memory=*/false, /*with_readers=*/false)) return space;
  }
}

arrow::Status Dealer::GrowDisk(Space* space, int64_t bytes) {
  for (;;) {
    auto status = space->Resize(bytes);
    if (status.ok() || CodeOf(status) != Code::kResourceExhausted) return status;
    if (!GiveUp(/*memory=*/false, /*with_readers=*/false)) return status;
  }
}

bool Dealer::GiveUp(bool memory, bool with_readers) {
  std::shared_ptr<Deal> deal;
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    auto victim = entries_.end();
    const auto rank = [&](const Entry& entry) {  // lowest goes first
      if (entry.readers > 0) return 3;
      if (entry.deal->gone_through()) return 0;
      return now - entry.used > kBetweenReads ? 1 : 2;
    };
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      const Entry& entry = at->second;
      if (entry.deal->bytes() == 0 || entry.deal->in_memory() != memory) continue;
      if (!with_readers && rank(entry) > 1) continue;
      if (victim == entries_.end() || std::pair(rank(entry), entry.used) <
                                          std::pair(rank(victim->second), victim->second.used)) {
        victim = at;
      }
    }
    if (victim == entries_.end()) return false;
    deal = victim->second.deal;
    deal->Revoke();
    // Readers of this one keep what they have; the next one deals anew, where there is room.
    Retire(entries_.extract(victim));
  }
  (void)deal->WaitUntilFree(kLettingGo);
  return true;
}

void Dealer::Retire(Entries::node_type entry) {
  entry.mapped().deal->Revoke();
  retired_.push_back(std::move(entry.mapped()));
}

void Dealer::Sweep() {
  std::vector<std::pair<Key, std::shared_ptr<Deal>>> idle;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : entries_) {
      if (entry.readers == 0) idle.emplace_back(key, entry.deal);
    }
  }
  for (const auto& [key, deal] : idle) {
    const auto snapshot = store_->Find(std::get<0>(key));
    const bool gone = !snapshot.ok() || (*snapshot)->feed_id != std::get<1>(key) ||
                      (*snapshot)->fingerprint != std::get<2>(key);
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.deal != deal || found->second.readers > 0) {
      continue;
    }
    // What failed is tried again soon.
    const bool used = deal->gone_through() || (deal->bytes() == 0 && deal->WaitUntilOver({}));
    const auto keep = used ? options_.keep_used : options_.keep_unused;
    if (gone || Clock::now() - found->second.used > keep) Retire(entries_.extract(found));
  }
  Reap(/*all=*/false);
}

void Dealer::Reap(bool all) {
  std::list<Entry> over;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = retired_.begin(); at != retired_.end();) {
      const auto entry = at++;
      if (all || entry->deal->WaitUntilOver({})) over.splice(over.end(), retired_, entry);
    }
  }
  for (Entry& entry : over) entry.thread.join();
}

void Dealer::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wakes_.wait_for(lock, kWatchEvery, [&] { return stopping_; });
    if (stopping_) return;
    lock.unlock();
    Sweep();
    lock.lock();
  }
}

void Dealer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    while (!entries_.empty()) Retire(entries_.extract(entries_.begin()));
  }
  wakes_.notify_all();
  Reap(/*all=*/true);
  if (watcher_.joinable()) watcher_.join();
}

int64_t Dealer::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return std::accumulate(
      entries_.begin(), entries_.end(), int64_t{0},
      [](int64_t sum, const auto& entry) { return sum + entry.second.deal->bytes(); });
}

}  // namespace flightbridge::deal
