// libvirt's client library, loaded when it is needed. Facts: docs/internals/libvirt.md.

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/shared_library.h"
#include "base/thread_name.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/domain_xml.h"
#include "watcher/libvirt/forwarded_event.h"
#include "watcher/libvirt/libvirt_api.h"

namespace vmeventd {
namespace {

// A libvirt that is silent for 20 s is gone: four intervals.
constexpr int kKeepAliveSeconds = 5;
constexpr unsigned int kKeepAliveCount = 3;

// A callback in the form in which libvirt registers it: it calls each kind of event with that
// kind's arguments. Does the same as VIR_DOMAIN_EVENT_CALLBACK, in a way that clang permits.
template <typename Callback>
virConnectDomainEventGenericCallback GenericCallback(Callback* callback) {
  return reinterpret_cast<virConnectDomainEventGenericCallback>(
      reinterpret_cast<void (*)()>(callback));
}

// The two libraries' functions in use.
#define VMEVENTD_LIBVIRT_FUNCTIONS(F)   \
  F(virConnectClose)                    \
  F(virConnectDomainEventDeregisterAny) \
  F(virConnectDomainEventRegisterAny)   \
  F(virConnectGetType)                  \
  F(virConnectIsAlive)                  \
  F(virConnectListAllDomains)           \
  F(virConnectOpen)                     \
  F(virConnectRegisterCloseCallback)    \
  F(virConnectSetKeepAlive)             \
  F(virConnectUnregisterCloseCallback)  \
  F(virDomainFree)                      \
  F(virDomainGetID)                     \
  F(virDomainGetJobStats)               \
  F(virDomainGetName)                   \
  F(virDomainGetState)                  \
  F(virDomainGetUUIDString)             \
  F(virDomainGetXMLDesc)                \
  F(virDomainLookupByUUIDString)        \
  F(virEventAddTimeout)                 \
  F(virEventRegisterDefaultImpl)        \
  F(virEventRunDefaultImpl)             \
  F(virGetLastError)                    \
  F(virInitialize)                      \
  F(virSetErrorFunc)                    \
  F(virTypedParamsFree)
#define VMEVENTD_LIBVIRT_QEMU_FUNCTIONS(F)      \
  F(virConnectDomainQemuMonitorEventDeregister) \
  F(virConnectDomainQemuMonitorEventRegister)

struct Functions {
  VMEVENTD_LIBVIRT_FUNCTIONS(VMEVENTD_FUNCTION_MEMBER)
  VMEVENTD_LIBVIRT_QEMU_FUNCTIONS(VMEVENTD_FUNCTION_MEMBER)
};

// Filled by LoadLibvirt(), and constant from then on.
Functions lib;

absl::Status LoadFunctions() {
  constexpr char kAdvice[] =
      "--libvirt needs libvirt's client library: install the Debian package libvirt0, or what your "
      "distribution calls it (libvirt-libs)";
  Functions& functions = lib;
  absl::Status status = LoadSharedLibrary("libvirt.so.0", kAdvice,
                                          {VMEVENTD_LIBVIRT_FUNCTIONS(VMEVENTD_FUNCTION_ENTRY)})
                            .status();
  if (!status.ok()) return status;
  return LoadSharedLibrary("libvirt-qemu.so.0", kAdvice,
                           {VMEVENTD_LIBVIRT_QEMU_FUNCTIONS(VMEVENTD_FUNCTION_ENTRY)})
      .status();
}

void IgnoreError(void* /*data*/, virErrorPtr /*error*/) {}  // each call's is asked for

std::string LastErrorText() {
  const virError* const error = lib.virGetLastError();
  return error == nullptr || error->message == nullptr ? "no reason given" : error->message;
}

// The error of an attempt to connect, with a hint.
absl::Status OpenError() {
  const std::string text = absl::StrCat("cannot connect to libvirt: ", LastErrorText());
  const virError* const error = lib.virGetLastError();
  const int code = error == nullptr ? VIR_ERR_OK : error->code;
  const int system_error = code == VIR_ERR_SYSTEM_ERROR ? error->int1 : 0;  // its errno
  if (system_error == EACCES || system_error == EPERM || code == VIR_ERR_AUTH_FAILED ||
      code == VIR_ERR_AUTH_CANCELLED || code == VIR_ERR_AUTH_UNAVAILABLE ||
      code == VIR_ERR_ACCESS_DENIED) {
    return absl::PermissionDeniedError(
        absl::StrCat(text,
                     "; vmeventd's user must be in the group libvirt, or polkit must let it manage "
                     "domains (org.libvirt.unix.manage): docs/connect.md"));
  }
  if (system_error == ENOENT || system_error == ECONNREFUSED) {
    return absl::UnavailableError(
        absl::StrCat(text, "; check that libvirtd or virtqemud runs there"));
  }
  return absl::UnavailableError(text);
}

// libvirt gives the same reason for the pause on both sides of a migration, but has job statistics
// only on the source.
bool IsMigrationSource(virDomainPtr domain) {
  int type = VIR_DOMAIN_JOB_NONE;
  virTypedParameterPtr statistics = nullptr;
  int count = 0;
  if (lib.virDomainGetJobStats(domain, &type, &statistics, &count, 0) < 0) return false;
  lib.virTypedParamsFree(statistics, count);
  return type != VIR_DOMAIN_JOB_NONE;
}

struct StateCode {
  int state;
  int reason;  // kAny: each
  const char* run_state;
};
constexpr int kAny = -1;
constexpr StateCode kStateCodes[] = {
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP, "prelaunch"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY, "finish-migrate"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY_FAILED, "finish-migrate"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR, "io-error"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_WATCHDOG, "watchdog"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_CRASHED, "guest-panicked"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SHUTTING_DOWN, "shutdown"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SAVE, "save-vm"},
    {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SNAPSHOT, "save-vm"},
    {VIR_DOMAIN_PAUSED, kAny, "paused"},
    {VIR_DOMAIN_CRASHED, kAny, "guest-panicked"},
    // libvirt is about to end a QEMU whose guest has shut down, or has asked its guest to.
    {VIR_DOMAIN_SHUTDOWN, kAny, "shutdown"},
    {VIR_DOMAIN_PMSUSPENDED, kAny, "suspended"},
};

std::string RunStateOf(virDomainPtr domain, int state, int reason) {
  if (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_MIGRATION) {
    return IsMigrationSource(domain) ? "finish-migrate" : "inmigrate";
  }
  for (const StateCode& code : kStateCodes) {
    if (code.state == state && (code.reason == reason || code.reason == kAny)) {
      return code.run_state;
    }
  }
  return "running";
}

DomainName NameOf(virDomainPtr domain) {
  const char* const name = lib.virDomainGetName(domain);
  char uuid[VIR_UUID_STRING_BUFLEN] = "";
  lib.virDomainGetUUIDString(domain, uuid);
  const auto id = static_cast<int>(lib.virDomainGetID(domain));  // -1 as unsigned: not running
  return {name == nullptr ? "" : name, uuid, id};
}

struct EndCode {
  int detail;  // detail of VIR_DOMAIN_EVENT_STOPPED
  ManagerEnd end;
  const char* text;  // as virsh prints it
};
constexpr EndCode kEndCodes[] = {
    {VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, ManagerEnd::kShutdown, "stopped, shutdown"},
    {VIR_DOMAIN_EVENT_STOPPED_DESTROYED, ManagerEnd::kDestroyed, "stopped, destroyed"},
    {VIR_DOMAIN_EVENT_STOPPED_CRASHED, ManagerEnd::kCrashed, "stopped, crashed"},
    {VIR_DOMAIN_EVENT_STOPPED_MIGRATED, ManagerEnd::kMigrated, "stopped, migrated"},
    {VIR_DOMAIN_EVENT_STOPPED_SAVED, ManagerEnd::kSaved, "stopped, saved"},
    {VIR_DOMAIN_EVENT_STOPPED_FAILED, ManagerEnd::kFailed, "stopped, failed"},
    // The domain was reverted to a snapshot that was shut off.
    {VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT, ManagerEnd::kDestroyed, "stopped, from snapshot"},
};

DomainLifecycle StoppedEvent(int detail) {
  for (const EndCode& code : kEndCodes) {
    if (code.detail == detail) return {.text = code.text, .end = code.end};
  }
  return {.text = "stopped"};
}

struct PauseCode {
  int detail;  // detail of VIR_DOMAIN_EVENT_SUSPENDED
  const char* run_state;
};
constexpr PauseCode kPauseCodes[] = {
    {VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, "finish-migrate"},
    {VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY, "finish-migrate"},
    {VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED, "finish-migrate"},
    {VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, "io-error"},
    {VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG, "watchdog"},
};

DomainLifecycle SuspendedEvent(int detail) {
  for (const PauseCode& code : kPauseCodes) {
    if (code.detail == detail) return {.text = "suspended", .paused_for = code.run_state};
  }
  return {.text = "suspended", .paused_for = "paused"};
}

// Converts a lifecycle event of libvirt. Unset: the event adds nothing to QEMU's own events.
std::optional<DomainLifecycle> LifecycleOf(int event, int detail) {
  if (event == VIR_DOMAIN_EVENT_STARTED) {
    return DomainLifecycle{.text = "started",
                           .started = true,
                           .incoming = detail == VIR_DOMAIN_EVENT_STARTED_MIGRATED ||
                                       detail == VIR_DOMAIN_EVENT_STARTED_RESTORED};
  }
  if (event == VIR_DOMAIN_EVENT_STOPPED) return StoppedEvent(detail);
  if (event == VIR_DOMAIN_EVENT_SUSPENDED) return SuspendedEvent(detail);
  return std::nullopt;
}

std::string CloseReason(int reason) {
  if (reason == VIR_CONNECT_CLOSE_REASON_EOF) return "libvirt closed the connection";
  if (reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE) return "libvirt does not answer";
  return reason == VIR_CONNECT_CLOSE_REASON_CLIENT ? "closed" : "I/O error";
}

// Passed to libvirt with each registered function. libvirt frees it by FreeCallback when it drops
// the function.
using Callback = LibvirtApi::Callback;
void Post(void* opaque, LibvirtEvent event) { (*static_cast<Callback*>(opaque))(std::move(event)); }
void FreeCallback(void* opaque) { delete static_cast<Callback*>(opaque); }

void OnQemuEvent(virConnectPtr, virDomainPtr domain, const char* name, long long seconds,
                 unsigned int micros, const char* details, void* opaque) {
  std::optional<QmpEvent> event =
      ForwardedEvent(name, seconds, micros, details == nullptr ? "" : details);
  if (event.has_value()) Post(opaque, DomainEvent{NameOf(domain), *std::move(event)});
}

int OnLifecycleEvent(virConnectPtr, virDomainPtr domain, int event, int detail, void* opaque) {
  std::optional<DomainLifecycle> lifecycle = LifecycleOf(event, detail);
  if (lifecycle.has_value()) Post(opaque, DomainChanged{NameOf(domain), *std::move(lifecycle)});
  return 0;
}

// Reports an event of a container under QEMU's name for it, because a container has no QEMU that
// would send it.
void PostOfContainer(virDomainPtr domain, const char* event, void* opaque) {
  Post(opaque, DomainEvent{NameOf(domain), QmpEvent{.name = event}});
}

int OnContainerLifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                         void* opaque) {
  if (event == VIR_DOMAIN_EVENT_SUSPENDED) PostOfContainer(domain, "STOP", opaque);
  if (event == VIR_DOMAIN_EVENT_STARTED || event == VIR_DOMAIN_EVENT_RESUMED) {
    PostOfContainer(domain, "RESUME", opaque);
  }
  return OnLifecycleEvent(connection, domain, event, detail, opaque);
}

void OnContainerReboot(virConnectPtr, virDomainPtr domain, void* opaque) {
  PostOfContainer(domain, "RESET", opaque);
}

void OnMetadataChange(virConnectPtr, virDomainPtr domain, int, const char*, void* opaque) {
  Post(opaque, DetailsChanged{NameOf(domain).uuid});
}

void OnClose(virConnectPtr, int reason, void* opaque) {
  Post(opaque, LinkClosed{CloseReason(reason)});
}

struct DomainDeleter {
  void operator()(virDomainPtr domain) const { lib.virDomainFree(domain); }
};
using Domain = std::unique_ptr<virDomain, DomainDeleter>;

class RealConnection : public LibvirtApi::Connection {
 public:
  RealConnection(virConnectPtr connection, bool containers)
      : connection_(connection), containers_(containers) {}
  // Each callback holds a reference to the connection, which stays open as long as there is one.
  ~RealConnection() override {
    for (const int events : events_) lib.virConnectDomainEventDeregisterAny(connection_, events);
    if (qemu_events_ >= 0) {
      lib.virConnectDomainQemuMonitorEventDeregister(connection_, qemu_events_);
    }
    if (close_registered_) lib.virConnectUnregisterCloseCallback(connection_, OnClose);
    lib.virConnectClose(connection_);
  }

  absl::Status Listen(const Callback& callback) {
    close_registered_ =
        Register(callback, [&](void* opaque) {
          return lib.virConnectRegisterCloseCallback(connection_, OnClose, opaque, FreeCallback);
        }) >= 0;
    if (!close_registered_) return OpenError();
    if (!containers_) {
      qemu_events_ = Register(callback, [&](void* opaque) {
        return lib.virConnectDomainQemuMonitorEventRegister(connection_, nullptr, nullptr,
                                                            OnQemuEvent, opaque, FreeCallback, 0);
      });
      if (qemu_events_ < 0) return OpenError();
    }
    const bool registered =
        (!containers_ ||
         Registers(callback, VIR_DOMAIN_EVENT_ID_REBOOT, GenericCallback(OnContainerReboot))) &&
        Registers(callback, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                  GenericCallback(containers_ ? OnContainerLifecycle : OnLifecycleEvent)) &&
        Registers(callback, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, GenericCallback(OnMetadataChange));
    if (!registered ||
        lib.virConnectSetKeepAlive(connection_, kKeepAliveSeconds, kKeepAliveCount) < 0) {
      return OpenError();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<ActiveDomain>> ListActive() override {
    virDomainPtr* domains = nullptr;
    const int count =
        lib.virConnectListAllDomains(connection_, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (count < 0) return OpenError();
    std::vector<ActiveDomain> active;
    std::string why;  // the first domain without a state has none
    for (int at = 0; at < count; ++at) {
      const Domain domain(domains[at]);
      int state = VIR_DOMAIN_NOSTATE;
      int reason = 0;
      // A domain that is starting or ending has an event later.
      if (lib.virDomainGetState(domain.get(), &state, &reason, 0) < 0) {
        if (why.empty()) why = LastErrorText();
        continue;
      }
      DomainName name = NameOf(domain.get());
      if (name.id <= 0 || state == VIR_DOMAIN_SHUTOFF) continue;
      active.push_back({std::move(name), RunStateOf(domain.get(), state, reason)});
    }
    free(domains);  // NOLINT(cppcoreguidelines-no-malloc): as virConnectListAllDomains demands
    // If the connection is lost, the states are missing for that reason, and the domains without
    // one may run.
    if (!why.empty() && lib.virConnectIsAlive(connection_) != 1) {
      return absl::UnavailableError(absl::StrCat("cannot list the domains of libvirt: ", why));
    }
    return active;
  }

  absl::StatusOr<DomainDetails> Details(const std::string& uuid) override {
    const Domain domain(lib.virDomainLookupByUUIDString(connection_, uuid.c_str()));
    if (domain.get() == nullptr) return absl::NotFoundError(LastErrorText());
    char* const xml = lib.virDomainGetXMLDesc(domain.get(), 0);
    if (xml == nullptr) return absl::UnavailableError(LastErrorText());
    absl::StatusOr<DomainDetails> details = DetailsIn(xml);
    free(xml);  // NOLINT(cppcoreguidelines-no-malloc): as virDomainGetXMLDesc demands
    return details;
  }

 private:
  bool Registers(const Callback& callback, int id, virConnectDomainEventGenericCallback function) {
    const int events = Register(callback, [&](void* opaque) {
      return lib.virConnectDomainEventRegisterAny(connection_, nullptr, id, function, opaque,
                                                  FreeCallback);
    });
    if (events >= 0) events_.push_back(events);
    return events >= 0;
  }

  template <typename Call>
  static int Register(const Callback& callback, Call call) {
    auto copy = std::make_unique<Callback>(callback);
    const int result = call(copy.get());
    if (result >= 0) std::ignore = copy.release();  // libvirt's, until it calls FreeCallback
    return result;
  }

  const virConnectPtr connection_;
  const bool containers_;
  bool close_registered_ = false;
  int qemu_events_ = -1;
  std::vector<int> events_;  // others that are registered
};

class RealLibvirt : public LibvirtApi {
 public:
  RealLibvirt()
      : thread_([this] {
          SetThreadName("libvirt-events");
          while (!stop_) lib.virEventRunDefaultImpl();
        }) {}
  ~RealLibvirt() override {
    stop_ = true;
    // A timer that is due wakes the thread.
    lib.virEventAddTimeout(
        0, [](int, void*) {}, nullptr, nullptr);
    thread_.join();
  }

  absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& uri,
                                                   const Callback& callback) override {
    const virConnectPtr opened = lib.virConnectOpen(uri.c_str());
    if (opened == nullptr) return OpenError();
    const bool containers = IsContainerUri(uri);
    auto connection = std::make_unique<RealConnection>(opened, containers);
    const char* const type = lib.virConnectGetType(opened);
    if (type == nullptr || absl::string_view(type) != (containers ? "LXC" : "QEMU")) {
      return absl::UnavailableError(absl::StrCat("it is libvirt, but its driver is not for ",
                                                 containers ? "containers" : "QEMU"));
    }
    if (absl::Status status = connection->Listen(callback); !status.ok()) return status;
    return connection;
  }

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<LibvirtApi>> LoadLibvirt() {
  if (absl::Status status = LoadFunctions(); !status.ok()) return status;
  lib.virSetErrorFunc(nullptr, IgnoreError);
  if (lib.virInitialize() < 0 || lib.virEventRegisterDefaultImpl() < 0) {
    return absl::InternalError(absl::StrCat("libvirt's client library: ", LastErrorText()));
  }
  return std::make_shared<RealLibvirt>();
}

}  // namespace vmeventd
