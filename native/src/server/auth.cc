#include "server/auth.h"

#include <algorithm>
#include <utility>

#include <arrow/flight/server_middleware.h>

#include "feed/feed_store.h"
#include "flightbridge/error.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

constexpr const char* kMiddleware = "flightbridge-auth";
constexpr const char* kHeader = "authorization";
constexpr std::string_view kBearer = "Bearer ";

class CallerMiddleware final : public arrow::flight::ServerMiddleware {
 public:
  explicit CallerMiddleware(Caller caller) : caller_(std::move(caller)) {}
  std::string name() const override { return kMiddleware; }
  void SendingHeaders(arrow::flight::AddCallHeaders*) override {}
  void CallCompleted(const arrow::Status&) override {}
  const Caller& caller() const { return caller_; }

 private:
  const Caller caller_;
};

class CallerMiddlewareFactory final : public arrow::flight::ServerMiddlewareFactory {
 public:
  explicit CallerMiddlewareFactory(std::shared_ptr<const Authenticator> authenticator)
      : authenticator_(std::move(authenticator)) {}

  arrow::Status StartCall(const arrow::flight::CallInfo&,
                          const arrow::flight::ServerCallContext& context,
                          std::shared_ptr<arrow::flight::ServerMiddleware>* middleware) override {
    const auto& headers = context.incoming_headers();
    const auto found = headers.find(kHeader);
    auto caller =
        authenticator_->Authenticate(found == headers.end() ? std::string_view() : found->second);
    if (!caller.ok()) return Reply(caller.status());
    *middleware = std::make_shared<CallerMiddleware>(*std::move(caller));
    return arrow::Status::OK();
  }

 private:
  const std::shared_ptr<const Authenticator> authenticator_;
};

}  // namespace

bool Caller::May(Scope scope, std::string_view feed) const {
  if (tokens_ == nullptr) return true;
  return std::ranges::any_of(entry_->grants, [&](const Grant& grant) {
    return grant.scope == scope && MatchesPattern(grant.pattern, feed);
  });
}

bool Caller::MayEverywhere(Scope scope) const {
  if (tokens_ == nullptr) return true;
  return std::ranges::any_of(entry_->grants, [&](const Grant& grant) {
    return grant.scope == scope && grant.pattern.find_first_not_of('*') == std::string::npos;
  });
}

arrow::Result<std::shared_ptr<Authenticator>> Authenticator::Open(const std::string& token_file) {
  auto authenticator = std::make_shared<Authenticator>();
  if (!token_file.empty()) {
    ARROW_ASSIGN_OR_RAISE(authenticator->file_, TokenFile::Open(token_file));
  }
  return authenticator;
}

arrow::Result<Caller> Authenticator::Authenticate(std::string_view authorization) const {
  if (file_ == nullptr) return Caller::Trusted();
  if (authorization.empty()) {
    return Error(Code::kUnauthenticated,
                 "this server wants a token: pass token=..., or set FLIGHTBRIDGE_TOKEN");
  }
  if (!authorization.starts_with(kBearer)) {
    return Error(Code::kUnauthenticated,
                 "the authorization header is not of the form `Bearer TOKEN`");
  }
  auto tokens = file_->Current();
  const TokenEntry* entry = tokens->Find(authorization.substr(kBearer.size()));
  if (entry == nullptr) {
    return Error(Code::kUnauthenticated,
                 "this server does not know the token, or no longer: ask whoever keeps its token "
                 "file for one that is in force");
  }
  return Caller(std::move(tokens), entry);
}

arrow::Result<Caller> CallerOf(const arrow::flight::ServerCallContext& context) {
  const auto* middleware = static_cast<const CallerMiddleware*>(context.GetMiddleware(kMiddleware));
  if (middleware == nullptr) {
    return Error(Code::kUnauthenticated, "this call did not pass the server's authentication");
  }
  return middleware->caller();
}

arrow::Status Authorize(const Caller& caller, Scope scope, const std::string& feed) {
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(feed));
  if (caller.May(scope, feed)) return arrow::Status::OK();
  return Error(
      Code::kPermissionDenied, caller.name(), " has no scope ", ScopeName(scope), ":", feed,
      " on this server: add it to the token's line in the token file, or use another token");
}

arrow::Status Authorize(const arrow::flight::ServerCallContext& context, Scope scope,
                        const std::string& feed) {
  ARROW_ASSIGN_OR_RAISE(const Caller caller, CallerOf(context));
  return Authorize(caller, scope, feed);
}

std::pair<std::string, std::shared_ptr<arrow::flight::ServerMiddlewareFactory>> AuthMiddleware(
    std::shared_ptr<const Authenticator> authenticator) {
  return {kMiddleware, std::make_shared<CallerMiddlewareFactory>(std::move(authenticator))};
}

}  // namespace flightbridge::server
