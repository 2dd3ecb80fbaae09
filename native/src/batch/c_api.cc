// The C ABI over the reader. Nothing is thrown past this file.
#include "flightbridge/c_api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "batch/batch.h"
#include "batch/reader.h"
#include "batch/source.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace {

using flightbridge::Code;
using flightbridge::CodeOf;
using flightbridge::Error;
using flightbridge::batch::Batch;
using flightbridge::batch::Reader;
namespace proto = flightbridge::proto;

Reader* Unwrap(fb_reader* reader) { return reinterpret_cast<Reader*>(reader); }
const Reader* Unwrap(const fb_reader* reader) { return reinterpret_cast<const Reader*>(reader); }
Batch* Unwrap(fb_batch* batch) { return reinterpret_cast<Batch*>(batch); }
const Batch* Unwrap(const fb_batch* batch) { return reinterpret_cast<const Batch*>(batch); }

// Cuts where a character of UTF-8 begins.
void CopyMessage(std::string_view from, fb_error* err) {
  size_t length = std::min(from.size(), sizeof(err->message) - 1);
  if (length < from.size()) {
    while (length > 0 && (static_cast<unsigned char>(from[length]) & 0xC0) == 0x80) --length;
  }
  std::memcpy(err->message, from.data(), length);
  err->message[length] = '\0';
}

int Report(Code code, std::string_view message, fb_error* err) {
  if (err != nullptr) {
    err->code = static_cast<int32_t>(code);
    CopyMessage(message, err);
  }
  return static_cast<int>(code);
}

// Runs `call`, which returns a Status, and reports it.
template <typename Call>
int Guarded(fb_error* err, Call&& call) noexcept {
  try {
    const arrow::Status status = call();
    if (status.ok()) return Report(Code::kOk, "", err);
    return Report(CodeOf(status), status.message(), err);
  } catch (const std::bad_alloc&) {
    return Report(Code::kResourceExhausted, "out of memory", err);
  } catch (const std::exception& e) {
    return Report(Code::kInternal, e.what(), err);
  } catch (...) {
    return Report(Code::kInternal, "an exception of unknown type", err);
  }
}

template <typename M>
arrow::Result<M> ParseArgument(const char* name, const void* bytes, size_t size) {
  if (bytes == nullptr && size > 0) {
    return Error(Code::kInvalidArgument, name, " is NULL but has ", size, " bytes");
  }
  auto message = proto::Parse<M>({static_cast<const char*>(bytes), size});
  if (!message) {
    return Error(Code::kInvalidArgument, name, " (", size, " bytes) is damaged: it is no ",
                 name == std::string_view("spec") ? "ReaderSpec" : "Position");
  }
  return *std::move(message);
}

arrow::Status IsNull(const char* name) { return Error(Code::kInvalidArgument, name, " is NULL"); }

}  // namespace

extern "C" {

int fb_abi_version(void) { return FB_ABI_VERSION; }
const char* fb_version(void) { return FB_VERSION; }

int fb_reader_open(const void* spec, size_t spec_bytes, fb_reader** out, fb_error* err) {
  if (out != nullptr) *out = nullptr;
  return Guarded(err, [&]() -> arrow::Status {
    if (out == nullptr) return IsNull("out");
    ARROW_ASSIGN_OR_RAISE(const auto parsed,
                          ParseArgument<proto::ReaderSpec>("spec", spec, spec_bytes));
    ARROW_ASSIGN_OR_RAISE(auto reader, Reader::Open(parsed, flightbridge::batch::ConnectTo(parsed),
                                                    flightbridge::batch::IsLocal(parsed),
                                                    flightbridge::batch::ConnectForLeases(parsed)));
    *out = reinterpret_cast<fb_reader*>(reader.release());
    return arrow::Status::OK();
  });
}

int fb_reader_seek(fb_reader* reader, const void* position, size_t position_bytes, fb_error* err) {
  return Guarded(err, [&]() -> arrow::Status {
    if (reader == nullptr) return IsNull("reader");
    ARROW_ASSIGN_OR_RAISE(const auto parsed,
                          ParseArgument<proto::Position>("position", position, position_bytes));
    return Unwrap(reader)->Seek(parsed);
  });
}

int fb_reader_next(fb_reader* reader, fb_batch** out, fb_error* err) {
  if (out != nullptr) *out = nullptr;
  return Guarded(err, [&]() -> arrow::Status {
    if (reader == nullptr) return IsNull("reader");
    if (out == nullptr) return IsNull("out");
    ARROW_ASSIGN_OR_RAISE(auto batch, Unwrap(reader)->Next());
    *out = reinterpret_cast<fb_batch*>(batch.release());
    return arrow::Status::OK();
  });
}

int fb_reader_skip(fb_reader* reader, int64_t batches, int64_t* skipped, fb_error* err) {
  if (skipped != nullptr) *skipped = 0;
  return Guarded(err, [&]() -> arrow::Status {
    if (reader == nullptr) return IsNull("reader");
    if (skipped == nullptr) return IsNull("skipped");
    ARROW_ASSIGN_OR_RAISE(*skipped, Unwrap(reader)->Skip(batches));
    return arrow::Status::OK();
  });
}

int64_t fb_reader_position(const fb_reader* reader, void* buffer, size_t capacity) {
  if (reader == nullptr) return -1;
  std::string bytes;
  const int code = Guarded(nullptr, [&] {
    bytes = Unwrap(reader)->position().Encode();
    return arrow::Status::OK();
  });
  if (code != FB_OK) return -1;
  if (buffer != nullptr) std::memcpy(buffer, bytes.data(), std::min(capacity, bytes.size()));
  return static_cast<int64_t>(bytes.size());
}

void fb_reader_cancel(fb_reader* reader) {
  if (reader == nullptr) return;
  Guarded(nullptr, [&] {
    Unwrap(reader)->Cancel();
    return arrow::Status::OK();
  });
}

void fb_reader_close(fb_reader* reader) { delete Unwrap(reader); }

int64_t fb_batch_rows(const fb_batch* batch) {
  return batch == nullptr ? -1 : Unwrap(batch)->rows();
}

int32_t fb_batch_num_columns(const fb_batch* batch) {
  return batch == nullptr ? -1 : static_cast<int32_t>(Unwrap(batch)->columns().size());
}

int fb_batch_column(const fb_batch* batch, int32_t i, fb_column* out) {
  if (batch == nullptr || out == nullptr) return FB_INVALID_ARGUMENT;
  const auto& columns = Unwrap(batch)->columns();
  if (i < 0 || static_cast<size_t>(i) >= columns.size()) return FB_INVALID_ARGUMENT;
  *out = columns[i];
  return FB_OK;
}

void fb_batch_retain(fb_batch* batch) {
  if (batch != nullptr) Unwrap(batch)->Retain();
}

void fb_batch_release(fb_batch* batch) {
  if (batch != nullptr) Unwrap(batch)->Release();
}

}  // extern "C"
