// Measures a whole vmeventd under load: what a VM, a stop, an event and a stream cost, each next to
// the least that a program must do for it (floors.h) in the same run. The daemon's cost is its
// processor time, which a loaded machine changes less than the clock.
//
//   node_bench [--quick] [--json FILE] [--only PART] [--vms N]

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/unique_fd.h"
#include "tests/support/child_process.h"
#include "tests/support/daemon.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/files.h"
#include "tests/support/loopback.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tools/measure/fake_fleet.h"
#include "tools/measure/file_counter.h"
#include "tools/measure/floors.h"
#include "tools/measure/monitor_lines.h"
#include "tools/measure/other_observers.h"
#include "tools/measure/process_costs.h"
#include "tools/measure/record.h"
#include "tools/measure/subscribers.h"

namespace vmeventd::bench {
namespace {

// A directory of sockets in memory, a state directory on the disk, and the daemon between them.
class Node {
 public:
  Node() : sockets_("/dev/shm/vmebench-" + std::to_string(getpid())) {
    std::filesystem::create_directories(sockets_);
    state_.MakeDirectory("state");
  }
  ~Node() {
    daemon_.reset();
    std::filesystem::remove_all(sockets_);
  }
  // From here on a service manager stores what a stopping daemon leaves.
  void HaveServiceManager() {
    manager_ = std::make_unique<e2e::FakeServiceManager>(state_ / "notify");
  }
  size_t stored() const { return manager_->stored(); }
  // `tls`: also on a port of loopback, of which tls_address and tls_credentials are.
  void Start(bool track, bool tls = false) {
    e2e::DaemonOptions options;
    options.watches = {sockets_ + ":*.kvmd"};
    options.socket = state_ / "s";
    options.state_dir = state_ / "state";
    options.log_file = state_ / "log";
    options.tuning = {"event-limits=off"};
    options.arguments = {"--process-tracking", track ? "auto" : "off",
                         "--max-streams",      "8000",
                         "--log-level",        "warn"};
    if (tls) ListenWithTls(&options.arguments);
    std::vector<UniqueFd> stored;
    if (manager_ != nullptr) options.wrapper = manager_->Wrapper(&stored);
    daemon_ = std::make_unique<e2e::Daemon>(options);
  }
  void Stop() {
    daemon_->Signal(SIGTERM);
    daemon_->WaitExit();
    daemon_.reset();
  }
  // Once what the start left behind has been given back, 10 s after it.
  double SettledKib() const {
    absl::SleepFor(absl::Seconds(11));
    Settle(pid());
    return AnonymousKib(pid());
  }
  const std::string& sockets() const { return sockets_; }
  std::string address() const { return "unix:" + (state_ / "s"); }
  const std::string& tls_address() const { return tls_address_; }
  const std::shared_ptr<grpc::ChannelCredentials>& tls_credentials() const {
    return tls_credentials_;
  }
  pid_t pid() const { return daemon_->pid(); }

 private:
  void ListenWithTls(std::vector<std::string>* arguments) {
    const auto authority = MakeCertificateAuthority(state_ / "");
    const CertificateFiles files = authority->Issue(ServerCertificate());
    uint16_t port = 0;
    e2e::ListenOnLoopback(&port).Reset();  // the daemon takes the port
    tls_address_ = absl::StrCat("127.0.0.1:", port);
    arguments->insert(arguments->end(), {"--listen", tls_address_, "--tls-cert", files.certificate,
                                         "--tls-key", files.key});
    tls_credentials_ =
        grpc::SslCredentials({.pem_root_certs = e2e::ReadFile(authority->certificate())});
  }

  const std::string sockets_;
  std::string tls_address_;
  std::shared_ptr<grpc::ChannelCredentials> tls_credentials_;
  const TemporaryDirectory state_;
  std::unique_ptr<e2e::FakeServiceManager> manager_;
  std::unique_ptr<e2e::Daemon> daemon_;
};

void WaitAttached(const FakeFleet& fleet) {
  e2e::WaitUntil("the daemon follows every VM", [&] { return fleet.Attached() == fleet.size(); });
}

// `count` events of the VMs in turn.
void SendEvents(FakeFleet* fleet, int first_vm, int vms, int count) {
  for (int i = 0; i < count; ++i) {
    fleet->Send(first_vm + i % vms, i / vms % 2 == 0 ? kStopLine : kResumeLine);
  }
}

// Returns how many VMs a daemon follows under this process's limit of descriptors. A VM takes two.
// VMs may have three quarters of all descriptors, less an eighth for files, and those of one user
// three quarters of that.
int MaxVms() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 4 * 3 / 8 * 7 / 4 * 3 / 2, 9000)) /
         100 * 100;
}

struct Plan {
  bool quick = false;
  bool only_memory = false;
  int only_vms = 0;  // 0: several sizes
  int vms() const { return only_vms != 0 ? only_vms : quick ? 1000 : MaxVms(); }
  int single() const { return quick ? 100 : 400; }
  std::vector<int> sizes() const {
    if (only_vms != 0) return {only_vms};
    return quick ? std::vector{100, 1000} : std::vector{100, 1000, 3000, MaxVms()};
  }
  // ganeti-kvmd ends at 1,024 descriptors.
  std::vector<int> kvmd_sizes() const {
    return quick ? std::vector{100} : std::vector{100, 300, 1000};
  }
  std::vector<int> domains() const { return quick ? std::vector{5} : std::vector{30}; }
  std::vector<int> named_streams() const {
    return quick ? std::vector{1, 100} : std::vector{1, 1000};
  }
  std::vector<int> streams() const {
    return quick ? std::vector{1, 100} : std::vector{1, 10, 100, 1000, 2000, 4000};
  }
};

// The memory of a daemon without VMs, in KiB.
double MeasureEmpty(Record* record) {
  Node node;
  node.Start(false);
  const double empty = node.SettledKib();
  record->Add("memory of a daemon without VMs", empty / 1024, "MiB");
  node.Stop();
  return empty;
}

void MeasureIdle(pid_t pid, const std::string& of, Record* record) {
  const absl::Duration cpu = CpuOf(pid);
  const double wakeups = Wakeups(pid);
  absl::SleepFor(absl::Seconds(20));
  record->Add("idle, CPU in 20 s" + of, absl::ToDoubleMilliseconds(CpuOf(pid) - cpu), "ms");
  record->Add("idle, wake-ups in 20 s" + of, Wakeups(pid) - wakeups, "");
}

// Measures the cost of a VM, of `vms` of them. `empty`: the memory of a daemon without VMs, in KiB;
// unset: memory is not measured, which takes half a minute.
void MeasureVms(const Plan& plan, int vms, std::optional<double> empty, Record* record) {
  const bool full = vms == plan.vms();
  const std::string of = absl::StrCat(" of ", vms, " VMs");
  Node node;
  FakeFleet fleet(node.sockets(), vms);
  absl::Time begin = absl::Now();
  node.Start(false);
  WaitAttached(fleet);
  Settle(node.pid());
  record->AddEach("attach, CPU a VM" + of, CpuOf(node.pid()), vms);
  if (empty.has_value()) {
    record->Add("memory a VM" + of, (node.SettledKib() - *empty) / vms, "KiB");
  }
  if (full && empty.has_value()) {
    if (!plan.only_memory) MeasureIdle(node.pid(), of, record);
    node.Stop();
    begin = absl::Now();
    node.Start(false);
    const absl::Duration serving = absl::Now() - begin;
    WaitAttached(fleet);
    record->Add("restart until serving" + of, absl::ToDoubleSeconds(serving), "s");
    record->Add("restart until all are followed" + of, absl::ToDoubleSeconds(absl::Now() - begin),
                "s");
    Settle(node.pid());
    record->AddEach("restart, CPU a VM" + of, CpuOf(node.pid()), vms);
    record->Add("memory a VM after a restart" + of, (node.SettledKib() - *empty) / vms, "KiB");
  }
  if (plan.only_memory) return;

  // Events.
  uint64_t delivered = 0;
  {
    Subscribers one(node.address(), 1);
    if (full) {
      std::vector<absl::Duration> times;
      for (int i = 0; i < plan.single(); ++i) {
        const absl::Time sent = absl::Now();
        SendEvents(&fleet, i % vms, 1, 1);
        times.push_back(one.WaitDelivered(++delivered) - sent);
      }
      record->AddTimes("one event to one subscriber, durable", times);
    }
    const int burst = plan.quick ? 4000 : 20'000;
    Settle(node.pid());
    const absl::Duration cpu = CpuOf(node.pid());
    const double calls = FileCalls(node.pid());
    begin = absl::Now();
    SendEvents(&fleet, 0, vms, burst);
    const absl::Time end = one.WaitDelivered(delivered + static_cast<uint64_t>(burst));
    Settle(node.pid());
    record->AddEach("burst to one subscriber, CPU an event" + of, CpuOf(node.pid()) - cpu, burst);
    record->Add("burst to one subscriber, file reads and writes an event" + of,
                (FileCalls(node.pid()) - calls) / burst, "");
    if (full) {
      record->Add("burst to one subscriber" + of, burst / absl::ToDoubleSeconds(end - begin), "/s");
    }
  }

  // Stops.
  int next = 0;
  FileCounter files(node.sockets());
  std::vector<absl::Duration> times;
  for (; next < std::min(plan.single(), vms) / 2; ++next) {
    const absl::Time closed = absl::Now();
    fleet.Stop(next);
    times.push_back(files.Wait(next + 1) - closed);
  }
  record->AddTimes("socket closed to shutdown file" + of, times);
  Subscribers subscribers(node.address(), full ? 100 : 1);
  const int streams = full ? 100 : 1;
  Settle(node.pid());
  const int left = vms - next;
  const absl::Duration cpu = CpuOf(node.pid());
  const double calls = FileCalls(node.pid());
  begin = absl::Now();
  for (; next < vms; ++next) fleet.Stop(next);
  const absl::Time written = files.Wait(vms);
  const absl::Time sent = subscribers.WaitDelivered(static_cast<uint64_t>(left) * streams);
  Settle(node.pid());
  if (full) {
    record->Add("all stop at once, until the last file" + of,
                absl::ToDoubleSeconds(written - begin), "s");
    record->Add("all stop at once, durable at 100 subscribers" + of,
                absl::ToDoubleSeconds(sent - begin), "s");
  }
  record->Add("all stop at once, file reads and writes a stop" + of,
              (FileCalls(node.pid()) - calls) / left, "");
  record->AddEach("all stop at once, CPU a stop" + of, CpuOf(node.pid()) - cpu, left);
}

// Starts a daemon that resumes the VMs that the previous one has left.
void MeasureStartAgain(Node* node, bool track, int vms, const std::string& of, Record* record) {
  e2e::WaitUntil("the daemon has left its VMs", [&] { return node->stored() == 1; });
  const absl::Time begin = absl::Now();
  node->Start(track);
  record->Add("restart until all are followed" + of, absl::ToDoubleSeconds(absl::Now() - begin),
              "s");
  Settle(node->pid());
  record->AddEach("restart, CPU a VM" + of, CpuOf(node->pid()), vms);
}

// Measures a restart that hands over `vms` VMs, through a stand-in for the service manager. A
// daemon serves once it has resumed them; that it follows each of them shows when all stop.
void MeasureRestart(int vms, Record* record) {
  const std::string of = absl::StrCat(" of ", vms, " VMs that are handed over");
  Node node;
  FakeFleet fleet(node.sockets(), vms);
  node.HaveServiceManager();
  node.Start(false);
  WaitAttached(fleet);
  Settle(node.pid());
  const uint64_t commands = fleet.commands();
  const absl::Time begin = absl::Now();
  node.Stop();
  record->Add("stop" + of, absl::ToDoubleSeconds(absl::Now() - begin), "s");
  MeasureStartAgain(&node, false, vms, of, record);
  record->Add("restart, commands to QEMU" + of, static_cast<double>(fleet.commands() - commands),
              "");
  FileCounter files(node.sockets());
  for (int vm = 0; vm < vms; ++vm) fleet.Stop(vm);
  files.Wait(vms);
}

// The same with a process for each VM, and so two descriptors.
void MeasureTrackedRestart(int vms, Record* record) {
  const std::string of = absl::StrCat(" of ", vms, " tracked processes that are handed over");
  Node node;
  FakeProcesses processes(node.sockets(), vms);
  node.HaveServiceManager();
  node.Start(true);
  Settle(node.pid());
  node.Stop();
  MeasureStartAgain(&node, true, vms, of, record);
  FileCounter files(node.sockets());
  processes.StopAll();
  files.Wait(vms);
}

// The floor of the files.
void MeasureFileFloor(const Plan& plan, Record* record) {
  Node node;
  const int vms = plan.vms();
  FakeFleet fleet(node.sockets(), vms);
  e2e::ChildProcess floor({{"/proc/self/exe", "--file-floor", node.sockets()}, {}, "", {}});
  floor.ReadUntil("connected\n");
  FileCounter files(node.sockets());
  std::vector<absl::Duration> times;
  int next = 0;
  for (; next < plan.single() / 2; ++next) {
    const absl::Time closed = absl::Now();
    fleet.Stop(next);
    times.push_back(files.Wait(next + 1) - closed);
  }
  record->AddTimes("floor: socket closed to shutdown file", times);
  const absl::Time begin = absl::Now();
  for (; next < vms; ++next) fleet.Stop(next);
  record->Add("floor: all stop at once, until the last file",
              absl::ToDoubleSeconds(files.Wait(vms) - begin), "s");
}

// Measures the cost of a stream, of `count` of them.
void MeasureStreams(const Plan& plan, int count, bool tls, Record* record) {
  const std::string to = absl::StrCat(" to ", count, " subscribers", tls ? " over TLS" : "");
  const int events = std::min(plan.quick ? 2000 : 20'000, 2'000'000 / count);
  constexpr int kVms = 100;
  const auto million = static_cast<double>(events) * count / 1e6;
  Node node;
  FakeFleet fleet(node.sockets(), kVms);
  node.Start(false, tls);
  WaitAttached(fleet);
  Settle(node.pid());
  const double before = AnonymousKib(node.pid());
  const auto n = static_cast<uint64_t>(count);
  uint64_t sent = 0;
  Subscribers subscribers(tls ? node.tls_address() : node.address(), count,
                          tls ? node.tls_credentials() : grpc::InsecureChannelCredentials());
  Settle(node.pid());
  record->Add("memory a subscriber" + to, (AnonymousKib(node.pid()) - before) / count, "KiB");
  std::vector<absl::Duration> times;
  for (int i = 0; i < plan.single() / 4; ++i) {
    const absl::Time begin = absl::Now();
    SendEvents(&fleet, i % kVms, 1, 1);
    times.push_back(subscribers.WaitDelivered(++sent * n) - begin);
  }
  record->AddTimes("one event" + to, times);
  Settle(node.pid());
  const absl::Duration cpu = CpuOf(node.pid());
  const absl::Time begin = absl::Now();
  SendEvents(&fleet, 0, kVms, events);
  sent += static_cast<uint64_t>(events);
  const absl::Time end = subscribers.WaitDelivered(sent * n);
  record->Add("fan-out, CPU a million deliveries" + to,
              absl::ToDoubleSeconds(CpuOf(node.pid()) - cpu) / million, "s");
  record->Add("fan-out, deliveries" + to, million * 1e6 / absl::ToDoubleSeconds(end - begin), "/s");
}

// Measures the cost of an event that one of `count` streams wants, each of which names another VM.
void MeasureNamedStreams(const Plan& plan, int count, Record* record) {
  const int vms = std::max(plan.vms(), count);
  const std::string of = absl::StrCat(" of ", count, " streams of one VM each");
  Node node;
  FakeFleet fleet(node.sockets(), vms);
  node.Start(false);
  WaitAttached(fleet);
  std::vector<v1::WatchEventsRequest> requests(count);
  for (int i = 0; i < count; ++i) {
    requests[i].mutable_filter()->add_vm_names(FakeFleet::Name(i));
  }
  Subscribers subscribers(node.address(), requests);
  Settle(node.pid());
  const absl::Duration cpu = CpuOf(node.pid());
  const int events = plan.single() * 2;
  std::vector<absl::Duration> times;
  for (int i = 0; i < events; ++i) {
    const absl::Time begin = absl::Now();
    SendEvents(&fleet, i % count, 1, 1);
    times.push_back(subscribers.WaitDelivered(static_cast<uint64_t>(i) + 1) - begin);
  }
  Settle(node.pid());
  record->AddEach("one event, CPU" + of, CpuOf(node.pid()) - cpu, events);
  record->AddTimes("one event to one" + of, times);
}

// Measures the cost of a stream of a server that only sends; `durable`: and syncs each event.
void MeasureGrpcFloor(const Plan& plan, int count, bool durable, Record* record) {
  const TemporaryDirectory directory;
  const std::string address = "unix:" + (directory / "s");
  const std::string to = absl::StrCat(durable ? ", durable" : "", " to ", count, " subscribers");
  e2e::ChildProcess floor(
      {{"/proc/self/exe", "--grpc-floor", address, durable ? directory / "f" : ""}, {}, "", {}});
  Settle(floor.pid());
  const double before = AnonymousKib(floor.pid());
  Subscribers subscribers(address, count);
  Settle(floor.pid());
  if (!durable) {
    record->Add("floor: memory a subscriber" + to, (AnonymousKib(floor.pid()) - before) / count,
                "KiB");
  }
  uint64_t sent = 0;
  const auto n = static_cast<uint64_t>(count);
  std::vector<absl::Duration> times;
  for (int i = 0; i < (count > 100 ? plan.single() / 4 : plan.single()); ++i) {
    const absl::Time begin = absl::Now();
    floor.Write("1\n");
    times.push_back(subscribers.WaitDelivered(++sent * n) - begin);
  }
  record->AddTimes("floor: one event" + to, times);
  if (durable) return;
  Settle(floor.pid());
  const int events = std::min(plan.quick ? 2000 : 20'000, 400'000 / count);
  const auto million = static_cast<double>(events) * count / 1e6;
  const absl::Duration cpu = CpuOf(floor.pid());
  const absl::Time begin = absl::Now();
  floor.Write(absl::StrCat(events, "\n"));
  const absl::Time end = subscribers.WaitDelivered((sent + static_cast<uint64_t>(events)) * n);
  record->Add("floor: fan-out, CPU a million deliveries" + to,
              absl::ToDoubleSeconds(CpuOf(floor.pid()) - cpu) / million, "s");
  record->Add("floor: fan-out, deliveries" + to, million * 1e6 / absl::ToDoubleSeconds(end - begin),
              "/s");
}

void MeasureTracked(int vms, Record* record) {
  Node node;
  FakeProcesses processes(node.sockets(), vms);
  node.Start(true);
  const double full = node.SettledKib();
  record->Add(absl::StrCat("memory of a daemon that tracks ", vms, " processes"), full / 1024,
              "MiB");
  const absl::Duration cpu = CpuOf(node.pid());
  FileCounter files(node.sockets());
  processes.StopAll();
  files.Wait(vms);
  Settle(node.pid());
  record->AddEach(absl::StrCat("all stop at once, CPU a stop of ", vms, " tracked processes"),
                  CpuOf(node.pid()) - cpu, vms);
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "--file-floor") {
    RunFileFloor(arguments[1]);
    return 0;
  }
  if (arguments.size() == 3 && arguments[0] == "--grpc-floor") {
    RunGrpcFloor(arguments[1], arguments[2]);
    return 0;
  }
  Plan plan;
  std::string json;
  std::string only;
  CLI::App app;
  app.add_flag("--quick", plan.quick);
  app.add_option("--json", json);
  app.add_option("--vms", plan.only_vms);
  app.add_option("--only", only)
      ->check(CLI::IsMember({"vms", "memory", "restart", "streams", "named", "tracked", "others"}));
  CLI11_PARSE(app, argc, argv);
  Record record;
  const auto wanted = [&](const char* part) { return only.empty() || only == part; };
  plan.only_memory = only == "memory";
  if ((wanted("tracked") || plan.only_memory) && (!plan.quick || !only.empty())) {
    MeasureTracked(plan.quick ? 500 : 4000, &record);
  }
  if (wanted("restart")) {
    // Forks first: while the program has one thread.
    MeasureTrackedRestart(plan.vms(), &record);
    MeasureRestart(plan.vms(), &record);
  }
  if (wanted("vms")) {
    MeasureFileFloor(plan, &record);
    std::optional<double> empty;
    if (!plan.quick && plan.only_vms == 0) empty = MeasureEmpty(&record);
    for (const int vms : plan.sizes()) MeasureVms(plan, vms, empty, &record);
    MeasureGrpcFloor(plan, 1, true, &record);
  }
  if (plan.only_memory) MeasureVms(plan, plan.vms(), MeasureEmpty(&record), &record);
  if (wanted("others")) {
    for (const int vms : plan.kvmd_sizes()) MeasureKvmd(vms, &record);
    for (const int domains : plan.domains()) MeasureLibvirt(domains, &record);
  }
  if (wanted("streams")) {
    for (const int count : plan.streams()) {
      if (count == 1 || count == 100 || count == 1000) {
        MeasureGrpcFloor(plan, count, false, &record);
      }
      MeasureStreams(plan, count, false, &record);
      if (count == 100 || count == 1000) MeasureStreams(plan, count, true, &record);
    }
    if (!plan.quick) MeasureGrpcFloor(plan, 1000, true, &record);
  }
  if (wanted("named")) {
    for (const int count : plan.named_streams()) MeasureNamedStreams(plan, count, &record);
  }
  if (!json.empty()) record.Write(json);
  return 0;
}

}  // namespace
}  // namespace vmeventd::bench

int main(int argc, char** argv) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  try {
    return vmeventd::bench::Main(argc, argv);
  } catch (const std::exception& failure) {  // so that what was started is ended
    std::fprintf(stderr, "node_bench: %s\n", failure.what());
    return 1;
  }
}
