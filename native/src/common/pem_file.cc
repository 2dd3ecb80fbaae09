#include "common/pem_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "flightbridge/error.h"

namespace flightbridge {
namespace {

constexpr size_t kMostBytes = 4 << 20;  // a bundle of every public CA has a quarter of that

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

arrow::Status CannotRead(std::string_view setting, const std::string& path, int error) {
  return Error(Code::kInvalidArgument, setting, " ", path,
               " cannot be read: ", std::strerror(error),
               "; name a PEM file that this process may read");
}

}  // namespace

arrow::Result<std::string> ReadPemFile(std::string_view setting, const std::string& path,
                                       std::string_view kind) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) return CannotRead(setting, path, errno);
  std::string text(kMostBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return CannotRead(setting, path, errno);
  if (text.size() > kMostBytes) {
    return Error(Code::kInvalidArgument, setting, " ", path, " is larger than ", kMostBytes,
                 " bytes: it must be a PEM file");
  }
  // "-----BEGIN EC PRIVATE KEY-----": the kind may have words before it.
  const std::string end_of_line = std::string(kind) + "-----";
  for (size_t at = text.find("-----BEGIN "); at != std::string::npos;
       at = text.find("-----BEGIN ", at + 1)) {
    const std::string_view line = std::string_view(text).substr(at, text.find('\n', at) - at);
    if (line.find(end_of_line) != std::string_view::npos) return text;
  }
  return Error(Code::kInvalidArgument, setting, " ", path, " holds no ", kind,
               " in PEM form (-----BEGIN ... ", end_of_line, "): convert it, or name another file");
}

}  // namespace flightbridge
