// Feeds that span three stores, without a network.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/placement.h"
#include "feed/schema_rules.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::testing {

inline const std::vector<std::string> kServers = {"grpc://a:1", "grpc://b:2", "grpc://c:3"};

// Three stores of a feed "f", with what their servers do for one another.
class Cluster {
 public:
  Cluster() {
    for (size_t i = 0; i < kServers.size(); ++i)
      stores.push_back(std::make_unique<TestStore>(64 << 20, dirs[i].path()));
  }
  size_t home() const { return feed::HomeOf(kServers, "f"); }

  arrow::Status BeginOn(size_t server, const std::string& job, proto::WriteMode mode) {
    proto::BeginWrite begin;
    begin.feed = "f";
    begin.job_id = job;
    begin.mode = mode;
    begin.schema = feed::EncodeSchema(*schema).ValueOrDie();
    begin.servers = kServers;
    begin.home = static_cast<uint32_t>(home());
    begin.self = static_cast<uint32_t>(server);
    begin.retention = retention;
    return (*stores[server])->BeginWrite(begin).status();
  }

  // Begins everywhere and stages one attempt of each partition, with rows numbered from `row`.
  proto::CommitWrite Stage(const std::string& job, int64_t partitions, int64_t row,
                           proto::WriteMode mode = proto::WriteMode::kErrorIfExists) {
    proto::CommitWrite commit{"f", job, {}};
    for (size_t i = 0; i < stores.size(); ++i) {
      const auto status = BeginOn((home() + i) % stores.size(), job, mode);
      EXPECT_TRUE(status.ok()) << status;
    }
    for (int64_t p = 0; p < partitions; ++p) {
      std::string numbers;
      for (int64_t i = 0; i < rows_each; ++i) {
        numbers += (i > 0 ? "," : "") + std::to_string(row + p * rows_each + i);
      }
      const auto batch = FromJson(arrow::int64(), "[" + numbers + "]");
      auto ref = stores[feed::ServerOf(kServers, "f", p)]->Put("f", job, p, 7, {batch});
      EXPECT_TRUE(ref.ok()) << ref.status();
      commit.attempts.push_back(*ref);
    }
    return commit;
  }

  // What the servers do every few seconds for feeds that have a retention.
  arrow::Status AskRetained(size_t server) {
    for (const feed::RetainedPart& part : (*stores[server])->RetainedParts()) {
      EXPECT_EQ(part.home, kServers[home()]);
      ARROW_ASSIGN_OR_RAISE(const auto answer, (*stores[home()])->RetentionStatus(part.question));
      ARROW_RETURN_NOT_OK((*stores[server])->ResolveRetention(part, answer));
    }
    return {};
  }
  void AskRetainedAll() {
    for (size_t i = 0; i < stores.size(); ++i) {
      const auto status = AskRetained(i);
      EXPECT_TRUE(status.ok()) << status;
    }
  }

  arrow::Status Decide(const proto::CommitWrite& commit) {
    return (*stores[home()])->CommitWrite(commit).status();
  }

  // What the server's resolver does.
  arrow::Status Tell(size_t server) {
    for (const feed::InDoubt& doubt : (*stores[server])->JobsInDoubt("f")) {
      EXPECT_EQ(doubt.home, kServers[home()]);
      ARROW_ASSIGN_OR_RAISE(const auto answer, (*stores[home()])->CommitStatus(doubt.question));
      ARROW_RETURN_NOT_OK((*stores[server])->Resolve(doubt, answer));
    }
    return {};
  }
  void TellAll() {
    for (size_t i = 0; i < stores.size(); ++i) {
      const auto status = Tell(i);
      EXPECT_TRUE(status.ok()) << status;
    }
  }

  // Every row of the feed as the home describes it, read from the servers that it names.
  std::multiset<int64_t> Rows() {
    std::multiset<int64_t> rows;
    const auto whole = (*stores[home()])->Find("f").ValueOrDie();
    for (const auto& info : whole->Info().partitions) {
      const auto part = (*stores[info.server])->Find("f").ValueOrDie();
      EXPECT_EQ(part->feed_id, whole->feed_id);
      feed::Snapshot one = *part;
      one.partitions = {part->Find(info.partition).ValueOrDie()};
      for (const int64_t row : RowsOf(one)) rows.insert(row);
    }
    return rows;
  }

  static std::multiset<int64_t> Numbers(int64_t begin, int64_t end) {
    std::multiset<int64_t> numbers;
    for (int64_t i = begin; i < end; ++i) numbers.insert(i);
    return numbers;
  }

  std::optional<proto::Retention> retention;  // of what is begun
  int64_t rows_each = 1;                      // of a partition
  std::shared_ptr<arrow::Schema> schema = FromJson(arrow::int64(), "[1]")->schema();
  TempDir dirs[3];
  std::vector<std::unique_ptr<TestStore>> stores;
};

}  // namespace flightbridge::testing
