#include "tests/simulation/world.h"

#include <algorithm>
#include <csignal>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "watcher/core/run_id.h"

namespace vmeventd::simulation {
namespace {

// Major and minor.
constexpr std::pair<int, int> kVersions[] = {{2, 10}, {2, 12}, {3, 1},  {4, 2},
                                             {7, 2},  {8, 2},  {10, 0}, {11, 0}};

}  // namespace

World::World(Kernel* kernel, Random* random, Story* story, Libvirtd* libvirtd, const Plan& plan)
    : kernel_(kernel), random_(random), story_(story), libvirtd_(libvirtd), plan_(plan) {
  for (int64_t i = 0; i < plan_.names + plan_.domains; ++i) {
    const std::string name =
        i < plan_.names ? absl::StrCat("vm", i + 1) : absl::StrCat("dom", i - plan_.names + 1);
    Within(absl::ZeroDuration(), absl::Seconds(20), [this, name] { Begin(name); });
  }
}

absl::Duration World::next() const {
  return agenda_.empty() ? absl::InfiniteDuration() : agenda_.begin()->first.first;
}

void World::At(absl::Duration at, std::function<void()> what) {
  agenda_.emplace(std::pair(at, ++serial_), std::move(what));
}

void World::RunDue() {
  if (agenda_.empty() || agenda_.begin()->first.first > now()) return;
  const std::function<void()> what = std::move(agenda_.begin()->second);
  agenda_.erase(agenda_.begin());
  what();
}

void World::Within(absl::Duration low, absl::Duration high, std::function<void()> what) {
  At(now() + random_->Between(low, high), std::move(what));
}

void World::In(absl::Duration low, absl::Duration high, Life* life, std::function<void()> what) {
  Within(low, high, [life, what = std::move(what)] {
    if (!life->process_gone) what();
  });
}

std::string World::RunIdOf(const std::string& path, const Process& process) const {
  return MakeRunId({.boot_id = kernel_->boot_id(),
                    .monitor_path = path,
                    .pid = process.pid,
                    .start_ticks = process.start_ticks});
}

std::string World::CommandLineOf(Life* life) {
  std::vector<std::string> arguments = {"qemu-system-x86_64", "-qmp",
                                        absl::StrCat("unix:", life->socket, ",server=on")};
  if (random_->OneIn(4)) {
    arguments[0] = "/usr/bin/a-launcher";
    arguments.insert(arguments.end(), {"-name", "another", "-uuid", "another"});
  } else {
    story_->Reach("a QEMU's command line can be read");
    if (life->no_shutdown) arguments.emplace_back("-no-shutdown");
    life->guest_can_exit = random_->OneIn(8);
    if (life->guest_can_exit) arguments.insert(arguments.end(), {"-device", "isa-debug-exit"});
    if (!random_->OneIn(3)) arguments.insert(arguments.end(), {"-name", life->name});
    if (!random_->OneIn(3)) {
      arguments.insert(arguments.end(), {"-uuid", UuidOf(*life)});
    } else {
      arguments.insert(arguments.end(), {"-readconfig", "its UUID"});
    }
  }
  return absl::StrCat(absl::StrJoin(arguments, absl::string_view("\0", 1)),
                      absl::string_view("\0", 1));
}

void World::Begin(const std::string& name) {
  if (begun_ == plan_.lives) return;
  const bool is_domain = name.starts_with("dom");
  if (is_domain && !libvirtd_->runs()) {
    return At(now() + absl::Seconds(1), [this, name] { Begin(name); });
  }
  lives_.push_back(std::make_unique<Life>());
  Life* const life = lives_.back().get();
  life->number = ++begun_;
  life->name = name;
  std::tie(life->major, life->minor) = kVersions[random_->Below(std::size(kVersions))];
  life->no_shutdown = random_->OneIn(4);
  life->no_reboot = random_->OneIn(4);
  life->began = now();
  life->process = kernel_->Start(absl::StrCat("/vm-", life->number));
  if (random_->OneIn(4)) {
    story_->Reach("a cgroup has an earlier kill for memory");
    kernel_->CountOomKill(life->process->cgroup);
  }
  life->socket = absl::StrCat(kWatchedDirectory, "/", name, ".kvmd");
  life->listed_as = name;
  life->process->command_line = CommandLineOf(life);
  if (life->process->command_line.starts_with("qemu") && random_->OneIn(8)) {
    story_->Reach("a QEMU has another name");  // -name process=
    life->process->program = name;
  }
  life->boot_id = kernel_->boot_id();
  life->run_id = RunIdOf(life->socket, *life->process);
  story_->Log(name, absl::StrFormat("life %d: QEMU %d.%d starts, pid %d%s%s", life->number,
                                    life->major, life->minor, life->process->pid,
                                    life->no_shutdown ? ", -no-shutdown" : "",
                                    life->no_reboot ? ", -no-reboot" : ""));
  if (is_domain) return BeginDomain(life);
  BeginSocket(life);
}

void World::BeginSocket(Life* life) {
  const std::string& name = life->name;
  // Ganeti removes the file; others do not.
  if (!random_->OneIn(3)) kernel_->Unlink(absl::StrCat(kWatchedDirectory, "/", name, ".shutdown"));
  if (random_->OneIn(10)) {
    story_->Log("host", "the queue of file events is full");
    story_->Reach("the inotify queue overflows");
    kernel_->FillInotifyQueue(kWatchedDirectory);
    At(now() + kFollowsAgain + absl::Seconds(1), [this] { after_overflow_(); });
  }
  kernel_->Unlink(life->socket);
  kernel_->Unlink(SecondSocketOf(*life));
  if (plan_.calm == 0 && random_->OneIn(6)) {
    BeginLauncher(life);
  }
  ProcessPtr listens = life->process;
  if (life->launcher != nullptr) listens = life->launcher;
  life->listener = kernel_->Bind(life->socket, listens);
  life->socket_inode = life->listener->file->inode;
  In(absl::ZeroDuration(), absl::Milliseconds(2), life, [this, life] {
    life->listener->listening = true;
    life->kept_at = now();
    if (plan_.calm == 0 && random_->OneIn(8)) ManagerConnects(life);
  });
  In(absl::Milliseconds(1), absl::Seconds(3), life, [this, life] {
    SendEvent(life, Report::Kind::kResume, "RESUME", "");
    NextStep(life);
  });
}

void World::BeginLauncher(Life* life) {
  std::erase_if(launchers_,
                [](const ProcessPtr& each) { return each->state != Process::State::kLives; });
  if (!launchers_.empty() && random_->OneIn(2)) {
    life->launcher = random_->Pick(launchers_);
    story_->Log(life->name, "the launcher ", life->launcher->pid, " of others listens for it");
    return story_->Reach("a launcher listens for several QEMUs");
  }
  const ProcessPtr launcher = kernel_->Start("/launcher");
  launcher->program = "libvirtd";
  life->launcher = launcher;
  const bool leaves = random_->OneIn(2);
  if (!leaves) launchers_.push_back(launcher);
  story_->Log(life->name, "its launcher ", launcher->pid, " listens for it, and ",
              leaves ? "leaves" : "stays");
  story_->Reach(leaves ? "a launcher listens and leaves" : "a launcher listens and stays");
  const absl::Duration stays = leaves ? absl::Milliseconds(20) : absl::Seconds(100);
  Within(absl::ZeroDuration(), stays, [this, life, launcher] {
    if (launcher->state != Process::State::kLives) return;
    story_->Log(life->name, "its launcher ", launcher->pid, " is gone");
    if (!life->gone && life->daemons.empty()) {
      story_->Reach("a launcher ends before its QEMU has sent anything");
    }
    // The launcher is known by its id alone, if there is no SO_PEERPIDFD: nobody else has it
    // meanwhile.
    if (kernel_->features().peer_pidfd) return EndHelper(launcher);
    kernel_->Exit(launcher, 0);
    ReapLauncher(launcher);
  });
}

void World::NextStep(Life* life) {
  if (!life->uuid.empty()) return NextDomainStep(life);
  constexpr Step kSteps[] = {&World::Reboot,
                             &World::StopAndContinue,
                             &World::Sleep,
                             &World::PanicAndReset,
                             &World::DiskError,
                             &World::PressIgnored,
                             &World::DownAndUp,
                             &World::WatchdogPause,
                             &World::DeclareIntent,
                             &World::MigrationFails,
                             &World::HostBeginsToShutDown,
                             &World::HibernatesInVain,
                             &World::WatchdogResets,
                             &World::WatchdogIsOutlived,
                             &World::ReturnsToSnapshot,
                             &World::InternalError,
                             &World::AnotherIsOutOfMemory,
                             &World::DownAndUpUnseen,
                             &World::LoseMonitor,
                             &World::Hang,
                             &World::HangPaused,
                             &World::ManagerConnects,
                             &World::AddSocket};
  constexpr size_t kCalm = 5;  // the last ones are left out of a calm world
  constexpr Step kEndings[] = {&World::GuestPowersOff,
                               &World::PowerdownObeyed,
                               &World::Quit,
                               &World::Signal,
                               &World::Kill,
                               &World::KillForMemory,
                               &World::EndByHost,
                               &World::DebuggerKills,
                               &World::GuestExits,
                               &World::EndsWithHost,
                               &World::Crash,
                               &World::OutOfMemory,
                               &World::Panic,
                               &World::PanicPauseQuit,
                               &World::RebootExit,
                               &World::WatchdogPoweroff,
                               &World::WatchdogShutdown,
                               &World::WatchdogPauseQuit,
                               &World::Hibernate,
                               &World::Migrate,
                               &World::KilledAsItMigrates,
                               &World::HostError,
                               &World::WindowClosed,
                               &World::ExitsSilently,
                               &World::StaysDown,
                               &World::StopQuit};
  const bool ends = random_->OneIn(3);
  const Step step = ends
                        ? kEndings[random_->Below(std::size(kEndings))]
                        : kSteps[random_->Below(std::size(kSteps) - (plan_.calm != 0 ? kCalm : 0))];
  const absl::Duration high = random_->OneIn(6) ? absl::Minutes(15) : absl::Seconds(10);
  In(absl::ZeroDuration(), high, life, [this, life, step] { (this->*step)(life); });
}

// The monitor

std::string World::SecondSocketOf(const Life& life) {
  return absl::StrCat(kWatchedDirectory, "/", life.name, "-b.kvmd");
}

// A client of one of two sockets has the other one wait.
std::deque<ConnectionPtr>* World::WaitingAt(const Life& life) {
  for (const ListenerPtr& listener : {life.listener, life.second}) {
    if (listener == nullptr || !listener->listening) continue;
    if (!listener->waiting.empty()) return &listener->waiting;
  }
  return nullptr;
}

bool World::HasWork(const Life& life) const {
  if (life.hangs || life.process_gone || !life.listener->listening) return false;
  if (life.client == nullptr) return WaitingAt(life) != nullptr;
  return life.client->client_closed || life.client->to_server.find('\n') != std::string::npos;
}

bool World::HasHalfALine() const {
  return std::any_of(lives_.begin(), lives_.end(), [](const auto& life) {
    return life->client != nullptr && life->client_daemon != 0 && life->negotiated &&
           life->client->in_line && !life->client->to_client.empty();
  });
}

bool World::IsAskedInVain() const {
  return std::any_of(lives_.begin(), lives_.end(), [](const auto& life) {
    return life->hangs && life->negotiated && life->client != nullptr && life->client_daemon != 0 &&
           life->client->to_server.find('\n') != std::string::npos;
  });
}

bool World::QemuTurn() {
  std::vector<Life*> ready;
  for (const std::unique_ptr<Life>& life : lives_) {
    if (life->second != nullptr && !life->hangs) {
      std::erase_if(life->second->waiting, [](const auto& each) { return each->client_closed; });
    }
    if (HasWork(*life)) ready.push_back(life.get());
  }
  if (ready.empty()) return false;
  Serve(random_->Pick(ready));
  return true;
}

void World::Serve(Life* life) {
  if (life->client == nullptr) {
    std::deque<ConnectionPtr>* const waiting = WaitingAt(*life);
    if (waiting != &life->listener->waiting) story_->Reach("a QEMU is reached by its other socket");
    life->client = waiting->front();
    waiting->pop_front();
    life->negotiated = false;
    if (life->client->client_closed) {
      life->client = nullptr;
      return;
    }
    life->client_daemon = life->client->of_daemon ? daemon_ : 0;
    if (life->client_daemon != 0) {
      life->daemons.insert(life->client_daemon);
      if (life->attached == nullptr) life->earlier_inode = life->client->last_inode;
      life->attached = life->client;
    }
    Send(life, absl::StrFormat("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": %d, "
                               "\"major\": %d}, \"package\": \"\"}, \"capabilities\": []}}\r\n",
                               life->minor, life->major));
    life->answered_at = now();
    return;
  }
  if (life->client->client_closed) {
    Kernel::CloseServer(life->client);
    if (life->client_daemon != 0) life->unseen_at = now();
    life->client = nullptr;
    life->negotiated = false;
    return;
  }
  if (life->client_daemon != 0) CheckPace(*life);
  const size_t end = life->client->to_server.find('\n');
  const std::string command = life->client->to_server.substr(0, end);
  life->client->to_server.erase(0, end + 1);
  life->answered_at = now();
  Answer(life, command);
}

void World::CheckPace(const Life& life) const {
  const std::string& commands = life.client->to_server;
  // A question of a daemon that crashed is answered now.
  if (commands.find('\n') + 1 != commands.size()) {
    story_->Fail("the daemon sent more than one command: ", commands);
  }
  if (now() - life.answered_at < absl::Milliseconds(10)) {
    story_->Fail("the daemon asked too soon after an answer: ", commands);
  }
  const Report* down = nullptr;
  for (const Report& report : life.reports) {
    if (report.kind == Report::Kind::kReset || report.kind == Report::Kind::kResume) down = nullptr;
    if (report.kind == Report::Kind::kShutdown && down == nullptr) down = &report;
  }
  if (down != nullptr && down->received_on == life.client && down->daemon == life.client_daemon &&
      life.client->read_before_sending >= down->end) {
    story_->Fail("the daemon asked a VM that is down: ", commands);
  }
}

void World::Answer(Life* life, absl::string_view command) {
  const auto is = [command](absl::string_view name) {
    return command.find(absl::StrCat("\"", name, "\"")) != absl::string_view::npos;
  };
  if (is("qmp_capabilities")) {
    if (life->negotiated) story_->Fail("the daemon shakes hands once more");
    life->negotiated = true;
    Send(life, "{\"return\": {}}\r\n");
    // An event may come before the answers to what is asked next.
    if (plan_.calm == 0 && life->ending == nullptr && random_->OneIn(20)) {
      SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
    }
  } else if (is("query-status")) {
    const uint64_t begin = life->client->sent;
    Send(life, absl::StrCat("{\"return\": {\"status\": \"", life->run_state, "\"}}\r\n"));
    life->reports.push_back({.kind = Report::Kind::kRunState,
                             .text = life->run_state,
                             .at = now(),
                             .received_on = life->client,
                             .begin = begin,
                             .end = life->client->sent,
                             .daemon = life->client_daemon});
  } else if (is("query-uuid")) {
    Send(life, absl::StrCat("{\"return\": {\"UUID\": \"", UuidOf(*life), "\"}}\r\n"));
  } else if (is("query-name")) {
    Send(life, absl::StrCat("{\"return\": {\"name\": \"", life->name, "\"}}\r\n"));
  } else if (is("qom-list") || is("query-chardev")) {
    Send(life, "{\"return\": []}\r\n");
  } else {
    story_->Fail("the daemon sent ", command);
  }
}

void World::Send(Life* life, const std::string& bytes) {
  const size_t cut = random_->OneIn(4) ? random_->Below(bytes.size()) : bytes.size();
  Kernel::Send(life->client, absl::string_view(bytes).substr(0, cut), life->process->pid);
  if (cut < bytes.size()) {
    Kernel::Send(life->client, absl::string_view(bytes).substr(cut), life->process->pid);
  }
}

void World::SendEvent(Life* life, Report::Kind kind, absl::string_view event,
                      absl::string_view data, std::string text) {
  if (kind == Report::Kind::kReset) {
    life->pressed = life->voidable = -absl::InfiniteDuration();
    life->resumed_since = life->stricken = false;
  } else if (kind == Report::Kind::kResume) {
    life->resumed_since = life->voidable > -absl::InfiniteDuration();
  } else if (kind == Report::Kind::kPowerdown || kind == Report::Kind::kPanic ||
             kind == Report::Kind::kWatchdog) {
    life->voidable = now();
    if (kind != Report::Kind::kPowerdown) {
      life->stricken = true;
    } else {
      life->pressed = now();
      if (!life->stricken) life->resumed_since = false;
    }
  }
  Report report{
      .kind = kind, .text = std::move(text), .at = now(), .wall_us = kernel_->wall_ns() / 1000};
  const bool listens = life->client != nullptr && life->negotiated && !life->client->client_closed;
  if (!life->uuid.empty()) {
    libvirtd_->Forward(life, event, data, &report);
  } else if (listens) {
    const int64_t wall = kernel_->wall_ns();
    report.begin = life->client->sent;
    Send(life, absl::StrFormat("{\"timestamp\": {\"seconds\": %d, \"microseconds\": %d}, "
                               "\"event\": \"%s\"%s%s}\r\n",
                               wall / 1'000'000'000, wall % 1'000'000'000 / 1000, event,
                               data.empty() ? "" : ", \"data\": ", data));
    report.received_on = life->client;
    report.end = life->client->sent;
    report.daemon = life->client_daemon;
  }
  const absl::string_view to = report.received_on == nullptr ? "nobody listens"
                               : life->client_daemon == 0    ? "to a manager"
                                                             : "to the daemon";
  story_->Log(life->name, event, data.empty() ? "" : " ", data, " (", to, ")");
  life->reports.push_back(std::move(report));
}

void World::SendShutdown(Life* life, absl::string_view reason) {
  const bool guest = absl::string_view(reason).substr(0, 6) == "guest-";
  std::string data = absl::StrCat("{\"guest\": ", guest ? "true" : "false");
  if (life->major >= 4) absl::StrAppend(&data, ", \"reason\": \"", reason, "\"");
  data += "}";
  SendEvent(life, Report::Kind::kShutdown, "SHUTDOWN", data,
            life->major >= 4 ? std::string(reason) : "");
  life->reports.back().guest = guest;
  if (!random_->OneIn(8)) return;
  // Somebody declares an intent too late, perhaps before anyone has read that.
  In(absl::ZeroDuration(), absl::Microseconds(200), life,
     [this, life] { Declare(life, absl::Hours(2)); });
}

void World::Pause(Life* life, absl::string_view run_state) {
  life->run_state = std::string(run_state);
  SendEvent(life, Report::Kind::kStop, "STOP", "");
}

void World::Resume(Life* life) {
  life->run_state = "running";
  SendEvent(life, Report::Kind::kResume, "RESUME", "");
}

void World::ResumeWithin(absl::Duration high, Life* life) {
  In(absl::ZeroDuration(), high, life, [this, life] {
    Resume(life);
    NextStep(life);
  });
}

void World::Decide(Life* life, const Ending& ending) {
  if (life->ending != nullptr) return;
  life->ending = &ending;
  story_->Log(life->name, "truth: ", ending.what);
  story_->Reach("ending ", ending.what);
}

// The end

void World::CloseSockets(Life* life, bool unlink) {
  if (!life->uuid.empty()) return;
  if (life->client != nullptr) {
    Kernel::CloseServer(life->client);
    if (life->client_daemon != 0 && life->client_daemon == daemon_) life->left_daemon_at = now();
  }
  life->client = nullptr;
  life->negotiated = false;
  for (const ListenerPtr& listener : {life->listener, life->second}) {
    if (listener == nullptr) continue;
    const std::string path = listener == life->listener ? life->socket : SecondSocketOf(*life);
    kernel_->CloseListener(listener);
    if (unlink && kernel_->disk().Find(path) == listener->file) kernel_->Unlink(path);
  }
}

void World::ShutDown(Life* life, absl::string_view reason) {
  SendShutdown(life, reason);
  Leave(life);
}

void World::Leave(Life* life) {
  life->hangs = true;  // the main loop has ended: nothing more is answered
  const bool slow = random_->OneIn(8);
  In(absl::ZeroDuration(), absl::Milliseconds(slow ? 3000 : 30), life, [this, life] {
    CloseSockets(life, true);
    const bool lingers = random_->OneIn(8);
    In(absl::ZeroDuration(), absl::Milliseconds(lingers ? 7000 : 20), life,
       [this, life] { ProcessEnds(life, 0); });
  });
}

void World::CloseClient(Life* life) {
  if (life->client_daemon != 0) life->unseen_at = now();
  life->kept_at = now();
  Kernel::CloseServer(life->client);
  life->client = nullptr;
  life->negotiated = false;
}

void World::EndHelper(const ProcessPtr& process) {
  if (process->state != Process::State::kLives) return;
  kernel_->Exit(process, 0);
  kernel_->Reap(process);
}

void World::ReapLauncher(const ProcessPtr& launcher) {
  const bool is_known = std::any_of(lives_.begin(), lives_.end(), [&](const auto& life) {
    return life->launcher == launcher && !life->gone;
  });
  if (launcher->state == Process::State::kZombie && !is_known) kernel_->Reap(launcher);
}

void World::AllAreGone(Life* life) {
  life->gone = true;
  life->gone_at = now();
  if (life->launcher != nullptr) ReapLauncher(life->launcher);
  ++ended_;
  if (!life->uuid.empty()) return DomainIsGone(life);
  const std::string name = life->name;
  const bool at_once = random_->OneIn(3);
  Within(absl::ZeroDuration(), at_once ? absl::Milliseconds(5) : absl::Seconds(60),
         [this, name] { Begin(name); });
}

void World::ProcessEnds(Life* life, int wait_status) {
  if (life->process_gone) return;
  // The listener may be taken for a later process of the same id, if there is no SO_PEERPIDFD.
  const bool listens = life->second != nullptr && life->second->listening;
  if (listens && kernel_->features().peer_pidfd && random_->OneIn(3)) {
    story_->Log(life->name, "a child of it keeps its other monitor");
    story_->Reach("a child keeps a QEMU's other socket");
    Within(absl::ZeroDuration(), absl::Seconds(10),
           [this, kept = std::exchange(life->second, nullptr)] { kernel_->CloseListener(kept); });
  }
  CloseSockets(life, false);
  kernel_->Exit(life->process, wait_status);
  life->process_gone = true;
  life->ended_unattended = daemon_ == 0;
  life->ended_under = daemon_;
  life->gone_at = now();
  story_->Log(life->name, absl::StrFormat("life %d: pid %d is gone, wait status 0x%x", life->number,
                                          life->process->pid, wait_status));
  if (random_->OneIn(8)) {
    Within(absl::ZeroDuration(), absl::Microseconds(200),
           [this, life] { Declare(life, absl::Hours(2)); });
  }
  const bool late = random_->OneIn(5);
  Within(absl::ZeroDuration(), absl::Milliseconds(late ? 60'000 : 3),
         [this, life] { kernel_->Reap(life->process); });
  AllAreGone(life);
}

void World::Resume(int from, int to) {
  for (const std::unique_ptr<Life>& life : lives_) {
    if (life->attached == nullptr || !life->attached->kept || life->attached->client_closed)
      continue;
    if (!life->daemons.contains(from)) continue;
    if (life->kill_seen_by == from) life->kill_seen_by = to;
    life->handed_to = to;
    if (life->ended_unattended && life->kill_ring != 0 && life->kill_ring == kernel_->ring()) {
      story_->Reach("a kill that came while no daemon ran is known");
      life->kill_seen_by = to;
    }
    life->daemons.insert(to);
    if (life->client_daemon == from) life->client_daemon = to;
    for (Report& report : life->reports) {
      if (report.daemon == from) report.daemon = to;
    }
  }
}

void World::ResumeWithProcesses(int to, const std::set<std::string>& run_ids) {
  for (const std::unique_ptr<Life>& life : lives_) {
    if (!run_ids.contains(life->run_id)) continue;
    life->process_handed_to = to;
    life->reaped_before = life->process->state == Process::State::kReaped;
  }
}

void World::KillAll() {
  libvirtd_->Stop();
  Within(absl::Minutes(1), absl::Minutes(2), [this] { libvirtd_->Start(); });
  for (const std::unique_ptr<Life>& life : lives_) {
    if (life->launcher != nullptr) EndHelper(life->launcher);
    if (life->gone) continue;
    life->ending = nullptr;  // whatever it was about to end by
    Decide(life.get(), endings::kHostGoesDown);
    ProcessEnds(life.get(), 9);
  }
}

}  // namespace vmeventd::simulation
