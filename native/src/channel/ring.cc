#include "channel/ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "channel/frame.h"
#include "flightbridge/error.h"

namespace flightbridge::channel {
namespace {

arrow::Status Failed(const char* doing) {
  return Error(Code::kResourceExhausted, "cannot ", doing, " a ring: ", std::strerror(errno));
}

}  // namespace

arrow::Result<std::unique_ptr<Ring>> Ring::Create(int64_t bytes) {
  Fd fd(memfd_create("flightbridge-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ftruncate(fd.get(), bytes) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Failed("create");
  }
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (data == MAP_FAILED) return Failed("map");
  return std::unique_ptr<Ring>(new Ring(std::move(fd), static_cast<uint8_t*>(data), bytes));
}

arrow::Result<std::unique_ptr<Ring>> Ring::Map(Fd fd) {
  if (!fd) return Error(Code::kInvalidArgument, "a ring came without its descriptor");
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  struct stat facts = {};
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd.get(), &facts) != 0) {
    return Error(Code::kInvalidArgument, "the descriptor of a ring is not that of a sealed memfd");
  }
  if (facts.st_size <= 0 || facts.st_size > kMaxBytes) {
    return Error(Code::kInvalidArgument, "a ring of ", facts.st_size, " bytes: it may have 1 to ",
                 kMaxBytes);
  }
  void* data =
      mmap(nullptr, static_cast<size_t>(facts.st_size), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return Failed("map");
  return std::unique_ptr<Ring>(new Ring(std::move(fd), static_cast<uint8_t*>(data), facts.st_size));
}

arrow::Result<LentRing> Ring::Lend(int64_t bytes) {
  std::random_device random;  // the system's generator
  LentRing lent;
  lent.name = "flightbridge-ring-";
  for (int i = 0; i < 32; ++i) lent.name.push_back("0123456789abcdef"[random() & 15]);
  lent.key.resize(kKeyBytes);
  std::ranges::generate(lent.key, [&] { return static_cast<char>(random() & 0xff); });
  Fd fd(memfd_create(lent.name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto size = static_cast<ssize_t>(lent.key.size());
  // A memfd is made for everybody to open.
  if (!fd || fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0 || fallocate(fd.get(), 0, 0, bytes) != 0 ||
      pwrite(fd.get(), lent.key.data(), lent.key.size(), 0) != size ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Failed("create");
  }
  ARROW_ASSIGN_OR_RAISE(lent.ring, Map(std::move(fd)));
  return lent;
}

Ring::~Ring() { munmap(data_, static_cast<size_t>(bytes_)); }

arrow::Result<const uint8_t*> Ring::At(int64_t place, int64_t bytes) const {
  if (place < 0 || bytes < 0 || place > bytes_ || bytes > bytes_ - place) {
    return Error(Code::kInvalidArgument, "a body of ", bytes, " bytes at ", place,
                 " is outside of its ring of ", bytes_, " bytes");
  }
  return data_ + place;
}

}  // namespace flightbridge::channel
