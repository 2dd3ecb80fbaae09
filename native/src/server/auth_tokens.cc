#include "server/auth_tokens.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::server {
namespace {

constexpr std::array kScopes = {std::pair{Scope::kRead, std::string_view("read")},
                                std::pair{Scope::kWrite, std::string_view("write")},
                                std::pair{Scope::kAdmin, std::string_view("admin")},
                                std::pair{Scope::kPeer, std::string_view("peer")}};
constexpr std::string_view kHashPrefix = "sha256:";
constexpr size_t kShortestToken = 16;  // characters; a shorter one can be guessed

// The next word of `line`, which loses it; empty at the end.
std::string_view TakeWord(std::string_view* line) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t begin = std::min(line->find_first_not_of(kBlank), line->size());
  const size_t end = std::min(line->find_first_of(kBlank, begin), line->size());
  const std::string_view word = line->substr(begin, end - begin);
  line->remove_prefix(end);
  return word;
}

std::optional<Sha256Digest> ParseHex(std::string_view hex) {
  Sha256Digest digest{};
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  for (size_t i = 0; i < hex.size(); ++i) {
    const char c = hex[i];
    int value = 0;
    if (c >= '0' && c <= '9') {
      value = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      value = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      value = c - 'A' + 10;
    } else {
      return std::nullopt;
    }
    digest[i / 2] = static_cast<uint8_t>(digest[i / 2] << 4 | value);
  }
  return digest;
}

// Errors begin with `where`, "token file F, line 3".
class LineParser {
 public:
  explicit LineParser(std::string where) : where_(std::move(where)) {}

  arrow::Result<TokenEntry> Parse(std::string_view line) const {
    TokenEntry entry;
    ARROW_ASSIGN_OR_RAISE(entry.digest, ParseToken(TakeWord(&line)));
    const std::string_view grants = TakeWord(&line);
    if (grants.empty()) return Wrong("no scopes behind the token");
    ARROW_ASSIGN_OR_RAISE(entry.grants, ParseGrants(grants));
    const std::string_view name = TakeWord(&line);
    if (name.starts_with('#')) return entry;
    entry.name = name;
    if (const auto rest = TakeWord(&line); !rest.empty() && !rest.starts_with('#')) {
      return Wrong("more than three words");
    }
    return entry;
  }

 private:
  arrow::Status Wrong(std::string_view what) const {
    return Error(Code::kInvalidArgument, where_, ": ", what,
                 "; a line is `TOKEN SCOPE:PATTERN,... [NAME]`, for example `sha256:HEX "
                 "read:clicks.*,write:train-*`");
  }

  // What is wrong with a token is said without showing it.
  arrow::Result<Sha256Digest> ParseToken(std::string_view word) const {
    if (word.starts_with(kHashPrefix)) {
      const auto digest = ParseHex(word.substr(kHashPrefix.size()));
      if (!digest.has_value()) return Wrong("sha256: is not followed by 64 hex digits");
      return *digest;
    }
    if (std::ranges::any_of(word, [](unsigned char c) { return c < 0x21 || c > 0x7e; })) {
      return Wrong("the token has a character that no HTTP header can carry");
    }
    if (word.size() < kShortestToken) {
      return Wrong("the token has fewer than 16 characters and could be guessed");
    }
    return Sha256(word);
  }

  arrow::Result<std::vector<Grant>> ParseGrants(std::string_view list) const {
    std::vector<Grant> grants;
    while (true) {
      const size_t comma = list.find(',');
      ARROW_ASSIGN_OR_RAISE(grants.emplace_back(), ParseGrant(list.substr(0, comma)));
      if (comma == std::string_view::npos) return grants;
      list.remove_prefix(comma + 1);
    }
  }

  arrow::Result<Grant> ParseGrant(std::string_view text) const {
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos || colon + 1 == text.size()) {
      return Wrong("a scope without a feed pattern");
    }
    const std::string_view pattern = text.substr(colon + 1);
    for (const char c : pattern) {
      const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '*';
      if (!allowed) {
        return Wrong("a feed pattern with something else than A-Z a-z 0-9 _ . - and *");
      }
    }
    for (const auto& [scope, name] : kScopes) {
      if (text.substr(0, colon) == name) return Grant{scope, std::string(pattern)};
    }
    return Wrong("a scope that is not read, write, admin or peer");
  }

  const std::string where_;
};

}  // namespace

std::string_view ScopeName(Scope scope) {
  for (const auto& [known, name] : kScopes) {
    if (known == scope) return name;
  }
  return "unknown";
}

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  // Greedy with one step back: the last '*' seen takes one character more when the rest fails.
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t star_n = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_n = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_n;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

arrow::Result<std::shared_ptr<const TokenSet>> TokenSet::Parse(std::string_view text,
                                                               const std::string& path) {
  auto set = std::make_shared<TokenSet>();
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::string_view probe = line;
    const std::string_view first = TakeWord(&probe);
    if (first.empty() || first.starts_with('#')) continue;
    const std::string where = "token file " + path + ", line " + std::to_string(number);
    ARROW_ASSIGN_OR_RAISE(TokenEntry entry, LineParser(where).Parse(line));
    if (entry.name.empty()) {
      entry.name = "the token of line " + std::to_string(number);
    }
    for (const TokenEntry& other : set->entries_) {
      if (EqualInConstantTime(other.digest, entry.digest)) {
        return Error(Code::kInvalidArgument, where,
                     ": this token stands in the file twice: give it all its scopes on one line");
      }
    }
    set->entries_.push_back(std::move(entry));
  }
  if (set->entries_.empty()) {
    return Error(Code::kInvalidArgument, "token file ", path,
                 " holds no token, so that nobody could call: write a line such as `TOKEN read:*`");
  }
  return set;
}

const TokenEntry* TokenSet::Find(std::string_view token) const {
  const Sha256Digest digest = Sha256(token);
  const TokenEntry* found = nullptr;
  for (const TokenEntry& entry : entries_) {  // all of them, whether found or not
    if (EqualInConstantTime(entry.digest, digest)) found = &entry;
  }
  return found;
}

}  // namespace flightbridge::server
