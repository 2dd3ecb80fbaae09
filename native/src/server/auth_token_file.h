// A token file on disk, read again when it changes.
#pragma once

#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>

#include <sys/stat.h>

#include <arrow/result.h>

#include "server/auth_tokens.h"

namespace flightbridge::server {

// Thread-safe. Looks at the file at most once a second, on the thread of a call; needs no other.
class TokenFile {
 public:
  using Clock = std::chrono::steady_clock;

  // INVALID_ARGUMENT for a file that is not there, that others may read, or with a wrong line.
  static arrow::Result<std::unique_ptr<TokenFile>> Open(std::string path);

  // What the file said when it could last be read: a bad new file changes nothing.
  std::shared_ptr<const TokenSet> Current(Clock::time_point now = Clock::now());
  // Why the file as it is now is not in force; empty where it is.
  std::string error() const;

 private:
  explicit TokenFile(std::string path) : path_(std::move(path)) {}

  // Which content was read: changes with every way of writing a file.
  struct Identity {
    dev_t device;
    ino_t inode;
    off_t bytes;
    timespec modified;
    timespec changed;
    bool operator==(const Identity& other) const;
  };

  arrow::Status Load();  // with mutex_ held, or before anybody else knows of this
  void LoadIfChanged();

  const std::string path_;
  mutable std::mutex mutex_;
  std::shared_ptr<const TokenSet> tokens_;
  Identity identity_{};
  bool settled_ = false;  // false: read it again, it may have been in the middle of a change
  std::string error_;
  Clock::time_point looked_ = Clock::now();
};

}  // namespace flightbridge::server
