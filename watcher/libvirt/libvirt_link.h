#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/detached_threads.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/run_info.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"

namespace vmeventd {

// One connection to a libvirt: makes its blocking calls, one after another, on one of the threads,
// which it has while there is something to do. A libvirt that hangs holds up this thread alone.
// Results are posted to the inbox. Loop thread.
class LibvirtLink {
 public:
  struct Place {
    std::string socket;  // empty: where libvirt itself looks for it
    bool finds_processes = false;
    std::string pid_directory;  // has the pid files of its domains and its own
    std::string log_directory;  // has the logs of its domains
  };
  // `threads` outlives the link.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<LibvirtInbox> inbox,
              DetachedThreads* threads, LibvirtSpec spec, Place place);
  // Closes the connection, without waiting for that.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains: LinkOpened and so
  // on, or LinkClosed, follow as messages of `attempt`.
  void Open(AttemptId attempt);
  // Closes the connection. What it has posted is forgotten.
  void Close();
  // Lists the domains again: DomainsListedAgain follows, or nothing if libvirt cannot list them.
  void ListAgain();
  // Asks for a domain's details: DetailsKnown follows, unless the domain is gone by then.
  void AskDetails(const std::string& uuid);

  // Asks for the end of the domain's life that `run` was: EndKept follows, unless the connection
  // ends before that.
  void AskEnd(const DomainName& domain, const RunInfo& run, absl::Time seen);

  // Looks for the domain's process: ProcessFound follows, unless the connection ends before that.
  void FindProcess(const DomainName& domain);

  // Returns whether calls are under way, or wait for a thread.
  bool busy() const;
  // Returns whether they wait for one.
  bool waits_for_thread() const;

 private:
  struct Shared;

  void Do(std::function<void(Shared*)> task);
  // Does `task` if there is a connection then; no-op while one of the same `name` is pending.
  void DoOnce(const std::string& name, std::function<void(Shared*)> task);
  // Replaces all pending tasks by `task`.
  void DoInstead(std::function<void(Shared*)> task);
  static void Work(Shared* shared);

  const std::shared_ptr<Shared> shared_;
  DetachedThreads* const threads_;
  AttemptId attempt_ = 0;
};

}  // namespace vmeventd
