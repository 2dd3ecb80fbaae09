#include "flightbridge/gate.h"

#include <utility>

#include "server/auth.h"
#include "server/ipc_guard_internal.h"
#include "server/listen_internal.h"

namespace flightbridge {

class Gate::Impl {
 public:
  std::shared_ptr<server::Authenticator> authenticator;
};

Gate::Gate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gate::~Gate() = default;

arrow::Result<std::unique_ptr<Gate>> Gate::Open(const GateOptions& options) {
  const server::Protection protection{
      .tls = options.tls, .tokens = !options.token_file.empty(), .waived = options.insecure};
  ARROW_RETURN_NOT_OK(server::CheckListen(options.host, options.port, protection));
  auto impl = std::make_unique<Impl>();
  ARROW_ASSIGN_OR_RAISE(impl->authenticator, server::Authenticator::Open(options.token_file));
  server::InstallIpcGuard();
  return std::unique_ptr<Gate>(new Gate(std::move(impl)));
}

arrow::Status Gate::Admit(std::string_view authorization, const std::string& name) const {
  ARROW_ASSIGN_OR_RAISE(const auto caller, impl_->authenticator->Authenticate(authorization));
  return server::Authorize(caller, server::Scope::kRead, name);
}

void LimitIpcMessages(int64_t max_bytes) {
  static thread_local std::unique_ptr<server::IpcLimit> limit;
  limit.reset();  // the older one restores what was before it
  limit = std::make_unique<server::IpcLimit>(max_bytes);
}

}  // namespace flightbridge
