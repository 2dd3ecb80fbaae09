#include "common/failpoint.h"

#ifdef FB_FAILPOINTS

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "flightbridge/error.h"

namespace flightbridge {
namespace {

std::map<std::string, std::string> ReadEnvironment() {
  std::map<std::string, std::string> actions;
  const char* text = std::getenv("FB_FAILPOINTS");
  std::string rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(';'), rest.size());
    const std::string entry = rest.substr(0, end);
    rest.erase(0, end + 1);
    const size_t equals = entry.find('=');
    if (equals != std::string::npos) actions[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return actions;
}

}  // namespace

arrow::Status HitFailpoint(const char* name) {
  static const std::map<std::string, std::string> actions = ReadEnvironment();
  const auto at = actions.find(name);
  if (at == actions.end()) return {};
  const std::string& action = at->second;
  if (action == "crash") {
    kill(getpid(), SIGKILL);
    pause();  // the signal is on its way
  }
  if (action.starts_with("sleep:")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::atol(action.c_str() + 6)));
    return {};
  }
  return Error(Code::kInternal, "failpoint ", name, " = ", action);
}

}  // namespace flightbridge

#endif
