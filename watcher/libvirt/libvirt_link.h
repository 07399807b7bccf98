#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/detached_threads.h"
#include "watcher/core/run_info.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"

namespace vmeventd {

// One connection to a libvirt: makes its blocking calls, one after another, on one of the
// threads, which it has while there is something to do. A libvirt that hangs holds up this thread
// alone. What comes of the calls is posted to the inbox. Loop thread.
class LibvirtLink {
 public:
  struct Place {
    std::string socket;         // behind the URI; empty: not known, and no process is looked for
    std::string pid_directory;  // of its domains and of itself
    std::string log_directory;  // of its domains
  };
  // `threads` outlives the link.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
              DetachedThreads* threads, std::string uri, Place place);
  // Closes the connection, behind the caller's back.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains: LinkOpened and so
  // on, or LinkClosed, follow as messages of `attempt`.
  void Open(AttemptId attempt);
  // Closes the connection. What it has posted is forgotten.
  void Close();
  // DomainsListedAgain follows, or nothing where libvirt cannot list them.
  void ListAgain();
  // DetailsKnown follows, unless the domain is gone by then.
  void AskDetails(const std::string& uuid);

  // EndKept follows, of the domain's life that `run` was, unless the connection ends before that.
  void AskEnd(const DomainName& domain, const RunInfo& run, absl::Time seen);

  // ProcessFound follows where libvirt has PIDs of its own, and a process of the domain is seen
  // here: at the time of the look, so it may be a later life's.
  void FindProcess(const DomainName& domain);

  // Returns whether calls are under way, or wait for a thread.
  bool busy() const;
  // Returns whether they wait for one.
  bool waits_for_thread() const;

 private:
  struct Shared;

  void Do(std::function<void(Shared*)> task);
  // The same in place of all that waits.
  void DoInstead(std::function<void(Shared*)> task);
  static void Work(Shared* shared);

  const std::shared_ptr<Shared> shared_;
  DetachedThreads* const threads_;
  AttemptId attempt_ = 0;
};

}  // namespace vmeventd
