// Runs each path that an event takes once under callgrind, which counts its instructions: the
// commands of hot_paths.py. A dump is named after the path and the number of times that it was
// taken. With --commits it does nothing but 20 commits of one event each between two marks, for a
// count of their system calls. Alone it only shows that the paths work.

#include <valgrind/callgrind.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/events/event_codec.h"
#include "server/stream/stream_cursor.h"
#include "tests/bench/bench_events.h"
#include "tests/support/test_events.h"
#include "watcher/core/line_framer.h"
#include "watcher/core/qmp_message.h"
#include "watcher/session/vm_session.h"

namespace vmeventd::bench {
namespace {

constexpr int kEvents = 1000;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "hot_paths: %s\n", what.c_str());
  std::exit(1);
}

// Calls `path`, which takes `times` steps, after once to warm up.
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
  run.name = "instance00042.example.com";
  run.run_id = "c2f1a9d0-5b6e-4e0f-9a3d-100000000042";
  run.source = "qmp:/run/ganeti/kvm-hypervisor/ctrl";
  run.monitor_path = "/run/ganeti/kvm-hypervisor/ctrl/instance00042.example.com.kvmd";
  run.pid = 4711;
  run.start_ticks = 123456;
  run.boot_id = "0f6f4dfc-6f0d-4d0a-8a53-1b7a7c6c6f10";
  run.process_start = At(-60);
  return run;
}

// A run after its handshake.
std::unique_ptr<VmSession> Session(const SessionOptions* options) {
  auto session = std::make_unique<VmSession>(Run(), options, Instant{At(0), absl::Seconds(1)});
  MonitorInfo info;
  info.qemu_version = "7.2.22";
  info.uuid = "6b2f7a52-0d3c-4a8e-8f11-200000000042";
  info.run_state = "running";
  session->OnMonitorReady(info, {At(0), absl::Seconds(1)});
  return session;
}

// `count` steps of a session, as the loop hands them to the queue.
std::vector<VmUpdate> Updates(VmSession* session, int count) {
  std::vector<VmUpdate> updates;
  QmpEvent event;
  for (int i = 0; i < count; ++i) {
    event.name = i % 2 == 0 ? "STOP" : "RESUME";
    event.time = At(i);
    for (Effect& effect : session->OnQmpEvent(event, {At(i), absl::Seconds(2 + i)})) {
      if (auto* const publish = std::get_if<Publish>(&effect)) {
        updates.push_back(std::move(publish->update));
      }
    }
  }
  return updates;
}

void CountSteps() {
  const SessionOptions options{.event_limits = false};
  const std::unique_ptr<VmSession> session = Session(&options);
  Count("step a session", kEvents, [&] {
    if (Updates(session.get(), kEvents).size() < kEvents) Fail("an event was not published");
  });
}

void CountPublishing() {
  const SessionOptions options{.event_limits = false};
  const std::unique_ptr<VmSession> session = Session(&options);
  PumpedState pumped;
  std::array<std::vector<VmUpdate>, 2> bursts = {Updates(session.get(), kEvents),
                                                 Updates(session.get(), kEvents)};
  size_t next = 0;
  Count("queue, encode, commit and publish an event of a burst", kEvents,
        [&] { pumped.Push(std::move(bursts.at(next++))); });
  const uint64_t newest = pumped.live_state().range().newest;
  if (newest < uint64_t{2} * kEvents) Fail("an event was not published");

  Count("cursor to message, an event", kEvents, [&] {
    StreamBegin begin;
    begin.cursor = newest - kEvents;
    StreamCursor cursor(&pumped.live_state(), std::move(begin), EventMatcher());
    size_t events = 0;
    while (events < kEvents) {
      const auto message = cursor.Next(At(0), false);
      if (!message.ok() || !message->has_value()) Fail("the cursor stopped early");
      events += cursor.sent().events;
    }
  });

  Count("replay a row", kEvents, [&] {
    const auto page = pumped.reader()->ReadFrom(newest - kEvents + 1, newest, 1 << 30);
    if (!page.ok() || page->through != newest) Fail("a row was not read");
  });
}

void CountSavedRuns() {
  const SessionOptions options{.event_limits = false};
  const std::string saved = Session(&options)->Save();
  Count("restore a run", 100, [&] {
    for (int i = 0; i < 100; ++i) {
      if (!VmSession::Restore(saved, &options, {At(9), absl::Seconds(9)}).ok())
        Fail("not restored");
    }
  });
}

void Commit(PumpedState* pumped, VmSession* session, int commits) {
  for (int i = 0; i < commits; ++i) pumped->Push(Updates(session, 1));
}

void CountCommits() {
  const SessionOptions options{.event_limits = false};
  const std::unique_ptr<VmSession> session = Session(&options);
  PumpedState pumped;
  Count("commit one event", 100, [&] { Commit(&pumped, session.get(), 100); });
}

void CountAll() {
  CountParsing();
  CountSteps();
  CountPublishing();
  CountCommits();
  CountSavedRuns();
}

// For a trace of their system calls.
void CommitBetweenMarks() {
  const SessionOptions options{.event_limits = false};
  const std::unique_ptr<VmSession> session = Session(&options);
  PumpedState pumped;
  Commit(&pumped, session.get(), 20);
  VALGRIND_PRINTF("commits begin\n");
  Commit(&pumped, session.get(), 20);
  VALGRIND_PRINTF("commits end\n");
}

}  // namespace
}  // namespace vmeventd::bench

int main(int argc, char** argv) {
  try {
    if (argc > 1 && std::strcmp(argv[1], "--commits") == 0) {
      vmeventd::bench::CommitBetweenMarks();
    } else {
      vmeventd::bench::CountAll();
    }
    return 0;
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
