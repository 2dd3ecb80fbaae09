// What a row costs as a feed has more partitions: the plan alone, a reader over memory, and leases.
//
//   fb_plan_bench [rows, default 4194304]
//
// Prints nanoseconds per row at 10, 1,000 and 10,000 partitions of one feed size. Figures of a line
// should be alike: what grows from left to right is not flat.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/api.h>

#include "../tests/fake_source.h"
#include "batch/reader.h"
#include "lease/lease_table.h"
#include "plan/schedule.h"

namespace {

using namespace flightbridge;  // NOLINT(google-build-using-namespace)
using Clock = std::chrono::steady_clock;

constexpr int64_t kPartitions[] = {10, 1'000, 10'000};

std::shared_ptr<const plan::FeedRows> MakeRows(int64_t rows, int64_t partitions) {
  std::vector<plan::PartitionRows> out;
  for (int64_t p = 0; p < partitions; ++p) out.push_back({p, rows / partitions});
  return std::make_shared<const plan::FeedRows>(std::move(out));
}

std::shared_ptr<batch::FakeFeed> MakeFeed(int64_t rows, int64_t partitions) {
  auto feed = std::make_shared<batch::FakeFeed>();
  feed->schema = arrow::schema({arrow::field("id", arrow::int64())});
  for (int64_t p = 0; p < partitions; ++p) {
    arrow::Int64Builder ids;
    if (!ids.Reserve(rows / partitions).ok()) std::abort();
    for (int64_t i = 0; i < rows / partitions; ++i) ids.UnsafeAppend(i);
    feed->partitions.push_back(
        {arrow::RecordBatch::Make(feed->schema, rows / partitions, {ids.Finish().ValueOrDie()})});
  }
  return feed;
}

void Line(const char* name, int64_t rows, const std::function<double(int64_t)>& seconds) {
  std::printf("%-34s", name);
  for (const int64_t partitions : kPartitions) {
    std::printf("%12.2f", seconds(partitions) * 1e9 / static_cast<double>(rows));
    std::fflush(stdout);
  }
  std::printf("\n");
}

double Timed(const std::function<void()>& work) {
  const auto begun = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

// Every unit of three epochs, with the ranges of its ticket.
double Schedule(int64_t rows, int64_t partitions, plan::ShardPolicy policy, int64_t window) {
  const auto feed = MakeRows(rows, partitions);
  return Timed([&] {
           const auto shard = std::make_shared<const plan::ShardRows>(
               feed, plan::ShardSpec{policy, plan::UnevenShards::kJoin, 0, 1});
           plan::Schedule schedule({.order = {.window = window}, .epochs = 3, .unit_rows = 65'536},
                                   shard, 0, 0);
           std::vector<plan::Range> ranges;
           while (const auto unit = schedule.Next()) {
             ranges.clear();
             for (const plan::Interval& i : unit->intervals) feed->AppendRanges(i, &ranges);
           }
         }) /
         3;
}

double Read(int64_t rows, int64_t partitions, int64_t window) {
  proto::ReaderSpec spec;
  spec.feed = "fake";
  spec.batch_size = 1024;
  spec.epochs = 1;
  spec.num_shards = 1;
  spec.connections = 1;
  spec.shuffle_window = window;
  const auto feed = MakeFeed(rows, partitions);
  return Timed([&] {
    auto reader = batch::Reader::Open(spec, batch::ConnectFake(feed), false).ValueOrDie();
    while (*reader->Next() != nullptr) {
    }
  });
}

// 64 readers take and complete every split of 1,024 rows or a partition, one at a time.
double Lease(int64_t rows, int64_t partitions) {
  constexpr uint64_t kReaders = 64;
  const auto feed = MakeRows(rows, partitions);
  return Timed([&] {
    lease::LeaseTable table;
    std::vector<int64_t> held(kReaders, -1);
    uint64_t calls = 0;
    for (bool over = false; !over;) {
      for (uint64_t reader = 0; reader < kReaders; ++reader) {
        if (held[reader] >= 0) {
          (void)table.Release({"g", "f", reader + 1, 1, 0, {held[reader]}, {}, false});
        }
        proto::AcquireSplits request;
        request.group = "g";
        request.feed = "f";
        request.split_rows = 1024;
        request.holder = reader + 1;
        request.token = 1;
        request.join = calls < kReaders;
        request.sequence = ++calls;
        request.max_splits = 1;
        request.lease_timeout_ms = 30'000;
        const auto result = table.Acquire(request, {0, [&] { return feed; }}).ValueOrDie();
        held[reader] = result.splits.empty() ? -1 : result.splits[0].split;
        over |= result.epoch_done;
      }
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t rows = argc > 1 ? std::atoll(argv[1]) : 1 << 22;
  std::printf("%-34s%12s%12s%12s  partitions; ns per row\n", "", "10", "1000", "10000");
  using plan::ShardPolicy;
  Line("plan, feed order", rows,
       [&](int64_t p) { return Schedule(rows, p, ShardPolicy::kStatic, 0); });
  Line("plan, whole partitions", rows,
       [&](int64_t p) { return Schedule(rows, p, ShardPolicy::kStaticPartition, 0); });
  Line("plan, window of 65536", rows,
       [&](int64_t p) { return Schedule(rows, p, ShardPolicy::kStatic, 65'536); });
  Line("reader over memory, feed order", rows, [&](int64_t p) { return Read(rows, p, 0); });
  Line("reader over memory, window of 65536", rows,
       [&](int64_t p) { return Read(rows, p, 65'536); });
  Line("leases of 64 readers", rows, [&](int64_t p) { return Lease(rows, p); });
  return 0;
}
