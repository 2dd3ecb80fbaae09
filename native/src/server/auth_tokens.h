// What a token file says: which tokens there are and what each may do. Pure parsing, no I/O.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "common/sha256.h"

namespace flightbridge::server {

// kPeer: what another server of the feed asks for, never a reader or a writer.
enum class Scope : uint8_t { kRead, kWrite, kAdmin, kPeer };
std::string_view ScopeName(Scope scope);

// One scope on the feeds whose names match a pattern, in which '*' stands for any characters.
struct Grant {
  Scope scope;
  std::string pattern;
};

bool MatchesPattern(std::string_view pattern, std::string_view name);

// What one line of the file gives its token.
struct TokenEntry {
  Sha256Digest digest;  // of the token: no token is kept in clear
  std::string name;     // for messages and logs
  std::vector<Grant> grants;
};

// Tokens by digest. Immutable.
class TokenSet {
 public:
  // One token per line, then its grants and, if wanted, a name for messages:
  //
  //   # comment
  //   TOKEN-or-sha256:HEX   read:clicks.*,write:train-*,admin:*   [NAME]
  //
  // INVALID_ARGUMENT names `path` and the line, never what stands where a token should.
  static arrow::Result<std::shared_ptr<const TokenSet>> Parse(std::string_view text,
                                                              const std::string& path);

  // The entry of a token, or nullptr. Takes the same time for every token of the same length.
  const TokenEntry* Find(std::string_view token) const;
  size_t size() const { return entries_.size(); }

 private:
  std::vector<TokenEntry> entries_;
};

}  // namespace flightbridge::server
