#include "server/auth_token_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::server {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);
constexpr off_t kMostBytes = 4 << 20;  // some 40,000 tokens
constexpr time_t kSettleSeconds = 2;   // coarser than any file system's clock that we know

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

arrow::Status CannotRead(const std::string& path, int error) {
  return Error(Code::kInvalidArgument, "token file ", path,
               " cannot be read: ", std::strerror(error),
               "; name a file that the server's user may read");
}

arrow::Status CheckMode(const std::string& path, const struct stat& found) {
  if (!S_ISREG(found.st_mode)) {
    return Error(Code::kInvalidArgument, "token file ", path, " is not a regular file");
  }
  if (found.st_size > kMostBytes) {
    return Error(Code::kInvalidArgument, "token file ", path, " has ", found.st_size,
                 " bytes; at most ", kMostBytes, " are read: is it a token file?");
  }
  // The group may read, as it does where an orchestrator mounts secrets.
  if ((found.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof(mode), "%03o", static_cast<unsigned>(found.st_mode & 0777));
    return Error(Code::kInvalidArgument, "token file ", path, " has mode ", mode,
                 ": others than its owner and group may read it, or others than its owner may "
                 "change it; run: chmod 600 ",
                 path);
  }
  return arrow::Status::OK();
}

arrow::Result<std::string> ReadAll(int fd, const std::string& path) {
  std::string text;
  std::string block(64 << 10, '\0');
  while (true) {
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotRead(path, errno);
    if (got == 0) return text;
    text.append(block, 0, static_cast<size_t>(got));
    if (text.size() > static_cast<size_t>(kMostBytes)) {
      return Error(Code::kInvalidArgument, "token file ", path, " grows while it is read");
    }
  }
}

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
  const Descriptor fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return CannotRead(path_, errno);
  struct stat found{};
  if (::fstat(fd.get(), &found) != 0) return CannotRead(path_, errno);
  identity_ = {found.st_dev, found.st_ino, found.st_size, found.st_mtim, found.st_ctim};
  // A file that changes again within its time stamp's grain would look the same.
  settled_ = ::time(nullptr) - found.st_ctim.tv_sec > kSettleSeconds;
  ARROW_RETURN_NOT_OK(CheckMode(path_, found));
  ARROW_ASSIGN_OR_RAISE(const std::string text, ReadAll(fd.get(), path_));
  ARROW_ASSIGN_OR_RAISE(tokens_, TokenSet::Parse(text, path_));
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
