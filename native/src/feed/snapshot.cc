#include <algorithm>

#include "feed/feed_store.h"
#include "feed/retention.h"

namespace flightbridge::feed {

arrow::Result<std::shared_ptr<const Partition>> Snapshot::Find(int64_t partition) const {
  const auto at = std::lower_bound(
      partitions.begin(), partitions.end(), partition,
      [](const auto& candidate, int64_t number) { return candidate->partition < number; });
  if (at == partitions.end() || (*at)->partition != partition) {
    if (span != nullptr) {
      std::string servers;
      for (const std::string& uri : span->servers) servers += (servers.empty() ? "" : ",") + uri;
      return Error(Code::kNotFound, "partition ", partition, " of feed '", name, "' is not on ",
                   span->servers[span->self], ": connect to all its servers, ", servers);
    }
    return Error(Code::kNotFound, "feed '", name, "' has no partition ", partition, ": it has ",
                 partitions.size(), " partitions",
                 partitions.empty()
                     ? std::string()
                     : ", numbered from " + std::to_string(partitions.front()->partition) + " to " +
                           std::to_string(partitions.back()->partition));
  }
  if ((*at)->released) {
    return Error(Code::kFailedPrecondition, "partition ", partition, " of feed '", name,
                 "' is released: it was written with retention=", NameOf(retention),
                 ", and readers have confirmed its rows; continue from a confirmed position, or "
                 "write the feed again");
  }
  return *at;
}

proto::FeedInfo Snapshot::Info(int64_t after) const {
  proto::FeedInfo info;
  info.feed = name;
  info.feed_id = feed_id;
  info.state = open ? proto::FeedState::kOpen : proto::FeedState::kCommitted;
  info.generation = generation();
  info.schema_hash = schema_hash;
  info.fingerprint = fingerprint;
  info.rows = rows;
  info.bytes = bytes;
  info.created_unix_ms = created_unix_ms;
  info.schema_text = schema->ToString(/*show_metadata=*/false);
  if (!KeepsForEver(retention)) info.retention = retention;
  info.confirmed_rows = ConfirmResult(*this).confirmed_rows;
  info.orders = !open && span == nullptr &&
                std::ranges::none_of(partitions, [](const auto& p) { return p->released; });
  for (const auto& [writer, epoch] : writers) info.writers.push_back({writer, epoch});
  const auto first =
      std::ranges::lower_bound(generations, after, {}, &proto::GenerationInfo::generation);
  info.generations.assign(first, generations.end());
  info.partitions.reserve(after > 0 && !generations.empty() ? 0 : partitions.size());
  if (span != nullptr) {
    info.servers = span->servers;
    info.home = span->home;
    if (span->is_home()) {
      info.partitions = span->partitions;
      return info;
    }
  }
  for (const auto& partition : partitions) {
    if (!generations.empty() && after > 0 && partition->generation <= after) continue;
    proto::PartitionInfo entry;
    entry.generation = partition->generation;
    if (span != nullptr) entry.server = span->self;
    entry.partition = partition->partition;
    entry.rows = partition->rows;
    entry.bytes = partition->bytes;
    entry.batches = partition->batches;
    entry.crc32c = partition->crc32c;
    entry.released = partition->released;
    info.partitions.push_back(entry);
  }
  return info;
}

arrow::Status ValidateFeedName(const std::string& feed) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  if (!feed.empty() && feed.size() <= 200 && feed.front() != '.' &&
      std::all_of(feed.begin(), feed.end(), allowed)) {
    return {};
  }
  std::string shown;  // the name comes from anyone: keep messages printable and short
  for (const char c : feed.substr(0, 40)) shown += c >= ' ' && c <= '~' ? c : '?';
  return Error(Code::kInvalidArgument, "feed name '", shown, feed.size() > 40 ? "..." : "",
               "' is not valid: use 1 to 200 characters from A-Z a-z 0-9 _ . - and do not start "
               "with a dot");
}

}  // namespace flightbridge::feed
