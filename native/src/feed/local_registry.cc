#include "feed/local_registry.h"

#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>

#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

struct Registry {
  const pid_t pid = getpid();
  std::mutex mutex;
  std::map<std::string, LocalServer> servers;
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
  constexpr std::string_view kLocalhost = "://localhost:";
  const size_t at = uri.find(kLocalhost);
  if (at == std::string::npos) return uri;
  return uri.substr(0, at) + "://127.0.0.1:" + uri.substr(at + kLocalhost.size());
}

// A function of the server, to be called without the lock; empty where there is none.
template <typename F>
F Copy(const std::string& uri, F LocalServer::* function) {
  Registry* mine = Mine();
  if (mine == nullptr) return nullptr;
  std::lock_guard lock(mine->mutex);
  const auto at = mine->servers.find(Normalize(uri));
  return at == mine->servers.end() ? nullptr : at->second.*function;
}

arrow::Status Stopped(const std::string& uri) {
  return Error(Code::kUnavailable, "the server at ", uri, " in this process has stopped");
}

}  // namespace

void RegisterLocal(const std::string& uri, LocalServer server) {
  Registry& mine = MakeMine();
  std::lock_guard lock(mine.mutex);
  mine.servers[Normalize(uri)] = std::move(server);
}

void UnregisterLocal(const std::string& uri) {
  Registry* mine = Mine();
  if (mine == nullptr) return;
  LocalServer last;  // released outside of the lock
  std::lock_guard lock(mine->mutex);
  if (const auto at = mine->servers.find(Normalize(uri)); at != mine->servers.end()) {
    last = std::move(at->second);
    mine->servers.erase(at);
  }
}

std::shared_ptr<FeedStore> FindLocal(const std::string& uri) {
  Registry* mine = Mine();
  if (mine == nullptr) return nullptr;
  std::lock_guard lock(mine->mutex);
  const auto at = mine->servers.find(Normalize(uri));
  return at == mine->servers.end() ? nullptr : at->second.store;
}

arrow::Result<proto::ServerStatus> LocalStatus(const std::string& uri) {
  if (const auto status = Copy(uri, &LocalServer::status)) return status();
  return Stopped(uri);
}

arrow::Result<std::string> LocalAct(const std::string& uri, const std::string& action,
                                    const std::string& body) {
  if (const auto act = Copy(uri, &LocalServer::act)) return act(action, body);
  return Stopped(uri);
}

arrow::Result<std::unique_ptr<OrderReader>> LocalOrder(const std::string& uri,
                                                       std::shared_ptr<const Snapshot> snapshot,
                                                       std::shared_ptr<arrow::Schema> schema,
                                                       std::vector<int> columns,
                                                       const proto::RowOrder& order) {
  if (const auto open = Copy(uri, &LocalServer::open_order)) {
    return open(std::move(snapshot), std::move(schema), std::move(columns), order);
  }
  return Stopped(uri);
}

}  // namespace flightbridge::feed
