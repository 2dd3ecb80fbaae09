#include "segment/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "flightbridge/error.h"

namespace flightbridge::segment {
namespace {

arrow::Status Unusable(const std::string& data_dir, int error) {
  const bool denied = error == EACCES || error == EPERM || error == EROFS;
  return Error(denied ? Code::kPermissionDenied : Code::kFailedPrecondition, "data directory '",
               data_dir, "' cannot be used: ", std::strerror(error), " (errno ", error,
               "): give a --data-dir that this user can write to");
}

std::string ReadPid(int fd) {
  char text[32] = {};
  const ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
  return got > 0 ? std::string(text, std::strcspn(text, "\n")) : std::string("unknown");
}

}  // namespace

arrow::Result<std::unique_ptr<DataDirLock>> DataDirLock::Take(const std::string& data_dir) {
  std::error_code error;
  const auto parent = std::filesystem::path(data_dir).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (error) return Unusable(data_dir, error.value());
  if (mkdir(data_dir.c_str(), 0700) != 0 && errno != EEXIST) return Unusable(data_dir, errno);

  const std::string path = data_dir + "/LOCK";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Unusable(data_dir, errno);
  std::unique_ptr<DataDirLock> lock(new DataDirLock(fd, getpid()));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason != EWOULDBLOCK) return Unusable(data_dir, reason);
    lock->pid_ = 0;  // not ours to release
    return Error(Code::kFailedPrecondition, "data directory '", data_dir, "' is in use by process ",
                 ReadPid(fd), ": stop that server or give another --data-dir");
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    return Unusable(data_dir, errno);
  }
  return lock;
}

DataDirLock::~DataDirLock() {
  // Explicitly: forked children may still hold descriptors of the same lock.
  if (pid_ == getpid()) flock(fd_, LOCK_UN);
  close(fd_);
}

}  // namespace flightbridge::segment
