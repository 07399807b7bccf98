#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/detached_threads.h"
#include "base/unique_fd.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"

namespace vmeventd {

// One connection to a libvirt. Makes the blocking calls one after another, on a thread that it
// takes from `threads` while there is something to do. A libvirt that hangs blocks only this
// thread. Loop thread.
class LibvirtLink {
 public:
  // `threads` outlives the link. `wake` is an eventfd that is written when messages wait. `socket`
  // empty: libvirt's own default.
  LibvirtLink(std::shared_ptr<LibvirtApi> api, std::shared_ptr<const UniqueFd> wake,
              DetachedThreads* threads, LibvirtSpec spec, std::string socket, bool finds_processes);
  // Closes the connection in the background.
  ~LibvirtLink();

  // Closes the connection if there is one, makes another and lists its domains. Messages follow:
  // DomainsListed and its events, or LinkClosed.
  void Open();
  // Closes the connection, whose messages are dropped.
  void Close();
  // Takes some of the messages that wait.
  std::vector<LibvirtMessage> Take() {
    return inbox_ == nullptr ? std::vector<LibvirtMessage>() : inbox_->Take();
  }
  // Lists the domains again: DomainsListed follows, or LinkClosed if libvirt cannot list them.
  void ListAgain();
  // Asks for a domain's details: DetailsKnown follows, unless the domain is gone by then, or the
  // log says why they cannot be read.
  void AskDetails(const std::string& uuid);

  // Looks for the domain's process: ProcessFound follows, unless the connection ends before that.
  void FindProcess(const DomainName& domain);

  // Returns whether calls are under way, or wait for a thread.
  bool busy() const;
  // Returns whether calls wait for a thread.
  bool waits_for_thread() const;

 private:
  struct Requests;
  struct Shared;

  void Ask(const std::function<void(Requests*)>& add);
  static void Work(Shared* shared);

  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<const UniqueFd> wake_;
  DetachedThreads* const threads_;
  std::shared_ptr<LibvirtInbox> inbox_;  // null: closed
};

}  // namespace vmeventd
