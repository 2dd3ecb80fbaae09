// Text that people and clients write: token files, authorization headers, URIs.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "client/uri.h"
#include "server/auth.h"
#include "server/auth_tokens.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokens = flightbridge::server::TokenSet::Parse(text, "fuzz");
  if (tokens.ok()) static_cast<void>((*tokens)->Find(text));
  static_cast<void>(flightbridge::client::ParseUri(text));
  // Pattern and name, split in the middle; short, since the worst case is their product.
  if (size <= 200) {
    static_cast<void>(
        flightbridge::server::MatchesPattern(text.substr(0, size / 2), text.substr(size / 2)));
  }
  return 0;
}
