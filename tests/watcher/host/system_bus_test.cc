// The tests start a real bus of their own, with stand-ins for systemd-logind and systemd.

#include "watcher/host/system_bus.h"

#include <poll.h>
#include <systemd/sd-bus.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_directory.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

// One client of the bus that may have a name and a property.
class Client {
 public:
  explicit Client(const std::string& address) {
    EXPECT_GE(sd_bus_new(&bus_), 0);
    EXPECT_GE(sd_bus_set_address(bus_, address.c_str()), 0);
    EXPECT_GE(sd_bus_set_bus_client(bus_, 1), 0);
    EXPECT_GE(sd_bus_start(bus_), 0);
  }
  ~Client() { sd_bus_flush_close_unref(bus_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Serve(const char* name, const char* path, const char* interface,
             const sd_bus_vtable* vtable) {
    EXPECT_GE(sd_bus_add_object_vtable(bus_, nullptr, path, interface, vtable, this), 0);
    EXPECT_GE(sd_bus_request_name(bus_, name, 0), 0);
  }
  // Answers what has come.
  void Turn() {
    while (sd_bus_process(bus_, nullptr) > 0) {
    }
    sd_bus_flush(bus_);
  }
  int fd() { return sd_bus_get_fd(bus_); }
  sd_bus* get() { return bus_; }

  bool preparing = false;
  std::string state = "running";

 private:
  sd_bus* bus_ = nullptr;
};

int GetPreparing(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void* self,
                 sd_bus_error*) {
  return sd_bus_message_append(reply, "b", static_cast<Client*>(self)->preparing ? 1 : 0);
}
int GetState(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void* self,
             sd_bus_error*) {
  return sd_bus_message_append(reply, "s", static_cast<Client*>(self)->state.c_str());
}
int Subscribe(sd_bus_message* call, void*, sd_bus_error*) {
  return sd_bus_reply_method_return(call, "");
}

const sd_bus_vtable kLogindTable[] = {
    SD_BUS_VTABLE_START(0), SD_BUS_PROPERTY("PreparingForShutdown", "b", GetPreparing, 0, 0),
    SD_BUS_SIGNAL("PrepareForShutdown", "b", 0), SD_BUS_VTABLE_END};
const sd_bus_vtable kSystemdTable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("SystemState", "s", GetState, 0, 0),
    SD_BUS_METHOD("Subscribe", "", "", Subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("JobNew", "uos", 0),
    SD_BUS_SIGNAL("JobRemoved", "uoss", 0),
    SD_BUS_VTABLE_END};

constexpr char kLogindName[] = "org.freedesktop.login1";
constexpr char kLogindPath[] = "/org/freedesktop/login1";
constexpr char kLogindInterface[] = "org.freedesktop.login1.Manager";
constexpr char kSystemd[] = "org.freedesktop.systemd1";
constexpr char kSystemdPath[] = "/org/freedesktop/systemd1";
constexpr char kSystemdInterface[] = "org.freedesktop.systemd1.Manager";
constexpr char kJob[] = "/org/freedesktop/systemd1/job/7";

class SystemBusTest : public testing::Test {
 protected:
  void StartBus() {
    daemon_ = std::make_unique<e2e::ChildProcess>(e2e::ChildOptions{
        .arguments = {"/usr/bin/dbus-daemon", "--session", "--nofork", "--nopidfile",
                      "--print-address=1", "--address", address_}});
    daemon_->ReadUntil("unix:");  // it listens
  }
  void StartLogind(bool preparing = false) {
    logind_ = std::make_unique<Client>(address_);
    logind_->preparing = preparing;
    logind_->Serve(kLogindName, kLogindPath, kLogindInterface, kLogindTable);
  }
  void StartSystemd(const std::string& state = "running") {
    systemd_ = std::make_unique<Client>(address_);
    systemd_->state = state;
    systemd_->Serve(kSystemd, kSystemdPath, kSystemdInterface, kSystemdTable);
  }
  void Listen() {
    setenv("DBUS_SYSTEM_BUS_ADDRESS", address_.c_str(), 1);
    source_ = ListenOnSystemBus().value();
  }
  // Runs all clients of the bus until the source reports such a state.
  HostShutdownState Until(const std::function<bool(const HostShutdownState&)>& wanted) {
    while (true) {
      for (Client* client : {logind_.get(), systemd_.get()}) {
        if (client != nullptr) client->Turn();
      }
      HostShutdownState state = source_->Read();
      if (wanted(state)) return state;
      pollfd inputs[] = {{source_->fd(), POLLIN, 0},
                         {logind_ == nullptr ? -1 : logind_->fd(), POLLIN, 0},
                         {systemd_ == nullptr ? -1 : systemd_->fd(), POLLIN, 0}};
      poll(inputs, 3, -1);
    }
  }
  HostShutdownState UntilKnown() {
    return Until([](const HostShutdownState& state) { return state.known; });
  }
  HostShutdownState UntilShuttingDown(bool shutting_down) {
    return Until([shutting_down](const HostShutdownState& state) {
      return state.shutting_down == shutting_down;
    });
  }
  static void Prepare(Client* client, bool preparing) {
    sd_bus_emit_signal(client->get(), kLogindPath, kLogindInterface, "PrepareForShutdown", "b",
                       preparing ? 1 : 0);
  }

  TemporaryDirectory directory_;
  const std::string address_ = absl::StrCat("unix:path=", directory_.path(), "/bus");
  std::unique_ptr<e2e::ChildProcess> daemon_;
  std::unique_ptr<Client> logind_;
  std::unique_ptr<Client> systemd_;
  std::unique_ptr<HostShutdownApi> source_;
};

TEST_F(SystemBusTest, LogindReportsAShutdownAndItsCancellation) {
  StartBus();
  StartLogind();
  Listen();
  EXPECT_FALSE(UntilKnown().shutting_down);
  Prepare(logind_.get(), true);
  EXPECT_EQ(UntilShuttingDown(true).by, "systemd-logind");
  Prepare(logind_.get(), false);
  UntilShuttingDown(false);
}

TEST_F(SystemBusTest, AShutdownThatIsUnderWayAtTheStartIsKnown) {
  StartBus();
  StartLogind(/*preparing=*/true);
  Listen();
  EXPECT_TRUE(UntilKnown().shutting_down);
}

TEST_F(SystemBusTest, AShutdownThatBypassesLogindIsKnownFromSystemd) {
  StartBus();
  StartSystemd();
  Listen();
  const HostShutdownState first = UntilKnown();
  EXPECT_FALSE(first.shutting_down);
  EXPECT_EQ(first.problem, "");
  sd_bus_emit_signal(systemd_->get(), kSystemdPath, kSystemdInterface, "JobNew", "uos", 6, kJob,
                     "cron.service");
  sd_bus_emit_signal(systemd_->get(), kSystemdPath, kSystemdInterface, "JobNew", "uos", 7, kJob,
                     "shutdown.target");
  EXPECT_EQ(UntilShuttingDown(true).by, "systemd");
  sd_bus_emit_signal(systemd_->get(), kSystemdPath, kSystemdInterface, "JobRemoved", "uoss", 7,
                     kJob, "shutdown.target", "canceled");
  UntilShuttingDown(false);
}

TEST_F(SystemBusTest, AStoppingSystemdIsKnownAtTheStart) {
  StartBus();
  StartSystemd("stopping");
  Listen();
  EXPECT_TRUE(UntilKnown().shutting_down);
}

TEST_F(SystemBusTest, SignalsOfOtherBusClientsAreIgnored) {
  StartBus();
  StartLogind();
  StartSystemd();
  Listen();
  UntilKnown();
  Client liar(address_);
  Prepare(&liar, true);
  // Sent to each client directly, in spite of its match rules.
  for (int i = 0; i < 20; ++i) {
    sd_bus_message* lie = nullptr;
    sd_bus_message_new_signal(liar.get(), &lie, kLogindPath, kLogindInterface,
                              "PrepareForShutdown");
    sd_bus_message_append(lie, "b", 1);
    sd_bus_message_set_destination(lie, absl::StrCat(":1.", i).c_str());
    sd_bus_send(liar.get(), lie, nullptr);
    sd_bus_message_unref(lie);
  }
  // Answered after all of that was passed on.
  EXPECT_GE(sd_bus_call_method(liar.get(), "org.freedesktop.DBus", "/org/freedesktop/DBus",
                               "org.freedesktop.DBus", "GetId", nullptr, nullptr, ""),
            0);
  sd_bus_emit_signal(systemd_->get(), kSystemdPath, kSystemdInterface, "JobNew", "uos", 7, kJob,
                     "shutdown.target");
  EXPECT_EQ(UntilShuttingDown(true).by, "systemd");
}

TEST_F(SystemBusTest, FindsALogindThatStartsLater) {
  StartBus();
  Listen();
  EXPECT_THAT(UntilKnown().problem, HasSubstr("neither systemd-logind nor systemd"));
  StartLogind(/*preparing=*/true);
  EXPECT_EQ(UntilShuttingDown(true).problem, "");
}

TEST_F(SystemBusTest, WithoutABusThereIsAProblem) {
  Listen();
  const HostShutdownState state = UntilKnown();
  EXPECT_FALSE(state.shutting_down);
  EXPECT_THAT(state.problem, HasSubstr("no system bus: "));
}

TEST_F(SystemBusTest, TheLastReportCountsWhileTheBusIsGone) {
  StartBus();
  StartLogind(/*preparing=*/true);
  Listen();
  UntilShuttingDown(true);
  daemon_.reset();
  logind_.reset();
  const HostShutdownState state =
      Until([](const HostShutdownState& now) { return !now.problem.empty(); });
  EXPECT_TRUE(state.shutting_down);
  // The source listens to the bus again once it is back, without another input.
  StartBus();
  StartLogind(/*preparing=*/false);
  EXPECT_EQ(UntilShuttingDown(false).problem, "");
}

}  // namespace
}  // namespace vmeventd
