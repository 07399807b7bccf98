#include "tools/measure/other_observers.h"

#include <libvirt/libvirt.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "tests/support/child_process.h"
#include "tests/support/daemon.h"
#include "tests/support/event_stream.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/ganeti_kvmd.h"
#include "tests/support/libvirt/libvirtd.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tools/measure/fake_fleet.h"
#include "tools/measure/file_counter.h"
#include "tools/measure/process_costs.h"
#include "tools/measure/record.h"

namespace vmeventd::bench {
namespace {

// A kvmd that follows `vms` fake monitors in memory.
class KvmdNode {
 public:
  explicit KvmdNode(int vms)
      : sockets_(absl::StrCat("/dev/shm/vmebench-kvmd-", getpid())),
        fleet_((std::filesystem::create_directories(sockets_), sockets_), vms),
        kvmd_(e2e::StartKvmd(
            {.directory = sockets_, .root = root_.path(), .log_file = root_ / "log"})) {
    e2e::WaitUntil("ganeti-kvmd follows every VM", [&] {
      if (kvmd_->has_exited()) e2e::Fail("ganeti-kvmd ended: " + e2e::ReadFile(root_ / "log"));
      return fleet_.Negotiated() == vms;
    });
    Settle(pid());
  }
  ~KvmdNode() {
    kvmd_.reset();
    std::filesystem::remove_all(sockets_);
  }
  KvmdNode(const KvmdNode&) = delete;
  KvmdNode& operator=(const KvmdNode&) = delete;

  pid_t pid() const { return kvmd_->pid(); }
  FakeFleet& fleet() { return fleet_; }
  const std::string& sockets() const { return sockets_; }

 private:
  const TemporaryDirectory root_;
  const std::string sockets_;
  FakeFleet fleet_;
  std::unique_ptr<e2e::ChildProcess> kvmd_;
};

// The times at which VMs stopped. Any thread.
class StopTimes {
 public:
  void AddNow() {
    const absl::Time now = absl::Now();
    const MutexLock lock(&mutex_);
    times_.push_back(now);
  }
  // Returns when the `count`th stopped. `what` is awaited, for people.
  absl::Time Wait(size_t count, const char* what) {
    e2e::WaitUntil(what, [&] {
      const MutexLock lock(&mutex_);
      return times_.size() >= count;
    });
    const MutexLock lock(&mutex_);
    return times_[count - 1];
  }

 private:
  Mutex mutex_;
  std::vector<absl::Time> times_ ABSL_GUARDED_BY(mutex_);
};

// Times at which libvirt's event API reported that a domain stopped.
class LifecycleEvents {
 public:
  explicit LifecycleEvents(const std::string& uri) {
    if (virEventRegisterDefaultImpl() != 0) e2e::Fail("libvirt has no event loop");
    thread_ = std::thread([this] {
      while (!stop_) virEventRunDefaultImpl();
    });
    connection_ = virConnectOpen(uri.c_str());
    if (connection_ == nullptr) e2e::Fail("libvirt cannot open " + uri);
    if (virConnectDomainEventRegisterAny(connection_, nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(&LifecycleEvents::OnEvent), this,
                                         nullptr) < 0) {
      e2e::Fail("libvirt registers no callback");
    }
  }
  ~LifecycleEvents() {
    virConnectClose(connection_);
    stop_ = true;
    // The loop looks at stop_ after its next event: a timer that is due at once.
    virEventAddTimeout(
        0, [](int timer, void*) { virEventRemoveTimeout(timer); }, nullptr, nullptr);
    thread_.join();
  }
  LifecycleEvents(const LifecycleEvents&) = delete;
  LifecycleEvents& operator=(const LifecycleEvents&) = delete;

  absl::Time WaitStopped(size_t count) {
    return stopped_.Wait(count, "libvirt reports the end of a domain");
  }

 private:
  static void OnEvent(virConnectPtr /*connection*/, virDomainPtr /*domain*/, int event,
                      int /*detail*/, void* self) {
    if (event == VIR_DOMAIN_EVENT_STOPPED) static_cast<LifecycleEvents*>(self)->stopped_.AddNow();
  }

  virConnectPtr connection_ = nullptr;
  std::atomic<bool> stop_{false};
  StopTimes stopped_;
  std::thread thread_;
};

// The time at which each VM stopped, as a client of vmeventd receives it.
class StoppedEvents {
 public:
  explicit StoppedEvents(e2e::Daemon* daemon)
      : stream_(daemon->channel(), {}, [this](const v1::Event& event) {
          if (event.type() == v1::EVENT_TYPE_STOPPED) stopped_.AddNow();
        }) {
    stream_.WaitProgress();
  }
  absl::Time WaitStopped(size_t count) {
    return stopped_.Wait(count, "vmeventd reports the end of a VM");
  }

 private:
  StopTimes stopped_;
  e2e::EventStream stream_;  // last: its thread uses the rest
};

}  // namespace

void MeasureKvmd(int vms, Record* record) {
  if (const std::string lacks = e2e::WhatKvmdLacks(); !lacks.empty()) {
    std::printf("ganeti-kvmd is not measured: that takes %s\n", lacks.c_str());
    return;
  }
  const std::string of = absl::StrCat(" of ", vms, " VMs");
  double alone = 0;
  {
    const KvmdNode node(1);
    alone = AnonymousKib(node.pid());
  }
  KvmdNode node(vms);
  record->AddEach("kvmd: attach, CPU a VM" + of, CpuOf(node.pid()), vms);
  record->Add("kvmd: memory a VM" + of, (AnonymousKib(node.pid()) - alone) / (vms - 1), "KiB");
  FileCounter files(node.sockets());
  std::vector<absl::Duration> times;
  const absl::Duration cpu = CpuOf(node.pid());
  int next = 0;
  for (; next < std::min(vms / 2, 200); ++next) {
    const absl::Time closed = absl::Now();
    node.fleet().Stop(next);
    times.push_back(files.Wait(next + 1) - closed);
  }
  record->AddTimes("kvmd: socket closed to shutdown file" + of, times);
  const absl::Time begin = absl::Now();
  for (; next < vms; ++next) node.fleet().Stop(next);
  record->Add("kvmd: all stop at once, until the last file" + of,
              absl::ToDoubleSeconds(files.Wait(vms) - begin), "s");
  Settle(node.pid());
  record->AddEach("kvmd: CPU a stop" + of, CpuOf(node.pid()) - cpu, vms);
}

void MeasureLibvirt(int domains, Record* record) {
  if (!e2e::CanRunLibvirtd() || !e2e::Exists("/usr/bin/qemu-system-x86_64")) {
    std::printf(
        "libvirt is not measured: that takes root, and Debian's libvirt-daemon and "
        "qemu-system-x86\n");
    return;
  }
  const std::string of = absl::StrCat(" of ", domains, " domains");
  const TemporaryDirectory directory;
  const std::string monitors = directory.MakeDirectory("qmp");
  e2e::DaemonOptions options;
  options.watches = {monitors + ":*.kvmd"};
  options.socket = directory / "s";
  options.state_dir = directory.MakeDirectory("state");
  options.log_file = directory / "log";
  options.arguments = {"--log-level", "warn"};
  e2e::Daemon daemon(options);
  e2e::Libvirtd libvirtd(directory / "libvirt");
  libvirtd.Virsh({"domcapabilities"});  // the QEMUs that it asks end before this is a subreaper
  // libvirt waits for the end of the zombie: the QEMUs are reaped here, at once, as a host's init
  // does.
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) e2e::FailErrno("cannot become a subreaper");
  StoppedEvents ours(&daemon);
  LifecycleEvents theirs(libvirtd.uri());

  const double before = AnonymousKib(libvirtd.pid());
  std::vector<pid_t> qemus;
  for (int i = 0; i < domains; ++i) {
    e2e::DomainOptions domain;
    domain.name = absl::StrCat("d", i);
    domain.paused = true;
    domain.qemu_arguments = {
        "-qmp", absl::StrCat("unix:", monitors, "/", domain.name, ".kvmd,server=on,wait=off")};
    libvirtd.Create(domain);
    qemus.push_back(libvirtd.Pid(domain.name));
  }
  e2e::WaitUntil("vmeventd follows every domain",
                 [&] { return daemon.ListVms(false).size() == static_cast<size_t>(domains); });
  Settle(daemon.pid());
  Settle(libvirtd.pid());
  record->Add("libvirt: memory a VM" + of, (AnonymousKib(libvirtd.pid()) - before) / domains,
              "KiB");
  const absl::Duration our_cpu = CpuOf(daemon.pid());
  const absl::Duration their_cpu = CpuOf(libvirtd.pid());
  std::vector<absl::Duration> our_times;
  std::vector<absl::Duration> their_times;
  for (size_t i = 0; i < qemus.size(); ++i) {
    const absl::Time killed = absl::Now();
    kill(qemus[i], SIGKILL);
    waitpid(qemus[i], nullptr, 0);
    our_times.push_back(ours.WaitStopped(i + 1) - killed);
    their_times.push_back(theirs.WaitStopped(i + 1) - killed);
  }
  Settle(daemon.pid());
  Settle(libvirtd.pid());
  record->AddTimes("QEMU killed to STOPPED, durable" + of, our_times);
  record->AddTimes("libvirt: QEMU killed to lifecycle event" + of, their_times);
  record->AddEach("killed QEMUs, CPU a stop" + of, CpuOf(daemon.pid()) - our_cpu, domains);
  record->AddEach("libvirt: CPU a stop" + of, CpuOf(libvirtd.pid()) - their_cpu, domains);
}

}  // namespace vmeventd::bench
