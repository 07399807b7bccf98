#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "watcher/core/qmp_message.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/session/evidence.h"

// The part of libvirt's client library that vmeventd uses, in vmeventd's own types. LoadLibvirt()
// returns the real library; tests use a fake.

namespace vmeventd {

// A domain, as an event or a list names it. `name` is libvirt's: any bytes but a slash.
struct DomainName {
  std::string name;
  std::string uuid;  // "475852fa-ea74-4630-8eae-7a6231894c40"
  int64_t id = 0;    // at least 1 if the domain runs; otherwise not positive
  // Time at which libvirt reported this, in the kernel's ticks since boot: a process that was
  // started later is of a later life of the domain. UINT64_MAX: now.
  uint64_t reported_ticks = UINT64_MAX;
};

struct ActiveDomain {
  DomainName domain;
  std::string run_state;  // its state in QEMU's words ("running", "paused", "inmigrate")
};

// libvirt's report on a domain's life, as far as it adds to QEMU's own events.
struct DomainLifecycle {
  std::string text;                              // for people: "stopped, destroyed"
  bool started = false;                          // false: it has stopped, or was paused
  std::optional<ManagerEnd> end = std::nullopt;  // why it has stopped; unset: not reported
  bool incoming = false;                         // it has started and waits for its VM to arrive
  // If it was paused (neither started nor stopped): the reason, in QEMU's words ("io-error").
  std::string paused_for = {};
};

// Events of a connection.
struct DomainEvent {
  DomainName domain;
  QmpEvent event;
};
struct DomainChanged {
  DomainName domain;
  DomainLifecycle lifecycle;
};
struct DetailsChanged {  // what Details() returns may have changed
  std::string uuid;
};
struct LinkClosed {  // the connection can no longer be used, or was never opened
  std::string why;
  bool overflow = false;   // its backlog exceeded the limit
  bool forbidden = false;  // vmeventd is not permitted to connect
};
using LibvirtEvent = std::variant<DomainEvent, DomainChanged, DetailsChanged, LinkClosed>;

class LibvirtApi {
 public:
  // Takes the events on the library's own thread, one at a time. Must not block, nor call the
  // library.
  using Callback = std::function<void(LibvirtEvent)>;

  // Each call may block for an unlimited time.
  class Connection {
   public:
    // Closes it.
    virtual ~Connection() = default;
    // Returns the domains that run at some moment during the call. Asks for the state of each one,
    // because the driver for containers has no call that returns the states of all.
    virtual absl::StatusOr<std::vector<ActiveDomain>> ListActive() = 0;
    // Details of the running domain with that UUID.
    virtual absl::StatusOr<DomainDetails> Details(const std::string& uuid) = 0;
  };

  virtual ~LibvirtApi() = default;
  // Connects to `uri`. From then on, `callback` gets the events of all its domains. The error is
  // for people, and contains a hint.
  virtual absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& uri,
                                                           const Callback& callback) = 0;
};

// Loads libvirt.so.0 and libvirt-qemu.so.0. FAILED_PRECONDITION names the Debian package that is
// missing. Call it until it succeeds, from one thread at a time. Blocks while the files are read.
// LIBVIRT_AUTOSTART=0 in the environment keeps the library from starting a libvirt.
absl::StatusOr<std::shared_ptr<LibvirtApi>> LoadLibvirt();

}  // namespace vmeventd
