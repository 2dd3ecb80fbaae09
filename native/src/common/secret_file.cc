#include "common/secret_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "flightbridge/error.h"

namespace flightbridge {
namespace {

constexpr off_t kMostBytes = 4 << 20;  // some 40,000 tokens

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

arrow::Status CannotRead(std::string_view what, const std::string& path, int error) {
  return Error(Code::kInvalidArgument, what, " ", path, " cannot be read: ", std::strerror(error),
               "; name a file that the server's user may read");
}

arrow::Status CheckMode(std::string_view what, const std::string& path, const struct stat& found) {
  if (!S_ISREG(found.st_mode)) {
    return Error(Code::kInvalidArgument, what, " ", path, " is not a regular file");
  }
  if (found.st_size > kMostBytes) {
    return Error(Code::kInvalidArgument, what, " ", path, " has ", found.st_size,
                 " bytes; at most ", kMostBytes, " are read: is it a token file?");
  }
  // The group may read, as it does where an orchestrator mounts secrets.
  if ((found.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof(mode), "%03o", static_cast<unsigned>(found.st_mode & 0777));
    return Error(Code::kInvalidArgument, what, " ", path, " has mode ", mode,
                 ": others than its owner and group may read it, or others than its owner may "
                 "change it; run: chmod 600 ",
                 path);
  }
  return arrow::Status::OK();
}

arrow::Result<std::string> ReadAll(int fd, std::string_view what, const std::string& path) {
  std::string text;
  std::string block(64 << 10, '\0');
  while (true) {
    const ssize_t got = ::read(fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotRead(what, path, errno);
    if (got == 0) return text;
    text.append(block, 0, static_cast<size_t>(got));
    if (text.size() > static_cast<size_t>(kMostBytes)) {
      return Error(Code::kInvalidArgument, what, " ", path, " grows while it is read");
    }
  }
}

}  // namespace

arrow::Result<std::string> ReadSecretFile(std::string_view what, const std::string& path,
                                          struct stat* found) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return CannotRead(what, path, errno);
  struct stat here{};
  if (::fstat(fd.get(), &here) != 0) return CannotRead(what, path, errno);
  if (found != nullptr) *found = here;
  ARROW_RETURN_NOT_OK(CheckMode(what, path, here));
  return ReadAll(fd.get(), what, path);
}

}  // namespace flightbridge
