#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace vmeventd::e2e {

// The manager's side of a QMP monitor, like Ganeti or libvirt.
class QmpClient {
 public:
  // Waits for the socket and the greeting, and leaves negotiation mode.
  explicit QmpClient(const std::string& path);
  ~QmpClient();
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;

  // Returns the command's "return" member. An error reply throws.
  nlohmann::json Execute(const std::string& command,
                         const nlohmann::json& arguments = nlohmann::json::object());
  // Waits for the next event of that name that no earlier call has returned.
  nlohmann::json WaitEvent(const std::string& name);

 private:
  nlohmann::json ReadMessage();

  const std::string path_;
  int socket_ = -1;
  std::string unread_;
  std::vector<nlohmann::json> events_;
};

}  // namespace vmeventd::e2e
