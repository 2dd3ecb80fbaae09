#include "segment/journal.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "flightbridge/error.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::segment {
namespace {

using testing::TempDir;

arrow::Result<std::unique_ptr<Journal>> Open(const std::string& path,
                                             std::vector<std::string>* records) {
  return Journal::Open(path, [=](std::string_view payload) {
    if (records != nullptr) records->emplace_back(payload);
    return arrow::Status::OK();
  });
}

TEST(Journal, ReplaysInOrder) {
  TempDir dir;
  const std::string path = dir.path() + "/journal";
  {
    auto journal = Open(path, nullptr).ValueOrDie();
    ASSERT_TRUE(journal->Append("a").ok());
    ASSERT_TRUE(journal->Sync(journal->Append(std::string(100'000, 'b')).ValueOrDie()).ok());
  }
  std::vector<std::string> records;
  auto journal = Open(path, &records).ValueOrDie();
  EXPECT_EQ(records, (std::vector<std::string>{"a", std::string(100'000, 'b')}));
  ASSERT_TRUE(journal->Append("c").ok());
  journal.reset();
  records.clear();
  ASSERT_TRUE(Open(path, &records).ok());
  EXPECT_EQ(records.size(), 3u);
}

TEST(Journal, RewriteIsAtomicAndKeptOpen) {
  TempDir dir;
  const std::string path = dir.path() + "/journal";
  auto journal = Open(path, nullptr).ValueOrDie();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(journal->Append("old").ok());
  EXPECT_FALSE(journal
                   ->Rewrite([](const auto& emit) -> arrow::Status {
                     ARROW_RETURN_NOT_OK(emit("half"));
                     return arrow::Status::Invalid("stop");
                   })
                   .ok());
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  ASSERT_TRUE(journal->Rewrite([](const auto& emit) { return emit("new"); }).ok());
  ASSERT_TRUE(journal->Sync(journal->Append("after").ValueOrDie()).ok());
  journal.reset();
  std::vector<std::string> records;
  ASSERT_TRUE(Open(path, &records).ok());
  EXPECT_EQ(records, (std::vector<std::string>{"new", "after"}));
}

TEST(Journal, DamageInTheLastRecordIsNotATornTail) {
  TempDir dir;
  const std::string path = dir.path() + "/journal";
  auto journal = Open(path, nullptr).ValueOrDie();
  ASSERT_TRUE(journal->Append("first").ok());
  const auto begin = static_cast<size_t>(journal->bytes());
  ASSERT_TRUE(journal->Sync(journal->Append("the last one").ValueOrDie()).ok());
  journal.reset();
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  };
  // Behind the length: a wrong length is not told from a file that ends inside the record.
  for (size_t at = begin + 4; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x15);
    write(damaged);
    const auto status = Open(path, nullptr).status();
    ASSERT_EQ(CodeOf(status), Code::kDataLoss) << at;
    ASSERT_NE(status.message().find("offset " + std::to_string(begin)), std::string::npos)
        << status;
  }
  write(whole.substr(0, whole.size() - 3) + std::string(3, '\0'));  // blocks never written
  std::vector<std::string> records;
  ASSERT_TRUE(Open(path, &records).ok());
  EXPECT_EQ(records, (std::vector<std::string>{"first"}));
}

TEST(Journal, WritersShareSyncs) {
  TempDir dir;
  const std::string path = dir.path() + "/journal";
  auto journal = Open(path, nullptr).ValueOrDie();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto ticket = journal->Append(std::to_string(t) + "." + std::to_string(i));
        failures += ticket.ok() && journal->Sync(*ticket).ok() ? 0 : 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  journal.reset();
  std::vector<std::string> records;
  ASSERT_TRUE(Open(path, &records).ok());
  EXPECT_EQ(std::set<std::string>(records.begin(), records.end()).size(), 200u);
}

// A file size limit stands for a full disk: the same path, without mounting anything.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_ = {};
};

TEST(Journal, FullDiskIsAnErrorAndPasses) {
  TempDir dir;
  const std::string path = dir.path() + "/journal";
  auto journal = Open(path, nullptr).ValueOrDie();
  ASSERT_TRUE(journal->Sync(journal->Append("first").ValueOrDie()).ok());
  const int64_t size = journal->bytes();
  {
    FileSizeLimit limit(static_cast<rlim_t>(size) + 50);
    const auto status = journal->Append(std::string(1000, 'x')).status();
    EXPECT_EQ(CodeOf(status), Code::kResourceExhausted) << status;
    EXPECT_NE(status.message().find(path), std::string::npos) << status;
    EXPECT_EQ(journal->bytes(), size);
  }
  EXPECT_EQ(static_cast<int64_t>(std::filesystem::file_size(path)), size) << "no half record";
  ASSERT_TRUE(journal->Sync(journal->Append("second").ValueOrDie()).ok());
  journal.reset();
  std::vector<std::string> records;
  ASSERT_TRUE(Open(path, &records).ok());
  EXPECT_EQ(records, (std::vector<std::string>{"first", "second"}));
}

// Nothing is acknowledged while the journal cannot be written; afterwards everything works again.
TEST(FullDisk, StoreRefusesWritesServesReadsAndRecovers) {
  TempDir dir;
  testing::TestStore store(64 << 20, dir.path());
  const auto batch = testing::Numbered(0, 10);
  store.Write("kept", {testing::Batches{batch}});
  ASSERT_TRUE(store.Begin("f", "j", batch->schema()).ok());
  const auto ref = store.Put("f", "j", 0, 0, {batch}).ValueOrDie();
  {
    FileSizeLimit limit(std::filesystem::file_size(dir.path() + "/journal"));
    EXPECT_EQ(CodeOf(store->CommitWrite({"f", "j", {ref}}).status()), Code::kResourceExhausted);
    EXPECT_EQ(CodeOf(store.Put("f", "j", 0, 1, {batch}).status()), Code::kResourceExhausted);
    EXPECT_EQ(CodeOf(store.Begin("g", "j", batch->schema()).status()), Code::kResourceExhausted);
    EXPECT_EQ(CodeOf(store->DropFeed({"kept", false})), Code::kResourceExhausted);
    EXPECT_FALSE(store->Find("f").ok());
    EXPECT_EQ(testing::RowsOf(*store->Find("kept").ValueOrDie()).size(), 10u);
  }
  ASSERT_TRUE(store->CommitWrite({"f", "j", {ref}}).ok());
  store.Reopen();
  EXPECT_EQ(testing::RowsOf(*store->Find("f").ValueOrDie()).size(), 10u);
  EXPECT_EQ(testing::RowsOf(*store->Find("kept").ValueOrDie()).size(), 10u);
}

}  // namespace
}  // namespace flightbridge::segment
