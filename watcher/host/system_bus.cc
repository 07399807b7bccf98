#include "watcher/host/system_bus.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// First and longest pause between attempts to connect. It grows, because most hosts without a bus
// never get one.
constexpr uint64_t kFirstRetryMicroseconds = 5'000'000;
constexpr uint64_t kLastRetryMicroseconds = 320'000'000;
constexpr uint64_t kCallMicroseconds = 5'000'000;
// Maximum number of messages in one turn: a client of the bus may send any number of signals.
constexpr int kMessagesATurn = 100;

constexpr char kBusName[] = "org.freedesktop.DBus";
constexpr char kShutdownTarget[] = "shutdown.target";

struct Release {
  void operator()(sd_event* event) const { sd_event_unref(event); }
  void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};

class SystemBus : public HostShutdownApi {
 public:
  explicit SystemBus(sd_event* event) : event_(event) {
    Connect();
    SystemBus::Read();  // sets the timers
  }

  int fd() const override { return sd_event_get_fd(event_.get()); }

  HostShutdownState Read() override {
    for (int i = 0; i < kMessagesATurn && sd_event_run(event_.get(), 0) > 0; ++i) {
    }
    if (bus_ != nullptr && sd_bus_is_open(bus_.get()) == 0) {
      Disconnect("lost the connection to the system bus");
      sd_event_run(event_.get(), 0);  // sets the timer of the next try, which is not due
    }
    return State();
  }

 private:
  // A service that announces a shutdown, with its state.
  struct Announcer {
    const char* name;  // on the bus
    const char* path;
    const char* interface;
    const char* property;
    const char* for_people;
    std::string owner = {};  // the name's unique one; empty: nobody has it
    bool answered = false;   // the property, or that nobody has the name
    bool shutting_down = false;
  };

  static constexpr size_t kLogind = 0;
  static constexpr size_t kSystemd = 1;

  HostShutdownState State() const {
    HostShutdownState state;
    state.known = bus_ == nullptr ||
                  std::all_of(announcers_.begin(), announcers_.end(),
                              [](const Announcer& announcer) { return announcer.answered; });
    for (const Announcer& announcer : announcers_) {
      if (!announcer.shutting_down) continue;
      state.shutting_down = true;
      state.by = announcer.for_people;
      break;
    }
    if (!state.shutting_down) state.by = last_;
    state.problem = problem_;
    const bool nobody = std::all_of(
        announcers_.begin(), announcers_.end(),
        [](const Announcer& announcer) { return announcer.answered && announcer.owner.empty(); });
    if (bus_ != nullptr && nobody) {
      state.problem = "neither systemd-logind nor systemd is on the system bus";
    }
    return state;
  }

  void Connect() {
    sd_bus* opened = nullptr;
    int result = sd_bus_open_system_with_description(&opened, "vmeventd");
    bus_.reset(opened);
    if (result < 0) return Disconnect(absl::StrCat("no system bus: ", ErrnoText(-result)));
    problem_.clear();
    sd_bus_set_method_call_timeout(bus_.get(), kCallMicroseconds);
    result = Listen();
    if (result >= 0) result = sd_bus_attach_event(bus_.get(), event_.get(), 0);
    if (result < 0) Disconnect(absl::StrCat("the system bus: ", ErrnoText(-result)));
  }

  // Each signal is asked for before the state is, so that no change between is missed.
  int Listen() {
    int result = Match(kBusName, "/org/freedesktop/DBus", kBusName, "NameOwnerChanged", OnOwner);
    if (result >= 0) {
      const Announcer& logind = announcers_[kLogind];
      result = Match(logind.name, logind.path, logind.interface, "PrepareForShutdown", OnPrepare);
    }
    const Announcer& systemd = announcers_[kSystemd];
    for (const char* signal : {"JobNew", "JobRemoved"}) {
      if (result >= 0) {
        result = Match(systemd.name, systemd.path, systemd.interface, signal, OnJob);
      }
    }
    for (size_t i = 0; i < announcers_.size() && result >= 0; ++i) {
      announcers_[i].answered = false;
      result = Call(kBusName, "/org/freedesktop/DBus", kBusName, "GetNameOwner", kOwnerAnswers[i],
                    {announcers_[i].name});
    }
    return result;
  }

  int Match(const char* sender, const char* path, const char* interface, const char* member,
            sd_bus_message_handler_t handler) {
    return sd_bus_match_signal_async(bus_.get(), nullptr, sender, path, interface, member, handler,
                                     nullptr, this);
  }

  // Calls a method with texts as arguments. Does not start the called service.
  int Call(const char* name, const char* path, const char* interface, const char* member,
           sd_bus_message_handler_t handler, std::initializer_list<const char*> arguments) {
    sd_bus_message* call = nullptr;
    int result = sd_bus_message_new_method_call(bus_.get(), &call, name, path, interface, member);
    if (result >= 0) result = sd_bus_message_set_auto_start(call, 0);
    for (const char* argument : arguments) {
      if (result >= 0) result = sd_bus_message_append_basic(call, 's', argument);
    }
    if (result >= 0) result = sd_bus_call_async(bus_.get(), nullptr, call, handler, this, 0);
    sd_bus_message_unref(call);
    return result;
  }

  void SetOwner(size_t i, absl::string_view owner) {
    Announcer& announcer = announcers_[i];
    announcer.owner = std::string(owner);
    announcer.answered = owner.empty();
    if (owner.empty()) return;
    // Without it systemd sends no signals, unless another has asked for them.
    if (i == kSystemd)
      Call(announcer.name, announcer.path, announcer.interface, "Subscribe", Ignore, {});
    Call(announcer.name, announcer.path, "org.freedesktop.DBus.Properties", "Get",
         kPropertyAnswers[i], {announcer.interface, announcer.property});
  }

  void SetShuttingDown(size_t i, bool shutting_down) {
    retry_ = kFirstRetryMicroseconds;
    announcers_[i].answered = true;
    announcers_[i].shutting_down = shutting_down;
    last_ = announcers_[i].for_people;
  }

  // Any client of the bus may send any signal to this one.
  bool IsFrom(size_t i, sd_bus_message* message) const {
    const char* const sender = sd_bus_message_get_sender(message);
    return sender != nullptr && sender == announcers_[i].owner;
  }

  void Disconnect(std::string problem) {
    bus_.reset();
    for (Announcer& announcer : announcers_) announcer.owner.clear();
    problem_ = std::move(problem);
    sd_event_source* timer = nullptr;
    sd_event_add_time_relative(event_.get(), &timer, CLOCK_MONOTONIC, retry_, 0, OnRetry, this);
    retry_timer_.reset(timer);
    retry_ = std::min(retry_ * 2, kLastRetryMicroseconds);
  }

  // Callbacks of sd-bus and sd-event, from within Read().

  static int OnRetry(sd_event_source*, uint64_t, void* self) {
    static_cast<SystemBus*>(self)->Connect();
    return 0;
  }

  static int OnOwner(sd_bus_message* message, void* self, sd_bus_error*) {
    const char *name = nullptr, *before = nullptr, *owner = nullptr;
    if (sd_bus_message_read(message, "sss", &name, &before, &owner) < 0) return 0;
    auto* const bus = static_cast<SystemBus*>(self);
    const char* const sender = sd_bus_message_get_sender(message);
    if (sender == nullptr || std::strcmp(sender, kBusName) != 0) return 0;
    for (size_t i = 0; i < bus->announcers_.size(); ++i) {
      if (std::strcmp(name, bus->announcers_[i].name) == 0) bus->SetOwner(i, owner);
    }
    return 0;
  }

  template <size_t i>
  static int OnOwnerAnswer(sd_bus_message* message, void* self, sd_bus_error*) {
    const char* owner = "";
    if (sd_bus_message_is_method_error(message, nullptr) != 0 ||
        sd_bus_message_read(message, "s", &owner) < 0) {
      owner = "";
    }
    static_cast<SystemBus*>(self)->SetOwner(i, owner);
    return 0;
  }

  template <size_t i>
  static int OnProperty(sd_bus_message* message, void* self, sd_bus_error*) {
    auto* const bus = static_cast<SystemBus*>(self);
    int preparing = 0;
    const char* state = "";
    if (sd_bus_message_is_method_error(message, nullptr) != 0 ||
        (i == kLogind ? sd_bus_message_read(message, "v", "b", &preparing)
                      : sd_bus_message_read(message, "v", "s", &state)) < 0) {
      bus->announcers_[i].answered = true;
    } else {
      bus->SetShuttingDown(i, preparing != 0 || std::strcmp(state, "stopping") == 0);
    }
    return 0;
  }

  static int OnPrepare(sd_bus_message* message, void* self, sd_bus_error*) {
    auto* const bus = static_cast<SystemBus*>(self);
    int preparing = 0;
    if (!bus->IsFrom(kLogind, message) || sd_bus_message_read(message, "b", &preparing) < 0)
      return 0;
    bus->SetShuttingDown(kLogind, preparing != 0);
    return 0;
  }

  // JobNew has a job's number, path and unit; JobRemoved its result as well.
  static int OnJob(sd_bus_message* message, void* self, sd_bus_error*) {
    auto* const bus = static_cast<SystemBus*>(self);
    uint32_t number = 0;
    const char *job = nullptr, *unit = nullptr, *result = nullptr;
    if (!bus->IsFrom(kSystemd, message) ||
        sd_bus_message_read(message, "uos", &number, &job, &unit) < 0 ||
        std::strcmp(unit, kShutdownTarget) != 0) {
      return 0;
    }
    if (sd_bus_message_is_signal(message, nullptr, "JobNew") != 0) {
      bus->SetShuttingDown(kSystemd, true);
    } else if (sd_bus_message_read(message, "s", &result) >= 0 &&
               std::strcmp(result, "done") != 0) {
      bus->SetShuttingDown(kSystemd, false);
    }
    return 0;
  }

  static int Ignore(sd_bus_message*, void*, sd_bus_error*) { return 0; }

  static constexpr std::array<sd_bus_message_handler_t, 2> kOwnerAnswers = {
      OnOwnerAnswer<kLogind>, OnOwnerAnswer<kSystemd>};
  static constexpr std::array<sd_bus_message_handler_t, 2> kPropertyAnswers = {
      OnProperty<kLogind>, OnProperty<kSystemd>};

  const std::unique_ptr<sd_event, Release> event_;
  std::unique_ptr<sd_event_source, Release> retry_timer_;
  std::unique_ptr<sd_bus, Release> bus_;  // null: not connected
  std::array<Announcer, 2> announcers_{{
      {"org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
       "PreparingForShutdown", "systemd-logind"},
      {"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
       "SystemState", "systemd"},
  }};
  std::string last_ = "systemd";
  std::string problem_;
  uint64_t retry_ = kFirstRetryMicroseconds;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HostShutdownApi>> ListenOnSystemBus() {
  sd_event* event = nullptr;
  if (const int result = sd_event_new(&event); result < 0) {
    return absl::UnavailableError(
        absl::StrCat("no event loop for the system bus: ", ErrnoText(-result)));
  }
  return std::make_unique<SystemBus>(event);
}

}  // namespace vmeventd
