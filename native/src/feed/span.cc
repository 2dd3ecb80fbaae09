#include "feed/span.h"

#include <algorithm>
#include <map>

#include "feed/placement.h"
#include "feed/retention.h"
#include "feed/schema_rules.h"
#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

// A list that a stranger sends is kept with every write job.
constexpr size_t kMostServers = 1000;
constexpr size_t kLongestUri = 300;

std::string Listed(const Span* span) {
  if (span == nullptr) return "this server alone";
  std::string text;
  for (const std::string& server : span->servers) text += (text.empty() ? "" : ",") + server;
  return text;
}

}  // namespace

arrow::Result<std::shared_ptr<const Span>> SpanOf(const proto::BeginWrite& request) {
  const auto& servers = request.servers;
  if (servers.empty()) return nullptr;
  const bool sorted =
      std::ranges::adjacent_find(servers, std::ranges::greater_equal()) == servers.end();
  if (!sorted || servers.size() > kMostServers ||
      std::ranges::any_of(servers, [](const auto& uri) { return uri.size() > kLongestUri; })) {
    return Error(Code::kInvalidArgument, "feed '", request.feed, "': a list of ", servers.size(),
                 " servers is not valid: give at most ", kMostServers,
                 " different URIs, sorted, of at most ", kLongestUri, " bytes each");
  }
  const size_t home = HomeOf(servers, request.feed);
  if (request.home != home || request.self >= servers.size()) {
    return Error(Code::kInvalidArgument, "feed '", request.feed, "': server ", request.self, " of ",
                 servers.size(), " was told that ", request.home, " is the feed's home, which is ",
                 home, ": use clients and servers of the same version");
  }
  auto span = std::make_shared<Span>();
  span->servers = servers;
  span->home = request.home;
  span->self = request.self;
  return span;
}

arrow::Status CheckSpan(const WriteJob& job, const Snapshot* current) {
  if (current == nullptr) return {};
  const Span* old = current->span.get();
  if ((old == nullptr) == (job.span == nullptr) &&
      (old == nullptr || old->servers == job.span->servers)) {
    return {};
  }
  return Error(Code::kFailedPrecondition, "feed '", job.feed, "' is on ", Listed(old),
               " and this write is for ", Listed(job.span.get()),
               ": name the same servers, spelled the same, or drop the feed there first");
}

arrow::Result<proto::Decision> Decide(const WriteJob& job, const Snapshot* current,
                                      const std::vector<proto::AttemptRef>& attempts,
                                      uint64_t feed_id, int64_t created_unix_ms) {
  const Span& span = *job.span;
  std::map<int64_t, const proto::AttemptRef*> by_partition;
  std::vector<proto::AttemptRef> own;
  for (const proto::AttemptRef& ref : attempts) {
    if (!by_partition.emplace(ref.partition, &ref).second) {
      return Error(Code::kInvalidArgument, "the commit of write job '", job.job_id,
                   "' names two attempts for partition ", ref.partition, " of feed '", job.feed,
                   "': exactly one may be committed");
    }
    if (ServerOf(span.servers, job.feed, ref.partition) == span.self) own.push_back(ref);
  }
  ARROW_RETURN_NOT_OK(ChooseAttempts(job, own).status());

  proto::Decision decision;
  decision.job_id = job.job_id;
  decision.feed_id = feed_id;
  decision.created_unix_ms = created_unix_ms;
  decision.append = job.mode == proto::WriteMode::kAppend && current != nullptr;
  int64_t next = -1;  // -1: partitions keep their numbers
  if (decision.append) {
    const auto& before = current->span->partitions;
    next = before.empty() ? 0 : before.back().partition + 1;
  }
  for (const auto& [partition, ref] : by_partition) {
    proto::DecidedAttempt& decided = decision.attempts.emplace_back();
    decided.attempt = ref->attempt;
    decided.job_partition = partition;
    decided.partition.emplace();
    decided.partition->partition = next >= 0 ? next++ : partition;
    decided.partition->rows = ref->rows;
    decided.partition->bytes = ref->bytes;
    decided.partition->batches = ref->batches;
    decided.partition->crc32c = ref->crc32c;
    decided.partition->server = static_cast<uint32_t>(ServerOf(span.servers, job.feed, partition));
  }
  return decision;
}

arrow::Result<std::shared_ptr<const Snapshot>> ApplyDecision(
    const WriteJob& job, std::shared_ptr<const Snapshot> current, const proto::Decision& decision) {
  if (decision.skip) return current;
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->name = job.feed;
  snapshot->feed_id = decision.feed_id;
  snapshot->created_unix_ms = decision.created_unix_ms;
  snapshot->schema = job.schema;
  // As the home has it, whatever is here: an append that makes the feed has none from before.
  snapshot->retention = RetentionOf(job, decision.append ? current.get() : nullptr);
  auto span = std::make_shared<Span>(*job.span);
  if (decision.append && current != nullptr) {
    snapshot->schema = current->schema;
    snapshot->partitions = current->partitions;
    if (current->span != nullptr) span->partitions = current->span->partitions;
  }
  for (const proto::DecidedAttempt& decided : decision.attempts) {
    const proto::PartitionInfo info = decided.partition.value_or(proto::PartitionInfo{});
    if (span->is_home()) span->partitions.push_back(info);
    if (info.server != span->self) continue;
    const auto at = job.staged.find({decided.job_partition, decided.attempt});
    if (at == job.staged.end()) {
      return Error(Code::kFailedPrecondition, "feed '", job.feed, "', partition ",
                   decided.job_partition, ", attempt ", decided.attempt,
                   ": its home server committed it, and it is not staged here: write the feed "
                   "again");
    }
    auto partition = std::make_shared<Partition>(*at->second.data);
    partition->schema = snapshot->schema;
    partition->partition = info.partition;
    snapshot->partitions.push_back(std::move(partition));
  }
  snapshot->span = std::move(span);
  SumUp(snapshot.get());
  return snapshot;
}

arrow::Status CheckWhole(const Snapshot& snapshot) {
  if (snapshot.span == nullptr) return {};
  return Error(Code::kFailedPrecondition, "feed '", snapshot.name, "' spans several servers and ",
               snapshot.span->servers[snapshot.span->self],
               " holds a part of it: connect to all its servers, ", Listed(snapshot.span.get()));
}

arrow::Status CheckHome(const Snapshot& snapshot) {
  if (snapshot.span == nullptr || snapshot.span->is_home()) return {};
  return Error(
      Code::kFailedPrecondition, "feed '", snapshot.name,
      "' spans several servers, and what its readers hold and confirm is kept at its home, ",
      snapshot.span->servers[snapshot.span->home], ": connect to all its servers, ",
      Listed(snapshot.span.get()));
}

void SumUp(Snapshot* snapshot) {
  const auto sum = [snapshot](const auto& partitions, const auto& of) {
    for (const auto& partition : partitions) {
      snapshot->rows += of(partition).rows;
      snapshot->bytes += of(partition).bytes;
    }
  };
  snapshot->rows = 0;
  snapshot->bytes = 0;
  snapshot->schema_hash = SchemaHash(*snapshot->schema);
  if (snapshot->span != nullptr && snapshot->span->is_home()) {
    sum(snapshot->span->partitions, [](const auto& p) -> const auto& { return p; });
    snapshot->fingerprint = Fingerprint(snapshot->schema_hash, snapshot->span->partitions);
  } else {
    sum(snapshot->partitions, [](const auto& p) -> const auto& { return *p; });
    snapshot->fingerprint = Fingerprint(snapshot->schema_hash, snapshot->partitions);
  }
}

}  // namespace flightbridge::feed
