#ifndef VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_LINK_H_
#define VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_LINK_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"

namespace vmeventd {

// The threads that make blocking calls, and their number. Any thread.
class LibvirtWorkers {
 public:
  void Enter();
  void Leave();
  // Waits until none is left, at most `limit`. Returns whether there is none.
  bool WaitForNone(absl::Duration limit);

 private:
  Mutex mutex_;
  CondVar none_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One connection to a libvirt: makes its blocking calls, one after another, on a thread of its own
// that exists while there is something to do. A libvirt that hangs holds up this thread, which
// nobody waits for. What comes of the calls is posted to the inbox. Loop thread.
class LibvirtLink {
 public:
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
              std::shared_ptr<LibvirtWorkers> workers, std::string uri);
  // Closes the connection, behind the caller's back.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains: LinkOpened and so
  // on, or LinkClosed, follow as messages of `attempt`.
  void Open(AttemptId attempt);
  // Closes the connection. What it has posted is forgotten.
  void Close();
  // AgentKnown follows, unless the domain is gone by then.
  void AskGuestAgent(const std::string& uuid);

 private:
  struct Shared;

  void Do(std::function<void(Shared*)> task);
  static void Work(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Shared> shared_;
  AttemptId attempt_ = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_LINK_H_
