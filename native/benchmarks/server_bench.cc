// What a put pays for its checksums, and what a row costs as a server holds more feeds or serves
// more readers. Server and clients share this process, over each transport.
//
//   fb_server_bench checksums|feeds|readers [MiB per round, default 64]
//
// What is compared is the least of many rounds, in which sides take turns, and CPU seconds of the
// process: other programs on the machine can only add to either.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arrow/api.h>

#include "../tests/testing/jobs.h"
#include "flightbridge/client.h"
#include "flightbridge/proto/commands.h"
#include "flightbridge/server.h"
#include "segment/crc32c_internal.h"
#include "socket_pair.h"

namespace {

using namespace flightbridge;  // NOLINT(google-build-using-namespace)

constexpr int64_t kRows = 1 << 16;  // of a batch
constexpr int kColumns = 8;         // 4 MiB of int64
constexpr const char* kWays[] = {"channel", "flight", "mapped", "local"};

void Check(const arrow::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Get(arrow::Result<T> result) {
  Check(result.status());
  return result.MoveValueUnsafe();
}

struct Cost {
  double cpu_s;
  double wall_s;
};

Cost Timed(const std::function<void()>& work) {
  const auto cpu = [] {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  };
  const double before = cpu();
  const auto begun = std::chrono::steady_clock::now();
  work();
  return {cpu() - before,
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count()};
}

// Many of little, some of much.
int Rounds(int64_t batches) { return static_cast<int>(std::clamp<int64_t>(400 / batches, 3, 25)); }

double Least(const std::vector<double>& values) { return *std::ranges::min_element(values); }

std::shared_ptr<arrow::RecordBatch> MakeBatch(int64_t rows, int64_t first = 0) {
  std::vector<std::shared_ptr<arrow::Field>> fields;
  std::vector<std::shared_ptr<arrow::Array>> columns;
  for (int c = 0; c < kColumns; ++c) {
    arrow::Int64Builder builder;
    Check(builder.Reserve(rows));
    for (int64_t i = 0; i < rows; ++i) builder.UnsafeAppend((first + i) * 2654435761 + c);
    fields.push_back(arrow::field("c" + std::to_string(c), arrow::int64()));
    columns.push_back(builder.Finish().ValueOrDie());
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), rows, std::move(columns));
}

std::unique_ptr<Client> Connect(const Server& server, const std::string& way) {
  ClientOptions options;
  options.uri = server.uri();
  options.transport = way;
  return Get(Client::Connect(options));
}

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

// A whole write job of one partition.
void Put(Client* client, const std::string& feed, const Batches& batches) {
  static int64_t jobs = 0;
  const std::string job = "job" + std::to_string(++jobs);
  const auto begin =
      testing::JobOf(feed, job, proto::WriteMode::kErrorIfExists, batches[0]->schema());
  Check(client->BeginWrite(begin).status());
  const auto put = Get(client->OpenPut(feed, job, 0, 1, batches[0]->schema()));
  for (const auto& batch : batches) Check(put->Write(*batch));
  const proto::PutResult staged = Get(put->Finish());
  proto::AttemptRef ref;
  ref.attempt = 1;
  ref.rows = staged.rows;
  ref.batches = staged.batches;
  ref.crc32c = staged.crc32c;
  ref.bytes = staged.bytes;
  Check(client->CommitWrite(feed, job, {ref}).status());
}

// Reads rows [begin, end) of partition 0.
void Read(Client* client, const proto::FeedInfo& feed, int64_t begin, int64_t end) {
  proto::GetTicket ticket;
  ticket.feed = feed.feed;
  ticket.feed_id = feed.feed_id;
  ticket.ranges.push_back({0, begin, end});
  const auto stream = Get(client->OpenGet(ticket));
  while (Get(stream->Next()) != nullptr) {
  }
}

std::unique_ptr<Server> Start() {
  ServerOptions options;
  options.memory_limit_bytes = int64_t{4} << 30;
  return Get(Server::Start(options));
}

void Checksums(int64_t batches) {
  const int rounds = Rounds(batches);
  const auto server = Start();
  // Each of its own memory: a table that is put comes from there, and not from the cache.
  Batches table;
  for (int64_t i = 0; i < batches; ++i) table.push_back(MakeBatch(kRows, i * kRows));
  std::printf("%-10s%14s%14s%20s%20s\n", "put", "with: GB/s", "CPU s/GB", "share of CPU time",
              "share of the time");
  for (const char* way : kWays) {
    const auto client = Connect(*server, way);
    std::vector<double> cpu[2], wall[2];  // with, without
    for (int round = -2; round < rounds; ++round) {
      Cost cost[2];
      for (int side = 0; side < 2; ++side) {
        const bool off = (side + round) % 2 == 0;  // neither is always the first
        segment::SwitchChecksums(!off);
        cost[off ? 1 : 0] = Timed([&] { Put(client.get(), "f", table); });
        Check(client->DropFeed("f", false));
      }
      if (round < 0) continue;  // pools and connections are new
      for (int side = 0; side < 2; ++side) {
        cpu[side].push_back(cost[side].cpu_s);
        wall[side].push_back(cost[side].wall_s);
      }
    }
    const double gb = static_cast<double>(batches * kRows * kColumns * 8) / 1e9;
    std::printf("%-10s%14.2f%14.3f%19.1f%%%19.1f%%\n", way, gb / Least(wall[0]), Least(cpu[0]) / gb,
                100 * (1 - Least(cpu[1]) / Least(cpu[0])),
                100 * (1 - Least(wall[1]) / Least(wall[0])));
  }
  segment::SwitchChecksums(true);
}

// One feed of the same size, put and read, on a server that holds more and more others.
void Feeds(int64_t batches) {
  const int rounds = Rounds(batches);
  const Batches table(static_cast<size_t>(batches), MakeBatch(kRows));
  const Batches small = {MakeBatch(256)};
  const auto rows = static_cast<double>(batches * kRows);
  std::printf("%-10s%12s%12s%12s   feeds there; CPU ns per row\n", "", "1", "100", "1000");
  for (const char* way : {"channel", "mapped"}) {
    const auto server = Start();
    const auto client = Connect(*server, way);
    const std::string names[] = {std::string("put ") + way, std::string("get ") + way};
    double found[2][3];
    int held = 1;
    int column = 0;
    for (const int wanted : {1, 100, 1000}) {
      for (; held < wanted; ++held) Put(client.get(), "other" + std::to_string(held), small);
      std::vector<double> put, get;
      for (int round = -1; round < rounds; ++round) {
        const Cost in = Timed([&] { Put(client.get(), "f", table); });
        const auto info = Get(client->DescribeFeed("f"));
        const Cost out = Timed([&] { Read(client.get(), info, 0, batches * kRows); });
        Check(client->DropFeed("f", false));
        if (round < 0) continue;
        put.push_back(in.cpu_s * 1e9 / rows);
        get.push_back(out.cpu_s * 1e9 / rows);
      }
      found[0][column] = Least(put);
      found[1][column++] = Least(get);
    }
    for (int i = 0; i < 2; ++i)
      std::printf("%-14s%8.2f%12.2f%12.2f\n", names[i].c_str(), found[i][0], found[i][1],
                  found[i][2]);
  }
}

// What `readers` readers of a feed cost, each with a client and a thread of its own and every one
// of them reading all of it.
double CostOfReaders(const Server& server, const char* way, int64_t readers, int64_t rows,
                     int rounds) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int64_t r = 0; r < readers; ++r) clients.push_back(Connect(server, way));
  const auto info = Get(clients.front()->DescribeFeed("f"));
  std::vector<double> cost;
  for (int round = -1; round < rounds; ++round) {
    const Cost all = Timed([&] {
      std::vector<std::thread> threads;
      for (const auto& client : clients) {
        threads.emplace_back([&] { Read(client.get(), info, 0, rows); });
      }
      for (std::thread& thread : threads) thread.join();
    });
    if (round >= 0) cost.push_back(all.cpu_s * 1e9 / static_cast<double>(rows * readers));
  }
  return Least(cost);
}

// The same bytes over as many bare sockets: what the system asks for them.
double CostOfSockets(const uint8_t* bytes, int64_t readers, int64_t rows, int rounds) {
  const int64_t batch_bytes = kRows * kColumns * 8;
  std::vector<double> cost;
  for (int round = -1; round < rounds; ++round) {
    std::vector<SocketPair> pairs(static_cast<size_t>(readers));
    const Cost all = Timed([&] {
      std::vector<std::thread> threads;
      for (SocketPair& pair : pairs) {
        threads.emplace_back([&] {
          for (int64_t row = 0; row < rows; row += kRows) pair.Send(bytes, batch_bytes);
        });
        threads.emplace_back([&] {
          // As the reader of a feed, into memory that it uses again.
          std::vector<uint8_t> to(static_cast<size_t>(batch_bytes));
          for (int64_t row = 0; row < rows; row += kRows) pair.Receive(to.data(), batch_bytes);
        });
      }
      for (std::thread& thread : threads) thread.join();
    });
    if (round >= 0) cost.push_back(all.cpu_s * 1e9 / static_cast<double>(rows * readers));
  }
  return Least(cost);
}

// One feed, read by more and more readers.
void Readers(int64_t batches) {
  const Batches table(static_cast<size_t>(batches), MakeBatch(kRows));
  const int64_t rows = batches * kRows;
  const auto server = Start();
  Put(Connect(*server, "local").get(), "f", table);
  const std::vector<uint8_t> bytes(kRows * kColumns * 8, 1);
  std::printf("%-14s%8s%12s%12s%12s   readers; CPU ns per row\n", "", "1", "8", "64", "64 to 1");
  for (const char* way : {"channel", "flight", "mapped", "sockets"}) {
    double cost[3];
    int column = 0;
    for (const int64_t readers : {1, 8, 64}) {
      const int rounds = std::max(3, static_cast<int>(Rounds(batches) / readers));
      cost[column++] = way == std::string("sockets")
                           ? CostOfSockets(bytes.data(), readers, rows, rounds)
                           : CostOfReaders(*server, way, readers, rows, rounds);
    }
    std::printf("get %-10s%8.2f%12.2f%12.2f%11.2fx\n", way, cost[0], cost[1], cost[2],
                cost[2] / cost[0]);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int64_t mib = argc > 2 ? std::atoll(argv[2]) : 64;
  const int64_t batches = std::max<int64_t>(1, (mib << 20) / (kRows * kColumns * 8));
  if (what == "checksums") {
    Checksums(batches);
  } else if (what == "feeds") {
    Feeds(batches);
  } else if (what == "readers") {
    Readers(batches);
  } else {
    std::fprintf(stderr, "usage: fb_server_bench checksums|feeds|readers [MiB]\n");
    return 2;
  }
  return 0;
}
