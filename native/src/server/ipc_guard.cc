#include "server/ipc_guard_internal.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>

#include <arrow/flight/types.h>
#include <arrow/ipc/message.h>

#include "flightbridge/error.h"

namespace flightbridge::server {
namespace {

using OpenResult = arrow::Result<std::unique_ptr<arrow::ipc::Message>>;

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
thread_local int64_t max_message_bytes = kNoLimit;

// In place of ipc::Message::Open(metadata, body) for calls out of libarrow_flight. A static member
// function is called like a free one.
OpenResult GuardedOpen(std::shared_ptr<arrow::Buffer> metadata,
                       std::shared_ptr<arrow::Buffer> body) {
  if (metadata == nullptr) {
    return Error(Code::kInvalidArgument,
                 "a message has no IPC header where a record batch must follow");
  }
  const auto header = metadata;
  const auto content = body;
  OpenResult opened = arrow::ipc::Message::Open(std::move(metadata), std::move(body));
  if (opened.ok() && max_message_bytes != kNoLimit) {
    ARROW_RETURN_NOT_OK(CheckMessageSize(*header, content.get(), max_message_bytes));
  }
  return opened;
}

// The mangled name of the function that GuardedOpen stands for.
constexpr std::string_view kOpenSymbol =
    "_ZN5arrow3ipc7Message4OpenESt10shared_ptrINS_6BufferEES4_";

struct SlotSearch {
  uintptr_t inside;  // an address in the library that is searched
  void** slot = nullptr;
};

// Finds the entry of kOpenSymbol in the linkage table of the library around `inside`.
int FindSlot(dl_phdr_info* info, size_t, void* data) {
  auto* search = static_cast<SlotSearch*>(data);
  const ElfW(Dyn)* dynamic = nullptr;
  bool found = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & header = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn)*>(begin);
    if (header.p_type == PT_LOAD && search->inside >= begin &&
        search->inside < begin + header.p_memsz)
      found = true;
  }
  if (!found || dynamic == nullptr) return 0;

  // glibc has turned these into addresses, other C libraries leave them relative.
  const auto address = [info](ElfW(Addr) at) {
    return at < info->dlpi_addr ? at + info->dlpi_addr : at;
  };
  const ElfW(Rela)* relocations = nullptr;
  size_t bytes = 0;
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    switch (dynamic->d_tag) {
      case DT_JMPREL:
        relocations = reinterpret_cast<const ElfW(Rela)*>(address(dynamic->d_un.d_ptr));
        break;
      case DT_PLTRELSZ: bytes = dynamic->d_un.d_val; break;
      case DT_SYMTAB:
        symbols = reinterpret_cast<const ElfW(Sym)*>(address(dynamic->d_un.d_ptr));
        break;
      case DT_STRTAB: strings = reinterpret_cast<const char*>(address(dynamic->d_un.d_ptr)); break;
      default: break;
    }
  }
  if (relocations == nullptr || symbols == nullptr || strings == nullptr) return 1;
  for (size_t i = 0; i < bytes / sizeof(ElfW(Rela)); ++i) {
    const char* name = strings + symbols[ELF64_R_SYM(relocations[i].r_info)].st_name;
    if (name == kOpenSymbol) {
      search->slot = reinterpret_cast<void**>(info->dlpi_addr + relocations[i].r_offset);
      break;
    }
  }
  return 1;
}

bool WriteSlot(void** slot, void* value) {
  const uintptr_t page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(slot) & ~(page_bytes - 1));
  // Read-only where the library was linked with full RELRO; otherwise already writable.
  if (::mprotect(page, page_bytes, PROT_READ | PROT_WRITE) != 0) return false;
  std::atomic_ref<void*>(*slot).store(value, std::memory_order_release);
  return true;
}

// ---- just enough of flatbuffers to read a verified message ---------------------------------

template <typename T>
T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

class Table {
 public:
  explicit Table(const uint8_t* at) : at_(at) {}
  static Table Root(const uint8_t* buffer) { return Table(buffer + Load<uint32_t>(buffer)); }

  // Where field `i` lies; nullptr where it is absent.
  const uint8_t* Field(int i) const {
    const uint8_t* vtable = at_ - Load<int32_t>(at_);
    const int entry = 4 + 2 * i;
    if (entry + 2 > Load<uint16_t>(vtable)) return nullptr;
    const auto offset = Load<uint16_t>(vtable + entry);
    return offset == 0 ? nullptr : at_ + offset;
  }
  // What field `i`, a table or a vector, refers to; nullptr where it is absent.
  const uint8_t* Target(int i) const {
    const uint8_t* field = Field(i);
    return field == nullptr ? nullptr : field + Load<uint32_t>(field);
  }

 private:
  const uint8_t* at_;
};

// Field numbers and values of Arrow's Message.fbs.
constexpr int kMessageHeaderType = 1;
constexpr int kMessageHeader = 2;
constexpr uint8_t kDictionaryBatch = 2;
constexpr uint8_t kRecordBatch = 3;
constexpr int kDictionaryData = 1;
constexpr int kBatchBuffers = 2;
constexpr int kBatchCompression = 3;

// Bytes that the buffers of a compressed body say they have when decompressed, up to `enough`.
int64_t DecompressedBytes(const Table& batch, const arrow::Buffer& body, int64_t enough) {
  const uint8_t* buffers = batch.Target(kBatchBuffers);
  if (buffers == nullptr) return 0;
  int64_t total = 0;
  const auto count = Load<uint32_t>(buffers);
  for (uint32_t i = 0; i < count && total <= enough; ++i) {
    const uint8_t* entry = buffers + 4 + 16 * static_cast<size_t>(i);
    const auto offset = Load<int64_t>(entry);
    const auto length = Load<int64_t>(entry + 8);
    // What lies outside of the body is refused by the decoder, before it allocates.
    if (length < 8 || offset < 0 || offset > body.size() - 8) continue;
    const auto claimed = Load<int64_t>(body.data() + offset);  // -1: this buffer is as it is
    const int64_t bytes = claimed < 0 ? length : claimed;
    total = bytes > enough ? kNoLimit : total + bytes;
  }
  return total;
}

}  // namespace

bool InstallIpcGuard() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  SlotSearch search{.inside = reinterpret_cast<uintptr_t>(&arrow::flight::MakeFlightError)};
  ::dl_iterate_phdr(&FindSlot, &search);
  if (search.slot == nullptr) return false;
  void* const guard = reinterpret_cast<void*>(&GuardedOpen);
  return *search.slot == guard || WriteSlot(search.slot, guard);
}

IpcLimit::IpcLimit(int64_t max_bytes) : previous_(max_message_bytes) {
  max_message_bytes = max_bytes;
}
IpcLimit::~IpcLimit() { max_message_bytes = previous_; }

arrow::Status CheckMessageSize(const arrow::Buffer& metadata, const arrow::Buffer* body,
                               int64_t max_bytes) {
  if (body == nullptr) return arrow::Status::OK();
  int64_t bytes = body->size();
  const Table message = Table::Root(metadata.data());
  const uint8_t* type = message.Field(kMessageHeaderType);
  const uint8_t* header = message.Target(kMessageHeader);
  if (type != nullptr && *type == kDictionaryBatch && header != nullptr) {
    header = Table(header).Target(kDictionaryData);
  } else if (type == nullptr || *type != kRecordBatch) {
    header = nullptr;
  }
  const bool compressed = header != nullptr && Table(header).Target(kBatchCompression) != nullptr;
  if (compressed) bytes = std::max(bytes, DecompressedBytes(Table(header), *body, max_bytes));
  if (bytes <= max_bytes) return arrow::Status::OK();
  return Error(Code::kResourceExhausted,
               compressed ? "a record batch is, decompressed," : "a record batch is",
               " larger than max_batch_bytes, ", max_bytes,
               ": send smaller batches, or start the server with a larger max_batch_bytes");
}

}  // namespace flightbridge::server
