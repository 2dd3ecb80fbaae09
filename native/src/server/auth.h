// Who calls, and whether they may: the one place where every kind of call is checked.
//
// A token is looked up once, when a call starts; what it may do is held by the call's Caller from
// then on. So a stream that was admitted goes on to its end when the token is removed meanwhile,
// and the next call with it is refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/flight/server.h>
#include <arrow/result.h>
#include <arrow/status.h>

#include "server/auth_token_file.h"

namespace flightbridge::server {

// Whoever makes a call, and what they may do. A value: cheap to copy, immutable.
class Caller {
 public:
  // May do everything: the process's own, and everybody where a server has no token file.
  static Caller Trusted() { return Caller(nullptr, nullptr); }
  Caller(std::shared_ptr<const TokenSet> tokens, const TokenEntry* entry)
      : tokens_(std::move(tokens)), entry_(entry) {}

  bool May(Scope scope, std::string_view feed) const;
  // On every feed: what calls that concern the whole server ask for.
  bool MayEverywhere(Scope scope) const;
  // For messages and logs; never a token.
  std::string name() const { return entry_ == nullptr ? "anyone" : entry_->name; }

 private:
  std::shared_ptr<const TokenSet> tokens_;  // keeps entry_ alive; null: trusted
  const TokenEntry* entry_;
};

// Knows the tokens of one server. Thread-safe.
class Authenticator {
 public:
  // An empty path: no tokens, and every caller is trusted.
  static arrow::Result<std::shared_ptr<Authenticator>> Open(const std::string& token_file);

  // The caller with the value of an `authorization` header, "Bearer TOKEN"; UNAUTHENTICATED where
  // it is missing, malformed or unknown.
  arrow::Result<Caller> Authenticate(std::string_view authorization) const;

  bool has_tokens() const { return file_ != nullptr; }
  // Why the token file as it is now is not in force; empty where it is.
  std::string token_file_error() const { return file_ == nullptr ? "" : file_->error(); }

 private:
  std::unique_ptr<TokenFile> file_;
};

// The caller of a Flight call; UNAUTHENTICATED where AuthMiddleware() has not seen it.
arrow::Result<Caller> CallerOf(const arrow::flight::ServerCallContext& context);

// INVALID_ARGUMENT for what is no feed name, PERMISSION_DENIED, naming scope and feed, where the
// caller has no such scope on it.
arrow::Status Authorize(const Caller& caller, Scope scope, const std::string& feed);
arrow::Status Authorize(const arrow::flight::ServerCallContext& context, Scope scope,
                        const std::string& feed);

// Flight's hook before every call, streams included, and before anything of them is read.
std::pair<std::string, std::shared_ptr<arrow::flight::ServerMiddlewareFactory>> AuthMiddleware(
    std::shared_ptr<const Authenticator> authenticator);

}  // namespace flightbridge::server
