// A Follower of feeds of a real server in this process, over its socket and without it. Where a
// test needs the follower to wait, it sees the call that waits begin.
#include "batch/follower.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <numeric>

#include <gtest/gtest.h>

#include "flightbridge/client.h"
#include "flightbridge/error.h"
#include "flightbridge/server.h"
#include "testing/batches.h"
#include "testing/jobs.h"
#include "testing/store.h"

namespace flightbridge::batch {
namespace {

using std::chrono::milliseconds;
using testing::JobOf;
using testing::Numbered;

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status();
  return std::move(result).ValueOrDie();
}

// Calls of a follower to the server, as they begin.
class Calls {
 public:
  void Count(int Calls::* what) {
    const std::lock_guard lock(mutex_);
    ++(this->*what);
    changed_.notify_all();
  }
  int Get(int Calls::* what) const {
    const std::lock_guard lock(mutex_);
    return this->*what;
  }
  // Until one more than `before` have begun.
  void Await(int Calls::* what, int before) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return this->*what > before; });
  }
  // Until the follower waits for the server in a call that it has made from now on.
  void AwaitWaiting() const { Await(&Calls::waits, Get(&Calls::waits)); }

  int all = 0;
  int waits = 0;     // that the server answers when there is something new
  int connects = 0;  // tried

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
};

class WatchedSource : public Source {
 public:
  WatchedSource(std::unique_ptr<Source> source, std::shared_ptr<Calls> calls)
      : source_(std::move(source)), calls_(std::move(calls)) {}
  arrow::Result<proto::FeedInfo> DescribeFeed() override {
    calls_->Count(&Calls::all);
    return source_->DescribeFeed();
  }
  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema() override {
    calls_->Count(&Calls::all);
    return source_->GetSchema();
  }
  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    calls_->Count(&Calls::all);
    return source_->OpenGet(ticket);
  }
  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    calls_->Count(&Calls::all);
    if (action == "WaitFeed" && proto::Parse<proto::WaitFeed>(body)->timeout_ms > 0) {
      calls_->Count(&Calls::waits);
    }
    return source_->Act(action, body, doing);
  }

 private:
  const std::unique_ptr<Source> source_;
  const std::shared_ptr<Calls> calls_;
};

class FollowerTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    StartServer();
    begun_ = Value(client_->BeginWrite(StreamOf("the feed")));  // it is there, and empty
  }
  void TearDown() override { StopServer(); }

  void StartServer() {
    ServerOptions options;
    options.data_dir = dir_.path();
    options.port = port_;
    server_ = Value(Server::Start(options));
    port_ = server_->port();
    ClientOptions to;
    to.uri = server_->uri();
    to.transport = GetParam();
    client_ = Value(Client::Connect(to));
  }
  void StopServer() {
    client_ = nullptr;
    if (server_ != nullptr) EXPECT_TRUE(server_->Stop(milliseconds(2000)).ok());
    server_ = nullptr;
  }

  static proto::BeginWrite StreamOf(const std::string& job) {
    return JobOf("f", job, proto::WriteMode::kStream, Numbered(0, 1)->schema());
  }

  // One generation of rows [begin, begin + rows), in as many partitions.
  void Add(int64_t begin, int64_t rows, int64_t partitions = 1) const {
    static int jobs = 0;
    const std::string job = "job " + std::to_string(jobs++);
    ASSERT_TRUE(client_->BeginWrite(StreamOf(job)).ok());
    std::vector<proto::AttemptRef> attempts;
    for (int64_t p = 0; p < partitions; ++p) {
      const int64_t from = begin + rows * p / partitions;
      const auto batch = Numbered(from, begin + rows * (p + 1) / partitions - from);
      const auto put = Value(client_->OpenPut("f", job, p, 1, batch->schema()));
      ASSERT_TRUE(put->Write(*batch).ok());
      const auto done = Value(put->Finish());
      attempts.push_back({p, 1, done.rows, done.batches, done.crc32c});
    }
    const auto done = client_->CommitWrite("f", job, attempts);
    ASSERT_TRUE(done.ok()) << done.status();
  }
  void End() const {
    const auto ended = client_->Act("EndFeed", proto::EndFeed{"f"}.Encode(), "ending");
    ASSERT_TRUE(ended.ok()) << ended.status();
  }

  proto::ReaderSpec Spec() const {
    proto::ReaderSpec spec;
    spec.uri = "grpc://127.0.0.1:" + std::to_string(port_);
    spec.feed = "f";
    spec.batch_size = 4;
    spec.columns = {"n"};
    spec.epochs = 1;
    spec.num_shards = 1;
    spec.transport = GetParam();
    spec.follow = true;
    return spec;
  }
  std::unique_ptr<Follower> Follow(const proto::ReaderSpec& spec) const {
    const ConnectFn connect = ConnectTo(spec);
    return Value(Follower::Open(
        spec,
        [connect, calls = calls_]() -> arrow::Result<std::unique_ptr<Source>> {
          calls->Count(&Calls::connects);
          ARROW_ASSIGN_OR_RAISE(auto source, connect());
          return std::make_unique<WatchedSource>(std::move(source), calls);
        },
        IsLocal(spec)));
  }

  // Next() on a thread of its own, which has begun to wait for the server.
  std::future<arrow::Result<BatchPtr>> NextThatWaits(Follower* follower) const {
    auto next = std::async(std::launch::async, [follower] { return follower->Next(); });
    calls_->AwaitWaiting();
    return next;
  }

  const std::shared_ptr<Calls> calls_ = std::make_shared<Calls>();
  std::unique_ptr<Client> client_;
  proto::BeginWriteResult begun_;

 private:
  testing::TempDir dir_;
  int port_ = 0;
  std::unique_ptr<Server> server_;
};

using Rows = std::vector<int64_t>;

Rows RowsOf(const Batch& batch) {
  const auto* values = static_cast<const int64_t*>(batch.columns()[0].data);
  return {values, values + batch.rows()};
}

Rows RowsOf(const arrow::Result<BatchPtr>& batch) {
  EXPECT_TRUE(batch.ok()) << batch.status();
  if (!batch.ok() || *batch == nullptr) return {};
  return RowsOf(**batch);
}

Rows Range(int64_t begin, int64_t end) {
  Rows rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

// What is left, batch by batch.
std::vector<Rows> ReadAll(Follower* follower) {
  std::vector<Rows> all;
  while (true) {
    const auto batch = follower->Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || *batch == nullptr) return all;
    all.push_back(RowsOf(**batch));
  }
}

TEST_P(FollowerTest, ANewGenerationEndsTheWait) {
  const auto follower = Follow(Spec());
  for (int64_t begin = 0; begin < 30; begin += 3) {
    auto next = NextThatWaits(follower.get());
    Add(begin, 3);
    ASSERT_EQ(RowsOf(next.get()), Range(begin, begin + 3));
    EXPECT_EQ(follower->position().generation, begin / 3 + 1);
    EXPECT_EQ(follower->position().cursor, 3);
  }
  EXPECT_EQ(follower->stats().feed_rows, 30);
}

TEST_P(FollowerTest, TheEndOfTheFeedEndsTheWaitForGood) {
  Add(0, 3);
  const auto follower = Follow(Spec());
  EXPECT_EQ(RowsOf(follower->Next()), Range(0, 3));
  auto next = NextThatWaits(follower.get());
  End();
  const auto end = next.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, nullptr);
  StopServer();
  const int calls = calls_->Get(&Calls::all) + calls_->Get(&Calls::connects);
  for (int i = 0; i < 2; ++i) {  // there is nothing to ask a server for
    EXPECT_TRUE(follower->WaitFor(milliseconds(0)));
    const auto still = follower->Next();
    ASSERT_TRUE(still.ok()) << still.status();
    EXPECT_EQ(*still, nullptr);
  }
  EXPECT_EQ(calls_->Get(&Calls::all) + calls_->Get(&Calls::connects), calls);
}

TEST_P(FollowerTest, AWaitWithATimeoutSaysWhetherThereIsSomething) {
  const auto follower = Follow(Spec());
  EXPECT_FALSE(follower->WaitFor(milliseconds(1)));
  const proto::Position before = follower->position();
  const int calls = calls_->Get(&Calls::all);
  EXPECT_FALSE(follower->WaitFor(milliseconds(0)));
  EXPECT_EQ(calls_->Get(&Calls::all), calls) << "no time, no call";
  auto waiting = std::async(std::launch::async, [&] {
    while (!follower->WaitFor(milliseconds(50))) {
    }
    return follower->position();
  });
  calls_->AwaitWaiting();
  EXPECT_EQ(follower->position().generation, 0) << "another thread may ask at any time";
  Add(0, 3);
  EXPECT_EQ(waiting.get(), before) << "not handed out";
  EXPECT_EQ(RowsOf(follower->Next()), Range(0, 3));
}

// Saved behind every batch, also where nothing follows yet, and restored when more has come.
TEST_P(FollowerTest, APositionGoesOnWhateverCameAfterIt) {
  for (const int64_t window : {0, 5, -1}) {
    for (const int64_t shard : {0, 1}) {
      SCOPED_TRACE(::testing::Message() << "window " << window << " shard " << shard);
      static_cast<void>(client_->DropFeed("f", true));
      ASSERT_TRUE(client_->BeginWrite(StreamOf("again")).ok());
      proto::ReaderSpec spec = Spec();
      spec.shuffle_window = window;
      spec.seed = 3;
      spec.num_shards = 2;
      spec.shard = shard;
      const auto follower = Follow(spec);
      std::vector<Rows> seen;
      std::vector<std::pair<size_t, std::string>> saved;  // behind so many batches
      const auto save = [&] { saved.emplace_back(seen.size(), follower->position().Encode()); };
      save();
      int64_t begin = 0;
      for (const int64_t rows : {21, 1, 8}) {  // of the second, one shard has nothing
        Add(begin, rows, std::min<int64_t>(rows, 3));
        begin += rows;
        const int64_t own = rows * (shard + 1) / 2 - rows * shard / 2;
        for (int64_t had = 0; had < own; had += static_cast<int64_t>(seen.back().size())) {
          seen.push_back(RowsOf(follower->Next()));
          ASSERT_FALSE(seen.back().empty());
          save();
        }
        EXPECT_FALSE(follower->WaitFor(milliseconds(20))) << "it waits";
        save();
      }
      Add(begin, 9, 2);
      End();
      for (const auto& rows : ReadAll(follower.get())) seen.push_back(rows);
      save();
      EXPECT_EQ(follower->stats().feed_rows, begin + 9);
      for (const auto& [batches, bytes] : saved) {
        const auto restored = Follow(spec);
        ASSERT_TRUE(restored->Seek(*proto::Parse<proto::Position>(bytes)).ok());
        EXPECT_EQ(restored->position().Encode(), bytes) << batches;
        EXPECT_EQ(ReadAll(restored.get()), std::vector<Rows>(seen.begin() + batches, seen.end()))
            << batches;
      }
    }
  }
}

TEST_P(FollowerTest, AFingerprintIsThatOfAnyGenerationOfTheFeed) {
  Add(0, 3);
  const auto follower = Follow(Spec());
  EXPECT_EQ(RowsOf(follower->Next()), Range(0, 3));
  proto::ReaderSpec spec = Spec();
  spec.fingerprint = follower->position().fingerprint;
  Add(3, 3);
  End();
  EXPECT_EQ(ReadAll(Follow(spec).get()), (std::vector<Rows>{Range(0, 3), Range(3, 6)}));
  // The same without follow: what there was then.
  spec.follow = false;
  const auto reader = Value(Reader::Open(spec, ConnectTo(spec), IsLocal(spec)));
  EXPECT_EQ(RowsOf(reader->Next()), Range(0, 3));
  EXPECT_EQ(*reader->Next(), nullptr);
  for (const bool follow : {false, true}) {
    spec.follow = follow;
    spec.fingerprint += 1;
    const auto refused = Reader::Open(spec, ConnectTo(spec), IsLocal(spec));
    EXPECT_EQ(CodeOf(refused.status()), Code::kFailedPrecondition) << refused.status();
  }
}

TEST_P(FollowerTest, AServerThatRestartsIsWaitedFor) {
  const auto follower = Follow(Spec());
  int64_t begin = 0;
  for (const bool written_first : {false, true}) {
    Add(begin, 3);
    EXPECT_EQ(RowsOf(follower->Next()), Range(begin, begin + 3));
    begin += 3;
    auto next = NextThatWaits(follower.get());
    const int connects = calls_->Get(&Calls::connects);
    StopServer();
    calls_->Await(&Calls::connects, connects + 1);  // it was told, and has tried again
    StartServer();
    if (!written_first) calls_->AwaitWaiting();
    Add(begin, 3);
    EXPECT_EQ(RowsOf(next.get()), Range(begin, begin + 3));
    begin += 3;
  }
  auto next = NextThatWaits(follower.get());
  const int connects = calls_->Get(&Calls::connects);
  StopServer();
  calls_->Await(&Calls::connects, connects);
  StartServer();
  End();
  const auto end = next.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, nullptr);
}

TEST_P(FollowerTest, AServerThatStaysAwayIsAnErrorAndCanBeAskedAgain) {
  Add(0, 3);
  proto::ReaderSpec spec = Spec();
  spec.follow_timeout_s = 0.4;
  spec.timeout_s = 5;
  const auto follower = Follow(spec);
  EXPECT_EQ(RowsOf(follower->Next()), Range(0, 3));
  const auto nothing = follower->Next();
  EXPECT_EQ(CodeOf(nothing.status()), Code::kDeadlineExceeded) << nothing.status();
  EXPECT_NE(nothing.status().message().find("follow_timeout_s=0.4"), std::string::npos);
  StopServer();
  const auto away = follower->Next();
  EXPECT_EQ(CodeOf(away.status()), Code::kUnavailable) << away.status();
  StartServer();
  Add(3, 3);
  EXPECT_EQ(RowsOf(follower->Next()), Range(3, 6));
}

TEST_P(FollowerTest, CancelEndsTheWait) {
  for (const bool away : {false, true}) {
    const auto follower = Follow(Spec());
    auto next = NextThatWaits(follower.get());
    if (away) {
      const int connects = calls_->Get(&Calls::connects);
      StopServer();
      calls_->Await(&Calls::connects, connects + 1);
    }
    follower->Cancel();
    const int calls = calls_->Get(&Calls::all);
    const auto cancelled = next.get();
    EXPECT_EQ(CodeOf(cancelled.status()), Code::kCancelled) << cancelled.status();
    EXPECT_EQ(CodeOf(follower->Next().status()), Code::kCancelled) << "for good";
    EXPECT_TRUE(follower->WaitFor(std::chrono::hours(1)));
    EXPECT_LE(calls_->Get(&Calls::all), calls + 1) << "one at most was about to begin";
    EXPECT_EQ(follower->position().generation, 0);
  }
}

TEST_P(FollowerTest, AFeedThatIsDroppedOrWrittenAgainIsAnError) {
  Add(0, 3);
  for (const bool again : {false, true}) {
    const auto follower = Follow(Spec());
    EXPECT_EQ(RowsOf(follower->Next()), Range(0, 3));
    auto next = NextThatWaits(follower.get());
    ASSERT_TRUE(client_->DropFeed("f", false).ok());
    if (again) Add(10, 3);
    const auto gone = next.get();
    const Code code = CodeOf(gone.status());
    EXPECT_TRUE(code == Code::kNotFound || (again && code == Code::kFailedPrecondition))
        << gone.status();
    if (!again) Add(0, 3);
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, FollowerTest, ::testing::Values("local", "flight", "channel"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace flightbridge::batch
