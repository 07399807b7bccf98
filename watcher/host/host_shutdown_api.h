#pragma once

#include <string>

namespace vmeventd {

// State of the host's shutdown, as its service managers report it.
struct HostShutdownState {
  bool known = false;  // somebody has reported it, or there is nobody to ask
  bool shutting_down = false;
  std::string by;       // the last to report it, for people
  std::string problem;  // reason why nobody reports it now, for people; empty: somebody does
};

// This folder's border to the outside; tests have a fake of it. Loop thread.
class HostShutdownApi {
 public:
  virtual ~HostShutdownApi() = default;
  // Descriptor that is readable, level-triggered, while Read() has something to do.
  virtual int fd() const = 0;
  // Handles pending reports, without waiting.
  virtual HostShutdownState Read() = 0;
};

}  // namespace vmeventd
