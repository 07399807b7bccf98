#include "tests/bench/other_observers.h"

#include <libvirt/libvirt.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "tests/bench/fake_fleet.h"
#include "tests/support/child_process.h"
#include "tests/support/daemon.h"
#include "tests/support/event_stream.h"
#include "tests/support/files.h"
#include "tests/support/libvirt/libvirtd.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace vmeventd::bench {
namespace {

constexpr char kKvmd[] = "/usr/lib/ganeti/3.0/usr/sbin/ganeti-kvmd";

// kvmd watches one fixed path: it runs in a mount namespace that has a directory of ours there.
constexpr char kRunKvmd[] = R"sh(
mount -t tmpfs none /run &&
mkdir -p /run/ganeti/kvm-hypervisor/ctrl &&
mount --bind "$1" /run/ganeti/kvm-hypervisor/ctrl &&
exec "$2" -f --no-user-checks >"$3" 2>&1)sh";

bool CanRunKvmd() {
  if (access(kKvmd, X_OK) != 0) return false;
  return e2e::RunCommand({.arguments = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none /run"}})
             .exit_code == 0;
}

// The real ganeti-kvmd on a directory. It reads the facts it needs of its cluster from files below
// $GANETI_ROOTDIR.
std::unique_ptr<e2e::ChildProcess> StartKvmd(const std::string& watched, const std::string& root) {
  const std::string config = root + "/var/lib/ganeti";
  for (const std::string& made :
       {config, root + "/var/log/ganeti", root + "/var/run/ganeti", root + "/var/lock"}) {
    std::filesystem::create_directories(made);
  }
  std::ofstream(config + "/ssconf_hypervisor_list") << "kvm\n";
  std::ofstream(config + "/ssconf_enabled_user_shutdown") << "True\n";
  std::ofstream(config + "/ssconf_node_vm_capable") << "localhost=True\n";
  e2e::ChildOptions options;
  options.arguments = {"unshare", "-m", "--propagation", "private", "sh",         "-c",
                       kRunKvmd,  "sh", watched,         kKvmd,     root + "/log"};
  options.environment = {"GANETI_ROOTDIR=" + root, "GANETI_HOSTNAME=localhost"};
  return std::make_unique<e2e::ChildProcess>(options);
}

// A kvmd that follows `vms` fake monitors in memory.
class KvmdNode {
 public:
  explicit KvmdNode(int vms)
      : sockets_(absl::StrCat("/dev/shm/vmebench-kvmd-", getpid())),
        fleet_((std::filesystem::create_directories(sockets_), sockets_), vms),
        kvmd_(StartKvmd(sockets_, root_.path())) {
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

// When which domain stopped, as a client of libvirt's event API hears it.
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

  // Returns when the `count`th domain stopped.
  absl::Time WaitStopped(size_t count) {
    e2e::WaitUntil("libvirt reports the end of a domain", [&] {
      const MutexLock lock(&mutex_);
      return stopped_.size() >= count;
    });
    const MutexLock lock(&mutex_);
    return stopped_[count - 1];
  }

 private:
  static void OnEvent(virConnectPtr /*connection*/, virDomainPtr /*domain*/, int event,
                      int /*detail*/, void* self) {
    const absl::Time now = absl::Now();
    if (event != VIR_DOMAIN_EVENT_STOPPED) return;
    auto* const events = static_cast<LifecycleEvents*>(self);
    const MutexLock lock(&events->mutex_);
    events->stopped_.push_back(now);
  }

  virConnectPtr connection_ = nullptr;
  std::atomic<bool> stop_{false};
  Mutex mutex_;
  std::vector<absl::Time> stopped_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// When which VM stopped, as a client of vmeventd hears it.
class StoppedEvents {
 public:
  explicit StoppedEvents(e2e::Daemon* daemon)
      : stream_(daemon->channel(), {}, [this](const v1::Event& event) {
          const absl::Time now = absl::Now();
          if (event.type() != v1::EVENT_TYPE_STOPPED) return;
          const MutexLock lock(&mutex_);
          stopped_.push_back(now);
        }) {
    stream_.WaitProgress();
  }
  absl::Time WaitStopped(size_t count) {
    e2e::WaitUntil("vmeventd reports the end of a VM", [&] {
      const MutexLock lock(&mutex_);
      return stopped_.size() >= count;
    });
    const MutexLock lock(&mutex_);
    return stopped_[count - 1];
  }

 private:
  Mutex mutex_;
  std::vector<absl::Time> stopped_ ABSL_GUARDED_BY(mutex_);
  e2e::EventStream stream_;  // last: its thread uses the rest
};

}  // namespace

void MeasureKvmd(int vms, Record* record) {
  if (!CanRunKvmd()) {
    std::printf("ganeti-kvmd is not measured: that takes root and Debian's ganeti-haskell-3.0\n");
    return;
  }
  const std::string of = absl::StrCat(" of ", vms, " VMs");
  double alone = 0;
  {
    const KvmdNode node(1);
    alone = AnonymousKib(node.pid());
  }
  KvmdNode node(vms);
  record->Add("kvmd: attach, CPU a VM" + of, absl::ToDoubleMicroseconds(CpuOf(node.pid())) / vms,
              "us");
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
  record->Add("kvmd: CPU a stop" + of, absl::ToDoubleMicroseconds(CpuOf(node.pid()) - cpu) / vms,
              "us");
}

void MeasureLibvirt(int domains, Record* record) {
  if (!e2e::CanRunLibvirtd() || !e2e::Exists("/usr/bin/qemu-system-x86_64")) {
    std::printf(
        "libvirt is not measured: that takes root, and Debian's libvirt-daemon and "
        "qemu-system-x86\n");
    return;
  }
  const std::string of = absl::StrCat(" of ", domains, " domains");
  // libvirt waits for the end of the zombie: the QEMUs are reaped here, at once, as a host's init
  // does.
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) e2e::FailErrno("cannot become a subreaper");
  const TemporaryDirectory directory;
  const std::string monitors = directory.MakeDirectory("qmp");
  e2e::DaemonOptions options;
  options.watches = {monitors};
  options.socket = directory / "s";
  options.state_dir = directory.MakeDirectory("state");
  options.log_file = directory / "log";
  options.arguments = {"--log-level", "warn"};
  e2e::Daemon daemon(options);
  e2e::Libvirtd libvirtd(directory / "libvirt");
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
  record->Add("killed QEMUs, CPU a stop" + of,
              absl::ToDoubleMicroseconds(CpuOf(daemon.pid()) - our_cpu) / domains, "us");
  record->Add("libvirt: CPU a stop" + of,
              absl::ToDoubleMicroseconds(CpuOf(libvirtd.pid()) - their_cpu) / domains, "us");
}

}  // namespace vmeventd::bench
