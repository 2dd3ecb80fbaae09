#include "feed/local_registry.h"

#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>

namespace flightbridge::feed {
namespace {

struct Registry {
  const pid_t pid = getpid();
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<FeedStore>> stores;
};

std::atomic<Registry*> registry{nullptr};

// This process's registry, or nullptr. The pid is checked before the lock: a fork may have copied
// the lock in its locked state.
Registry* Mine() {
  Registry* mine = registry.load(std::memory_order_acquire);
  return mine != nullptr && mine->pid == getpid() ? mine : nullptr;
}

Registry& MakeMine() {
  Registry* current = registry.load(std::memory_order_acquire);
  while (current == nullptr || current->pid != getpid()) {
    auto fresh = std::make_unique<Registry>();
    // The parent's registry stays behind, untouched: running its destructors here would be wrong.
    if (registry.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  }
  return *current;
}

std::string Normalize(const std::string& uri) {
  constexpr std::string_view kLocalhost = "grpc://localhost:";
  if (!uri.starts_with(kLocalhost)) return uri;
  return "grpc://127.0.0.1:" + uri.substr(kLocalhost.size());
}

}  // namespace

void RegisterLocal(const std::string& uri, std::shared_ptr<FeedStore> store) {
  Registry& mine = MakeMine();
  std::lock_guard lock(mine.mutex);
  mine.stores[Normalize(uri)] = std::move(store);
}

void UnregisterLocal(const std::string& uri) {
  Registry* mine = Mine();
  if (mine == nullptr) return;
  std::shared_ptr<FeedStore> last;  // released outside of the lock
  std::lock_guard lock(mine->mutex);
  if (const auto at = mine->stores.find(Normalize(uri)); at != mine->stores.end()) {
    last = std::move(at->second);
    mine->stores.erase(at);
  }
}

std::shared_ptr<FeedStore> FindLocal(const std::string& uri) {
  Registry* mine = Mine();
  if (mine == nullptr) return nullptr;
  std::lock_guard lock(mine->mutex);
  const auto at = mine->stores.find(Normalize(uri));
  return at == mine->stores.end() ? nullptr : at->second;
}

}  // namespace flightbridge::feed
