// One fb_reader and the state around it: opened at first use, cancelled from any thread, closed
// once, and stopped before the process tears its libraries down.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "flightbridge/c_api.h"
#include "status.h"

namespace flightbridge_tf {

// Thread-safe. Open and Next block, one caller at a time; Cancel wakes them and never blocks.
class Source {
 public:
  Source() { Live().Add(this); }
  ~Source() {
    Live().Remove(this);
    Cancel();
    std::lock_guard<std::timed_mutex> use(use_mu_);
    Close();
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // Opens the reader and goes to `position` unless that is empty. Blocks for at most the spec's
  // timeout.
  absl::Status Open(const std::string& spec, const std::string& position) {
    std::lock_guard<std::timed_mutex> use(use_mu_);
    if (is_cancelled()) return Cancelled();
    fb_reader* reader = nullptr;
    fb_error error = {};
    int code = fb_reader_open(spec.data(), spec.size(), &reader, &error);
    if (code != FB_OK) return ToStatus(code, error);
    {
      std::lock_guard<std::mutex> lock(mu_);
      std::swap(reader, reader_);
    }
    if (is_cancelled()) {
      Close();
      return Cancelled();
    }
    if (position.empty()) return absl::OkStatus();
    code = fb_reader_seek(reader_, position.data(), position.size(), &error);
    if (code != FB_OK) Close();
    return ToStatus(code, error);
  }

  // The next batch and the position behind it; *batch is nullptr at the end, where the reader is
  // closed. Blocks until there is a batch, an error or a Cancel().
  absl::Status Next(fb_batch** batch, std::string* position) {
    std::lock_guard<std::timed_mutex> use(use_mu_);
    if (reader_ == nullptr) return Cancelled();  // closed by ShutDownAll
    fb_error error = {};
    const int code = fb_reader_next(reader_, batch, &error);
    if (code != FB_OK) return ToStatus(code, error);
    ReadPosition(position);
    if (*batch == nullptr) Close();
    return absl::OkStatus();
  }

  // Leaves out up to `batches` batches: *skipped of them, fewer only at the end, where the reader
  // is closed. Blocks as Next does.
  absl::Status Skip(int64_t batches, int64_t* skipped, std::string* position) {
    std::lock_guard<std::timed_mutex> use(use_mu_);
    if (reader_ == nullptr) return Cancelled();
    fb_error error = {};
    const int code = fb_reader_skip(reader_, batches, skipped, &error);
    if (code != FB_OK) return ToStatus(code, error);
    ReadPosition(position);
    if (*skipped < batches) Close();
    return absl::OkStatus();
  }

  bool is_open() const {
    std::lock_guard<std::mutex> lock(mu_);
    return reader_ != nullptr;
  }

  // Wakes a blocked call; every later one fails.
  void Cancel() {
    std::lock_guard<std::mutex> lock(mu_);
    cancelled_ = true;
    if (reader_ != nullptr) fb_reader_cancel(reader_);
  }

  // For interpreter exit: cancels every source of this process, stops its threads, and lets no
  // other begin.
  static void ShutDownAll() { Live().ShutDownAll(); }

 private:
  static constexpr size_t kUsualPositionBytes = 256;
  static constexpr std::chrono::seconds kShutDownWait{5};

  class Registry {
   public:
    void Add(Source* source) {
      std::lock_guard<std::mutex> lock(mu_);
      sources_.insert(source);
      if (down_) source->Cancel();
    }
    void Remove(Source* source) {
      std::lock_guard<std::mutex> lock(mu_);
      sources_.erase(source);
    }
    void ShutDownAll() {
      std::lock_guard<std::mutex> lock(mu_);
      down_ = true;
      for (Source* const source : sources_) source->Cancel();
      for (Source* const source : sources_) {
        std::unique_lock<std::timed_mutex> use(source->use_mu_, kShutDownWait);
        if (use.owns_lock()) source->Close();
      }
    }

   private:
    std::mutex mu_;
    std::set<Source*> sources_;
    bool down_ = false;
  };

  static Registry& Live() {
    static auto* const live = new Registry;  // never destroyed: iterators may outlive exit
    return *live;
  }

  void ReadPosition(std::string* position) const {
    position->resize(kUsualPositionBytes);
    const int64_t needed = fb_reader_position(reader_, position->data(), position->size());
    const bool fitted = needed <= static_cast<int64_t>(kUsualPositionBytes);
    position->resize(needed);
    if (!fitted) fb_reader_position(reader_, position->data(), position->size());
  }

  // Under use_mu_. Stops the reader's threads; batches handed out stay valid.
  void Close() {
    fb_reader* reader = nullptr;
    {
      std::lock_guard<std::mutex> lock(mu_);
      std::swap(reader, reader_);
    }
    if (reader == nullptr) return;
    fb_reader_cancel(reader);
    fb_reader_close(reader);
  }

  bool is_cancelled() const {
    std::lock_guard<std::mutex> lock(mu_);
    return cancelled_;
  }
  static absl::Status Cancelled() { return absl::CancelledError("the iterator was cancelled"); }

  std::timed_mutex use_mu_;  // one user of the reader at a time; never taken by Cancel()
  mutable std::mutex mu_;    // guards the two below; reader_ changes only under both
  fb_reader* reader_ = nullptr;
  bool cancelled_ = false;
};

}  // namespace flightbridge_tf
