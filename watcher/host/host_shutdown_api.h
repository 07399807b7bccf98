#pragma once

#include <string>

namespace vmeventd {

// State of the host's shutdown, as its service managers say.
struct HostShutdownState {
  bool known = false;  // somebody has said it, or there is nobody to ask
  bool shutting_down = false;
  std::string by;       // who said that last, for people
  std::string problem;  // for people: why nobody says it now; empty: somebody does
};

// The border to the outside of this folder, of which tests have a fake. Loop thread.
class HostShutdownApi {
 public:
  virtual ~HostShutdownApi() = default;
  // Readable, level-triggered, when there is something for Read() to do.
  virtual int fd() const = 0;
  // Takes in what has come by now, and waits for nothing.
  virtual HostShutdownState Read() = 0;
};

}  // namespace vmeventd
