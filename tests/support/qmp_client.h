#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "nlohmann/json.hpp"

namespace vmeventd::e2e {

// A client of a QMP monitor that acts like a manager, such as Ganeti or libvirt.
class QmpClient {
 public:
  // Waits for the socket and the greeting, and leaves the negotiation mode.
  explicit QmpClient(const std::string& path);

  // Returns the command's "return" member. An error reply throws.
  nlohmann::json Execute(const std::string& command,
                         const nlohmann::json& arguments = nlohmann::json::object());
  // Waits for the next event with this name that no earlier call has returned.
  nlohmann::json WaitEvent(const std::string& name);

 private:
  nlohmann::json ReadMessage();

  const std::string path_;
  UniqueFd socket_;
  std::string unread_;
  std::vector<nlohmann::json> events_;
};

}  // namespace vmeventd::e2e
