#ifndef VMEVENTD_WATCHER_SESSION_SESSION_EFFECTS_H_
#define VMEVENTD_WATCHER_SESSION_SESSION_EFFECTS_H_

#include <variant>
#include <vector>

#include "watcher/core/vm_event.h"

namespace vmeventd {

// Effects that a session wants, in this order.
struct Publish {
  VmUpdate update;
};
// Create or remove NAME.shutdown, then call OnShutdownFileDone.
struct WriteShutdownFile {};
struct RemoveShutdownFile {};
// Send query-status, then call OnRunState with the answer.
struct QueryRunState {};
// Ask about the guest agent (GuestAgentProbe), then call OnGuestAgent.
struct QueryGuestAgent {};
// The run is over and its end published: drop the session.
struct Done {};
using Effect = std::variant<Publish, WriteShutdownFile, RemoveShutdownFile, QueryRunState,
                            QueryGuestAgent, Done>;
using Effects = std::vector<Effect>;

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_SESSION_SESSION_EFFECTS_H_
