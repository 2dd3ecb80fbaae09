// What a store finds in its data directory after its process has stopped, cleanly or not.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "segment/journal.h"
#include "segment/journal_scan.h"
#include "testing/batches.h"
#include "testing/store.h"

namespace flightbridge::feed {
namespace {

using testing::Batches;
using testing::Numbered;
using testing::RowsOf;
using testing::TempDir;
using testing::TestStore;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

size_t SegmentFiles(const TempDir& dir) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() + "/segments")) {
    count += entry.path().extension() == ".seg" ? 1 : 0;
  }
  return count;
}

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> rows;
  for (int64_t i = begin; i < end; ++i) rows.push_back(i);
  return rows;
}

TEST(Recovery, CommittedFeedsComeBackIdentical) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto batch = Numbered(0, 1000);
  const auto before =
      store.Write("f", {Batches{batch, Numbered(1000, 24)}, Batches{Numbered(1024, 7)}});
  store.Write("g", {Batches{Numbered(5, 5)}});
  store.Write("g", {Batches{Numbered(10, 5)}}, proto::WriteMode::kAppend);
  const auto g = store->Find("g").ValueOrDie();
  store.Reopen();
  const auto after = store->Find("f").ValueOrDie();
  EXPECT_EQ(after->Info(), before->Info());
  EXPECT_EQ(RowsOf(*after), Range(0, 1031));
  EXPECT_TRUE(after->partitions[0]->Decode(0).ValueOrDie()->Equals(*batch));
  EXPECT_EQ(store->Find("g").ValueOrDie()->Info(), g->Info());
  EXPECT_EQ(RowsOf(*store->Find("g").ValueOrDie()), Range(5, 15));
  // Readers of the first run still read, though the files now belong to the second.
  EXPECT_EQ(RowsOf(*before), Range(0, 1031));
}

TEST(Recovery, EveryTypeComesBack) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto batches = testing::BatchesOfManyTypes();
  for (size_t i = 0; i < batches.size(); ++i) {
    store.Write("f" + std::to_string(i), {Batches{batches[i].second}});
  }
  store.Reopen();
  for (size_t i = 0; i < batches.size(); ++i) {
    SCOPED_TRACE(batches[i].first);
    const auto snapshot = store->Find("f" + std::to_string(i)).ValueOrDie();
    const Partition& partition = *snapshot->partitions.at(0);
    const auto read = partition.Decode(partition.messages.size() - 1);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE((*read)->Equals(*batches[i].second));
  }
}

TEST(Recovery, StagedAttemptsSurviveAndCommit) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto batch = Numbered(0, 100);
  ASSERT_TRUE(store.Begin("f", "j", batch->schema()).ok());
  const auto winner = store.Put("f", "j", 0, 2, {batch}).ValueOrDie();
  ASSERT_TRUE(store.Put("f", "j", 0, 3, {Numbered(7, 1)}).ok());
  store.Reopen();
  EXPECT_FALSE(store->Find("f").ok()) << "staged is not visible";
  EXPECT_EQ(store->Describe("f")->open_jobs, 1);
  EXPECT_FALSE(store.Begin("f", "j", batch->schema())->already_committed);
  const auto second = store.Put("f", "j", 1, 4, {Numbered(100, 5)}).ValueOrDie();
  ASSERT_TRUE(store->CommitWrite({"f", "j", {winner, second}}).ok());
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()), Range(0, 105));
  store.Reopen();
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()), Range(0, 105));
}

TEST(Recovery, RepeatedCommitAfterRestartGivesTheSameResult) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto schema = Numbered(0, 1)->schema();
  ASSERT_TRUE(store.Begin("f", "j", schema).ok());
  const auto ref = store.Put("f", "j", 0, 0, {Numbered(0, 9)}).ValueOrDie();
  const auto first = store->CommitWrite({"f", "j", {ref}}).ValueOrDie();
  store.Write("f", {Batches{Numbered(0, 3)}}, proto::WriteMode::kOverwrite);
  store.Reopen();
  const auto again = store->CommitWrite({"f", "j", {ref}}).ValueOrDie();
  EXPECT_TRUE(again.already_committed);
  EXPECT_EQ(again.feed->feed_id, first.feed->feed_id);
  EXPECT_EQ(again.feed->rows, 9);
  EXPECT_TRUE(store.Begin("f", "j", schema)->already_committed);
}

TEST(Recovery, DroppedAbortedAndReplacedDataIsGone) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("dropped", {Batches{Numbered(0, 100)}});
  ASSERT_TRUE(store->DropFeed({"dropped", false}).ok());
  EXPECT_EQ(SegmentFiles(dir), 0u);
  const auto schema = Numbered(0, 1)->schema();
  ASSERT_TRUE(store.Begin("aborted", "j", schema).ok());
  ASSERT_TRUE(store.Put("aborted", "j", 0, 0, {Numbered(0, 100)}).ok());
  ASSERT_TRUE(store->AbortWrite({"aborted", "j"}).ok());
  store.Write("f", {Batches{Numbered(0, 100)}});
  store.Write("f", {Batches{Numbered(50, 10)}}, proto::WriteMode::kOverwrite);
  store.Reopen();
  ASSERT_EQ(store->List().size(), 1u);
  EXPECT_EQ(RowsOf(*store->Find("f").ValueOrDie()), Range(50, 60));
  ASSERT_TRUE(store->DropFeed({"f", false}).ok());
  EXPECT_EQ(SegmentFiles(dir), 0u);
}

TEST(Recovery, SegmentsNobodyClaimsAreRemoved) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("f", {Batches{Numbered(0, 10)}});
  store.Close();
  WriteFile(dir.path() + "/segments/00000077.seg", std::string(8192, 'x'));
  WriteFile(dir.path() + "/segments/README", "not ours");
  store.Reopen();
  EXPECT_EQ(SegmentFiles(dir), 1u);
  EXPECT_TRUE(std::filesystem::exists(dir.path() + "/segments/README"));
}

TEST(Recovery, FlippedDataIsDataLossAtTheFirstRead) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("bad", {Batches{Numbered(0, 1000)}});
  store.Write("good", {Batches{Numbered(0, 10)}});
  const auto bad = store->Find("bad").ValueOrDie();
  const auto ref = bad->partitions[0]->segments.at(0);
  store.Close();
  const int fd = open((dir.path() + "/segments/00000001.seg").c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  const int64_t at = ref.offset + ref.used - 2000;  // within the body
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, at), 1);
  byte ^= 4;
  ASSERT_EQ(pwrite(fd, &byte, 1, at), 1);
  close(fd);
  store.Reopen();
  const auto status = store->Find("bad").ValueOrDie()->partitions[0]->Decode(0).status();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss);
  EXPECT_NE(status.message().find("feed 'bad', partition 0"), std::string::npos) << status;
  EXPECT_EQ(RowsOf(*store->Find("good").ValueOrDie()), Range(0, 10));
}

TEST(Recovery, DamagedHeaderTakesItsFeedAloneAndCanBeDropped) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("bad", {Batches{Numbered(0, 1000)}});
  store.Write("good", {Batches{Numbered(0, 10)}});
  const auto ref = store->Find("bad").ValueOrDie()->partitions[0]->segments.at(0);
  store.Close();
  const int fd = open((dir.path() + "/segments/00000001.seg").c_str(), O_RDWR);
  ASSERT_EQ(pwrite(fd, "XXXX", 4, ref.offset), 4);
  close(fd);
  store.Reopen();
  const auto status = store->Find("bad").status();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss);
  EXPECT_NE(status.message().find("drop the feed"), std::string::npos) << status;
  EXPECT_EQ(store->List().size(), 2u);
  EXPECT_EQ(
      CodeOf(store.Begin("bad", "a", Numbered(0, 1)->schema(), proto::WriteMode::kAppend).status()),
      Code::kDataLoss);
  EXPECT_EQ(RowsOf(*store->Find("good").ValueOrDie()), Range(0, 10));
  ASSERT_TRUE(store->DropFeed({"bad", false}).ok());
  store.Write("bad", {Batches{Numbered(3, 4)}});
  store.Reopen();
  EXPECT_EQ(RowsOf(*store->Find("bad").ValueOrDie()), Range(3, 7));
}

// As after a write that a disk lost: what lay there before is whole, and of the same shape.
TEST(Recovery, AWholeRecordOfAnotherAttemptIsNotServed) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto batch = [](const char* json) { return testing::FromJson(arrow::int64(), json); };
  store.Write("before", {Batches{batch("[1, 2, 3]")}});
  store.Write("f", {Batches{batch("[4, 5, 6]")}});
  const auto from = store->Find("before").ValueOrDie()->partitions[0]->segments.at(0);
  const auto to = store->Find("f").ValueOrDie()->partitions[0]->segments.at(0);
  ASSERT_EQ(from.chunk, to.chunk);
  ASSERT_EQ(from.used, to.used);
  store.Close();
  const std::string path = dir.path() + "/segments/00000001.seg";
  std::string bytes = ReadFile(path);
  bytes.replace(static_cast<size_t>(to.offset), static_cast<size_t>(to.used), bytes,
                static_cast<size_t>(from.offset), static_cast<size_t>(from.used));
  WriteFile(path, bytes);
  store.Reopen();
  const auto status = store->Find("f").status();
  EXPECT_EQ(CodeOf(status), Code::kDataLoss);
  EXPECT_NE(status.message().find("feed 'f', partition 0"), std::string::npos) << status;
  EXPECT_EQ(RowsOf(*store->Find("before").ValueOrDie()), Range(1, 4));
}

// The journal cut at every byte of its last record: the decision is not there, all before it is.
TEST(Recovery, TornTailAtEveryOffset) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("f", {Batches{Numbered(0, 10)}});
  ASSERT_TRUE(store.Begin("g", "j", Numbered(0, 1)->schema()).ok());
  const auto ref = store.Put("g", "j", 0, 0, {Numbered(0, 5)}).ValueOrDie();
  const std::string path = dir.path() + "/journal";
  const std::string before = ReadFile(path);
  ASSERT_TRUE(store->CommitWrite({"g", "j", {ref}}).ok());
  store.Close();
  const std::string whole = ReadFile(path);
  ASSERT_TRUE(whole.starts_with(before));
  for (size_t size = before.size(); size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    // Some file systems show the lost part as zeros.
    for (const size_t zeros : {size_t{0}, whole.size() - size}) {
      WriteFile(path, whole.substr(0, size) + std::string(zeros, '\0'));
      const auto opened = store.TryReopen();
      ASSERT_TRUE(opened.ok()) << opened;
      ASSERT_EQ(RowsOf(*store->Find("f").ValueOrDie()), Range(0, 10));
      if (zeros > 0 && whole.find_last_not_of('\0') < size) {
        ASSERT_TRUE(store->Find("g").ok()) << "only zeros were lost";
        continue;
      }
      ASSERT_FALSE(store->Find("g").ok());
      ASSERT_EQ(std::filesystem::file_size(path), before.size()) << "the tail is cut off";
    }
  }
  ASSERT_TRUE(store->CommitWrite({"g", "j", {ref}}).ok());
  EXPECT_EQ(RowsOf(*store->Find("g").ValueOrDie()), Range(0, 5));
}

TEST(Recovery, DamageInTheMiddleIsRefusedByNameAndOffset) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  store.Write("f", {Batches{Numbered(0, 10)}});
  const std::string path = dir.path() + "/journal";
  const size_t end = std::filesystem::file_size(path);
  store.Write("g", {Batches{Numbered(0, 10)}});
  store.Close();
  const std::string whole = ReadFile(path);
  for (size_t at = 0; at < end; at += 3) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    WriteFile(path, damaged);
    const auto status = store.TryReopen();
    ASSERT_EQ(CodeOf(status), Code::kDataLoss) << at;
    ASSERT_NE(status.message().find(path), std::string::npos) << status;
    ASSERT_NE(status.message().find("offset"), std::string::npos) << status;
    ASSERT_EQ(ReadFile(path), damaged) << "a refused journal stays as it is";
  }
  WriteFile(path, whole);
  store.Reopen();
  EXPECT_EQ(store->List().size(), 2u);
}

TEST(Recovery, CompactionKeepsEverythingThatCounts) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  const auto schema = Numbered(0, 1)->schema();
  ASSERT_TRUE(store.Begin("open", "j", schema).ok());
  const auto staged = store.Put("open", "j", 0, 0, {Numbered(0, 5)}).ValueOrDie();
  ASSERT_TRUE(store.Begin("done", "first", schema).ok());
  const auto ref = store.Put("done", "first", 0, 0, {Numbered(0, 6)}).ValueOrDie();
  const auto first = store->CommitWrite({"done", "first", {ref}}).ValueOrDie();
  // Job ids of 900 bytes, so that few writes make the journal large.
  const std::string path = dir.path() + "/journal";
  size_t largest = 0;
  bool compacted = false;
  for (int i = 0; i < 1500 && !compacted; ++i) {
    const std::string job = std::to_string(i) + std::string(900, 'j');
    ASSERT_TRUE(store.Begin("f", job, schema, proto::WriteMode::kOverwrite).ok());
    ASSERT_TRUE(store->AbortWrite({"f", job}).ok());
    const size_t size = std::filesystem::file_size(path);
    compacted = size < largest;
    largest = std::max(largest, size);
  }
  ASSERT_TRUE(compacted) << largest;
  EXPECT_LT(std::filesystem::file_size(path), 10'000u);
  const auto before = store->Find("done").ValueOrDie()->Info();
  store.Reopen();
  EXPECT_EQ(store->Find("done").ValueOrDie()->Info(), before);
  EXPECT_EQ(RowsOf(*store->Find("done").ValueOrDie()), Range(0, 6));
  const auto again = store->CommitWrite({"done", "first", {}}).ValueOrDie();
  EXPECT_TRUE(again.already_committed);
  EXPECT_EQ(again.feed->schema_text, first.feed->schema_text);
  ASSERT_TRUE(store->CommitWrite({"open", "j", {staged}}).ok());
  EXPECT_EQ(RowsOf(*store->Find("open").ValueOrDie()), Range(0, 5));
  // Damage in a compacted journal is damage, not a torn tail.
  store.Close();
  std::string bytes = ReadFile(path);
  bytes[40] = static_cast<char>(bytes[40] ^ 1);
  WriteFile(path, bytes);
  EXPECT_EQ(CodeOf(store.TryReopen()), Code::kDataLoss);
}

TEST(DataDir, SecondServerIsRefusedWithThePidOfTheFirst) {
  TempDir dir;
  TestStore store(64 << 20, dir.path());
  FeedStoreOptions options;
  options.segments.data_dir = dir.path();
  const auto status = FeedStore::Open(options).status();
  EXPECT_EQ(CodeOf(status), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find(dir.path()), std::string::npos) << status;
  EXPECT_NE(status.message().find("process " + std::to_string(getpid())), std::string::npos)
      << status;
  store.Close();
  EXPECT_TRUE(FeedStore::Open(options).ok());
}

TEST(DataDir, IsPrivate) {
  TempDir dir;
  TestStore store(64 << 20, dir.path() + "/a/b");
  store.Write("f", {Batches{Numbered(0, 10)}});
  using std::filesystem::perms;
  const auto mode = [&](const std::string& name) {
    return std::filesystem::status(dir.path() + "/a/b" + name).permissions();
  };
  EXPECT_EQ(mode(""), perms::owner_all);
  EXPECT_EQ(mode("/segments"), perms::owner_all);
  for (const char* name : {"/LOCK", "/journal", "/segments/00000001.seg"}) {
    EXPECT_EQ(mode(name), perms::owner_read | perms::owner_write) << name;
  }
}

TEST(DataDir, UnusablePlacesAreNamed) {
  for (const char* path : {"/dev/null/dir", "/proc/flightbridge"}) {
    FeedStoreOptions options;
    options.segments.data_dir = path;
    const auto status = FeedStore::Open(options).status();
    EXPECT_TRUE(CodeOf(status) == Code::kFailedPrecondition ||
                CodeOf(status) == Code::kPermissionDenied)
        << status;
    EXPECT_NE(status.message().find(path), std::string::npos) << status;
    EXPECT_NE(status.message().find("errno"), std::string::npos) << status;
  }
}

// A forked child drops its copies of everything: the parent must not notice.
TEST(DataDir, ForkedChildTakesNothingAway) {
  TempDir dir;
  for (const std::string& data_dir : {std::string(), dir.path()}) {
    TestStore store(64 << 20, data_dir);
    auto snapshot = store.Write("f", {Batches{Numbered(0, 100'000)}});
    const pid_t child = fork();
    if (child == 0) {
      snapshot.reset();
      const bool refused = !store->OpenAttempt({"f", "x", 0, 0}, Numbered(0, 1)->schema()).ok();
      store.Close();
      _exit(refused ? 0 : 1);
    }
    int result = -1;
    ASSERT_EQ(waitpid(child, &result, 0), child);
    EXPECT_EQ(result, 0);
    EXPECT_EQ(RowsOf(*snapshot), Range(0, 100'000));
    if (!data_dir.empty()) {
      FeedStoreOptions options;
      options.segments.data_dir = data_dir;
      EXPECT_FALSE(FeedStore::Open(options).ok()) << "still locked by the parent";
    }
  }
}

}  // namespace
}  // namespace flightbridge::feed
