#include "server/auth_token_file.h"

#include <cstdio>
#include <utility>

#include "common/secret_file.h"

namespace flightbridge::server {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);
constexpr time_t kSettleSeconds = 2;  // coarser than any file system's clock that we know

void Log(const std::string& line) {
  // Nobody is waiting for an answer here; ServerStatus.token_file_error says the same.
  std::fprintf(stderr, "flightbridge: %s\n", line.c_str());
}

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

bool TokenFile::Identity::operator==(const Identity& other) const {
  return device == other.device && inode == other.inode && bytes == other.bytes &&
         SameTime(modified, other.modified) && SameTime(changed, other.changed);
}

arrow::Result<std::unique_ptr<TokenFile>> TokenFile::Open(std::string path) {
  std::unique_ptr<TokenFile> file(new TokenFile(std::move(path)));
  ARROW_RETURN_NOT_OK(file->Load());
  return file;
}

arrow::Status TokenFile::Load() {
  struct stat found{};
  const auto text = ReadSecretFile("token file", path_, &found);
  identity_ = {found.st_dev, found.st_ino, found.st_size, found.st_mtim, found.st_ctim};
  // A file that changes again within its time stamp's grain would look the same.
  settled_ = ::time(nullptr) - found.st_ctim.tv_sec > kSettleSeconds;
  ARROW_RETURN_NOT_OK(text.status());
  ARROW_ASSIGN_OR_RAISE(tokens_, TokenSet::Parse(*text, path_));
  return arrow::Status::OK();
}

void TokenFile::LoadIfChanged() {
  struct stat found{};
  if (error_.empty() && settled_ && ::stat(path_.c_str(), &found) == 0 &&
      identity_ ==
          Identity{found.st_dev, found.st_ino, found.st_size, found.st_mtim, found.st_ctim}) {
    return;
  }
  const arrow::Status loaded = Load();
  std::string error = loaded.ok() ? "" : loaded.message();
  if (error != error_) {
    if (loaded.ok()) {
      Log("token file " + path_ + " is in force again");
    } else {
      Log(error + "; the tokens read before stay in force");
    }
  }
  error_ = std::move(error);
}

std::shared_ptr<const TokenSet> TokenFile::Current(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now - looked_ >= kLookEvery) {
    looked_ = now;
    LoadIfChanged();
  }
  return tokens_;
}

std::string TokenFile::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

}  // namespace flightbridge::server
