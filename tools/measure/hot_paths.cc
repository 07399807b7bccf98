// Runs each path that an event takes once under callgrind, which counts its instructions: the
// commands of hot_paths.py. A dump is named after the path and the number of times that it was
// taken. With --system-calls it does nothing but 20 commits of one event each, and then 20 stops,
// each between two marks, for a count of their system calls. Alone it only shows that the paths
// work.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "server/events/event_record.h"
#include "server/stream/stream_cursor.h"
#include "tests/support/fail.h"
#include "tests/support/pumped_state.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_time.h"
#include "tools/measure/monitor_lines.h"
#include "watcher/core/line_framer.h"
#include "watcher/core/qmp_message.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/command_pacer.h"
#include "watcher/session/vm_session.h"

namespace vmeventd::bench {
namespace {

constexpr int kEvents = 1000;
constexpr int kStops = 100;
constexpr int kTraced = 20;  // commits and stops whose system calls are counted

// Answers to the commands of an attach, in their order.
constexpr std::array kAnswerLines = {
    "{\"return\": {}}\r\n",
    "{\"return\": {\"UUID\": \"00000000-0000-0000-0000-000000000000\"}}\r\n",
    "{\"return\": {\"name\": \"instance00042.example.com\"}}\r\n",
    "{\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}}\r\n",
    "{\"return\": []}\r\n",
    "{\"return\": []}\r\n"};

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "hot_paths: %s\n", what.c_str());
  std::exit(1);
}

// Calls `path`, which takes `times` steps, after one call to warm up.
template <typename Path>
void Count(const char* name, int times, Path path) {
  const std::string dump = absl::StrCat(name, " ", times);
  path();
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  path();
  CALLGRIND_DUMP_STATS_AT(dump.c_str());
  CALLGRIND_STOP_INSTRUMENTATION;
}

void CountParsing() {
  std::string lines;
  for (int i = 0; i < kEvents; ++i) lines += i % 2 == 0 ? kStopLine : kResumeLine;
  Count("frame and parse an event", kEvents, [&] {
    LineFramer framer;
    int events = 0;
    const absl::Status status = framer.Feed(lines, [&](absl::string_view line) {
      const auto message = ParseQmpMessage(line);
      events += message.ok() && std::holds_alternative<QmpEvent>(*message) ? 1 : 0;
      return message.status();
    });
    if (!status.ok() || events != kEvents) Fail("an event was not parsed");
  });
}

RunInfo Run() {
  RunInfo run;
  run.name = run.raw_name = "instance00042.example.com";
  run.run_id = "c2f1a9d0-5b6e-4e0f-9a3d-100000000042";
  run.source_key = "qmp";
  run.source = "qmp:/run/ganeti/kvm-hypervisor/ctrl";
  run.monitor_path = run.raw_path =
      "/run/ganeti/kvm-hypervisor/ctrl/instance00042.example.com.kvmd";
  run.pid = 4711;
  run.start_ticks = 123456;
  run.process_start = At(-60);
  return run;
}

constexpr SessionOptions kSession = {.event_limits = false};

// A run after its handshake.
std::unique_ptr<VmSession> Session() {
  auto session = std::make_unique<VmSession>(Run(), &kSession, Instant{At(0), absl::Seconds(1)});
  MonitorInfo info;
  info.qemu_version = "7.2.22";
  info.uuid = "6b2f7a52-0d3c-4a8e-8f11-200000000042";
  info.run_state = "running";
  session->On(input::MonitorReady{info}, {At(0), absl::Seconds(1)});
  return session;
}

// `count` steps of a session, as the loop hands them to the log.
std::vector<VmUpdate> Updates(VmSession* session, int count) {
  std::vector<VmUpdate> updates;
  QmpEvent event;
  for (int i = 0; i < count; ++i) {
    event.name = i % 2 == 0 ? "STOP" : "RESUME";
    event.time = At(i);
    for (Effect& effect : session->On(input::Event{event}, {At(i), absl::Seconds(2 + i)})) {
      if (auto* const publish = std::get_if<Publish>(&effect)) {
        updates.push_back(std::move(publish->update));
      }
    }
  }
  return updates;
}

void CountSteps() {
  const std::unique_ptr<VmSession> session = Session();
  Count("step a session", kEvents, [&] {
    if (Updates(session.get(), kEvents).size() < kEvents) Fail("an event was not published");
  });
}

void CountPublishing() {
  const std::unique_ptr<VmSession> session = Session();
  PumpedState pumped;
  std::array<std::vector<VmUpdate>, 2> bursts = {Updates(session.get(), kEvents),
                                                 Updates(session.get(), kEvents)};
  size_t next = 0;
  Count("encode, commit and publish an event of a burst", kEvents,
        [&] { pumped.Push(std::move(bursts.at(next++))); });
  const uint64_t newest = pumped.log().range().newest;
  if (newest < uint64_t{2} * kEvents) Fail("an event was not published");

  Count("cursor to message, an event", kEvents, [&] {
    StreamBegin begin;
    begin.cursor = newest - kEvents;
    StreamCursor cursor(&pumped.log(), &pumped.clock(), std::move(begin), EventMatcher());
    size_t events = 0;
    while (events < kEvents) {
      const StreamCursor::Step step = cursor.Next();
      if (step.message.empty()) Fail("the cursor stopped early");
      events += step.events;
    }
  });

  JournalReader* const reader = pumped.reader();
  Count("replay an event", kEvents, [&] {
    EventPage page{.clock = &pumped.clock()};
    page.Begin(absl::InfiniteDuration(), SIZE_MAX);
    const auto through = reader->Read(
        newest - kEvents + 1, newest, [](const EventRecord&) { return true; }, &page);
    if (!through.ok() || *through != newest) Fail("an event was not read");
  });
}

void CountSavedRuns() {
  const std::string saved = Session()->Save();
  Count("restore a run", 100, [&] {
    for (int i = 0; i < 100; ++i) {
      if (!VmSession::Restore(saved, &kSession, {At(9), absl::Seconds(9)}).ok())
        Fail("not restored");
    }
  });
}

void Commit(PumpedState* pumped, VmSession* session, int commits) {
  for (int i = 0; i < commits; ++i) pumped->Push(Updates(session, 1));
}

void CountCommits() {
  const std::unique_ptr<VmSession> session = Session();
  PumpedState pumped;
  Count("commit one event", 100, [&] { Commit(&pumped, session.get(), 100); });
}

// A journal that has as many events as it may. Retention deletes what is beyond that once it is
// more than a hundredth: as many as were committed since.
constexpr int kFullEvents = 20'000;
constexpr int kFullCommits = kFullEvents / 100 + 1;

std::unique_ptr<PumpedState> FullJournal(VmSession* session) {
  auto pumped =
      std::make_unique<PumpedState>(Ring{}, JournalOptions{.retention_events = kFullEvents});
  // Here retention counts all events the first time.
  for (int events = 0; events <= kFullEvents; events += kEvents) {
    std::vector<VmUpdate> updates;
    updates.reserve(kEvents);
    for (int i = 0; i < kEvents; ++i) updates.push_back(std::move(Updates(session, 1).front()));
    pumped->Push(std::move(updates));
  }
  pumped->Push({});
  if (pumped->log().range().newest < kFullEvents) Fail("the journal is not full");
  return pumped;
}

void CountCommitsToAFullJournal() {
  const std::unique_ptr<VmSession> session = Session();
  const std::unique_ptr<PumpedState> pumped = FullJournal(session.get());
  Count("commit one event to a full journal, and delete one", kFullCommits, [&] {
    Commit(pumped.get(), session.get(), kFullCommits);
    pumped->Push({});  // idle
  });
}

// However slow the machine is, no monitor has had its share of the loop's time.
class SteppedClock : public Clock {
 public:
  Instant Now() const override { return {At(0) + passed_, absl::Seconds(1) + passed_}; }
  void Advance(absl::Duration time) { passed_ += time; }

 private:
  absl::Duration passed_;
};

// A watcher of VMs that power off one after another. Nothing of tests/support is linked: it is not
// compiled as what is shipped.
class StoppingFleet {
  struct Sink : UpdateSink {
    void Push(VmUpdate /*update*/) override {}
  };

 public:
  explicit StoppingFleet(int count) {
    WatcherOptions options;
    options.sources.watches = {{directory_.path(), "*.kvmd"}};
    options.process_tracking = false;
    watcher_ = NodeWatcher::Create(std::move(options), {}, &clock_, &sink_).value();
    for (int vm = 0; vm < count; ++vm) monitors_.push_back({Listen(PathOf(vm, ".kvmd")), -1, 0});
    for (size_t attached = 0; attached < monitors_.size();) {
      watcher_->RunOnce(absl::ZeroDuration());
      clock_.Advance(CommandPacer::kQuietTime);
      for (Monitor& monitor : monitors_) attached += Serve(&monitor) ? 1 : 0;
    }
    watcher_->RunOnce(absl::ZeroDuration());
  }
  ~StoppingFleet() {
    for (size_t vm = next_; vm < monitors_.size(); ++vm) Close(&monitors_[vm]);
  }
  StoppingFleet(const StoppingFleet&) = delete;
  StoppingFleet& operator=(const StoppingFleet&) = delete;

  // From the ends of `count` monitors until their shutdown files are there, one after another.
  void Stop(int count) {
    for (int i = 0; i < count; ++i, ++next_) {
      Monitor* const monitor = &monitors_[next_];
      Send(monitor->client, kShutdownLine);
      Close(monitor);
      const std::string socket = PathOf(next_, ".kvmd");
      const std::string file = PathOf(next_, ".shutdown");
      if (unlink(socket.c_str()) != 0) Fail("a socket is gone");
      while (access(file.c_str(), F_OK) != 0) watcher_->RunOnce(absl::Seconds(1));
    }
  }

 private:
  struct Monitor {
    int listener;
    int client;
    size_t answered;
  };

  std::string PathOf(size_t vm, const char* suffix) const {
    return absl::StrCat(directory_.path(), "/instance", vm, ".example.com", suffix);
  }
  static int Listen(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(fd, 4) != 0) {
      Fail("cannot listen on a socket");
    }
    return fd;
  }
  static void Send(int fd, absl::string_view text) {
    if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
      Fail("cannot send");
    }
  }
  // Greets or answers the client, if it waits for that. True: that was the last answer.
  static bool Serve(Monitor* monitor) {
    if (monitor->client < 0) {
      monitor->client = accept4(monitor->listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (monitor->client >= 0) Send(monitor->client, kGreetingLine);
      return false;
    }
    std::array<char, 256> command;
    if (recv(monitor->client, command.data(), command.size(), MSG_DONTWAIT) <= 0) return false;
    Send(monitor->client, kAnswerLines.at(monitor->answered));
    return ++monitor->answered == kAnswerLines.size();
  }
  static void Close(const Monitor* monitor) {
    close(monitor->client);
    close(monitor->listener);
  }

  const TemporaryDirectory directory_;
  SteppedClock clock_;
  Sink sink_;
  std::unique_ptr<NodeWatcher> watcher_;
  std::vector<Monitor> monitors_;
  size_t next_ = 0;
};

void CountAttaching() {
  Count("attach a VM", kStops, [] { const StoppingFleet fleet(kStops); });
}

void CountStops() {
  StoppingFleet fleet(2 * kStops);
  Count("write the shutdown file of a stop", kStops, [&] { fleet.Stop(kStops); });
}

void CountAll() {
  CountParsing();
  CountSteps();
  CountPublishing();
  CountCommits();
  CountCommitsToAFullJournal();
  CountSavedRuns();
  CountAttaching();
  CountStops();
}

// Makes commits between two marks, for a trace of their system calls.
void CommitBetweenMarks() {
  const std::unique_ptr<VmSession> session = Session();
  PumpedState pumped;
  Commit(&pumped, session.get(), kTraced);
  VALGRIND_PRINTF("commits begin\n");
  Commit(&pumped, session.get(), kTraced);
  VALGRIND_PRINTF("commits end\n");
}

void StopBetweenMarks() {
  StoppingFleet fleet(2 * kTraced);
  fleet.Stop(kTraced);
  VALGRIND_PRINTF("stops begin\n");
  fleet.Stop(kTraced);
  VALGRIND_PRINTF("stops end\n");
}

}  // namespace
}  // namespace vmeventd::bench

int main(int argc, char** argv) {
  try {
    if (argc > 1 && std::strcmp(argv[1], "--system-calls") == 0) {
      vmeventd::bench::CommitBetweenMarks();
      vmeventd::bench::StopBetweenMarks();
    } else {
      vmeventd::bench::CountAll();
    }
    return 0;
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
