// Measures the journal and its replay: what an event costs on disk, how long a large journal takes
// to open, and how fast one subscriber gets all of it, as a ratio against a floor: a bare gRPC
// server that sends the same bytes from memory in messages of the same size.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/journal_reader.h"
#include "server/events/complete_event.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"
#include "server/stream/stream_cursor.h"
#include "tests/support/child_process.h"
#include "tests/support/fail.h"
#include "tests/support/open_call.h"
#include "tests/support/temporary_directory.h"
#include "tools/measure/process_costs.h"
#include "tools/measure/subscribers.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {
namespace {

double SecondsNow() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The story of one run as the daemon publishes it, with evidence of the usual length.
std::vector<v1::Event> Story(absl::Time start) {
  const auto event = [&](EventType type, const std::string& qmp, const std::string& message) {
    v1::Event out = MakeEvent(type, message);
    *out.mutable_observe_time() = ToTimestamp(start);
    if (!qmp.empty()) *out.mutable_qemu_time() = ToTimestamp(start - absl::Microseconds(300));
    out.set_qmp_event(qmp);
    return out;
  };
  std::vector<v1::Event> story = {
      event(EventType::kStarted, "", "QEMU 7.2.22, pid 4711, named web1, running"),
      event(EventType::kReset, "RESET", "the VM was reset"),
      event(EventType::kPaused, "STOP", "the VM was paused"),
      event(EventType::kResumed, "RESUME", "the VM runs again"),
      event(EventType::kPowerdownRequested, "POWERDOWN", "the host pressed the power button"),
      event(EventType::kStopped, "SHUTDOWN",
            "ADMIN: the host pressed the power button and the guest obeyed. Seen: POWERDOWN, "
            "SHUTDOWN reason=guest-shutdown, monitor closed, process gone.")};
  story.back().set_detail_json(R"({"guest":true,"reason":"guest-shutdown"})");
  v1::ShutdownDetail& detail = *story.back().mutable_shutdown();
  detail.set_shutdown_class(v1::SHUTDOWN_CLASS_ADMIN);
  detail.set_cause(v1::SHUTDOWN_CAUSE_HOST_POWERDOWN);
  detail.set_rule("powerdown-obeyed");
  detail.mutable_powerdown_age()->set_seconds(3);
  for (const char* what :
       {"POWERDOWN", "SHUTDOWN reason=guest-shutdown", "monitor closed", "process gone"}) {
    v1::Evidence* const evidence = detail.add_evidence();
    *evidence->mutable_time() = ToTimestamp(start + absl::Seconds(9));
    evidence->set_what(what);
  }
  return story;
}

std::string VmName(uint64_t vm) { return absl::StrCat("instance", vm % 9000, ".example.com"); }

v1::Vm StatusOf(uint64_t vm) {
  v1::Vm status;
  status.mutable_ref()->set_name(VmName(vm));
  status.mutable_ref()->set_run_id(absl::StrCat("c2f1a9d0-5b6e-4e0f-9a3d-", 100000000000 + vm));
  status.mutable_ref()->set_uuid(
      absl::StrCat("6b2f7a52-0d3c-4a8e-8f11-", 200000000000 + vm % 9000));
  status.mutable_ref()->set_pid(4711);
  status.mutable_ref()->set_source("qmp:/run/ganeti/kvm-hypervisor/ctrl");
  return status;
}

// The next `count` events, of 9,000 VMs in turn.
std::vector<EventPtr> NextEvents(int count, uint64_t* sequence) {
  const absl::Time start = absl::Now() - absl::Hours(24);
  std::vector<EventPtr> events;
  for (int done = 0; done < count;) {
    const uint64_t vm = *sequence / 6;
    const v1::Vm status = StatusOf(vm);
    for (v1::Event& event : Story(start + absl::Milliseconds(vm))) {
      CompleteEvent(&status, ++*sequence, &event);
      events.push_back(Logged(event));
      ++done;
    }
  }
  return events;
}

// Appends `count` events in batches of `batch_size`. Returns the seconds that took.
double Fill(Journal* journal, int count, int batch_size) {
  double seconds = 0;
  uint64_t sequence = journal->bounds().newest;
  for (int done = 0; done < count; done += batch_size) {
    const JournalBatch batch{.events = NextEvents(std::min(batch_size, count - done), &sequence)};
    const double before = SecondsNow();
    if (const absl::Status status = journal->Append(batch); !status.ok()) {
      e2e::Fail(std::string(status.message()));
    }
    seconds += SecondsNow() - before;
  }
  return seconds;
}

// Appends bursts: an event of each of 5,600 VMs, with the saved state of its run. Returns the
// events a second.
double Burst(Journal* journal) {
  constexpr int kVms = 5600;
  constexpr int kBursts = 10;
  constexpr size_t kSavedBytes = 600;
  double seconds = 0;
  uint64_t sequence = journal->bounds().newest;
  for (int burst = 0; burst < kBursts; ++burst) {
    JournalBatch batch;
    for (int vm = 0; vm < kVms; ++vm) {
      const v1::Vm status = StatusOf(vm);
      v1::Event event = Story(absl::Now())[2];
      CompleteEvent(&status, ++sequence, &event);
      batch.events.push_back(Logged(std::move(event)));
      const std::string saved(kSavedBytes, static_cast<char>('a' + burst));
      batch.runs[status.ref().run_id()] = {saved, sequence};
    }
    const double before = SecondsNow();
    if (const absl::Status status = journal->Append(batch); !status.ok()) {
      e2e::Fail(std::string(status.message()));
    }
    seconds += SecondsNow() - before;
  }
  return kBursts * kVms / seconds;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// A WatchEvents call from the oldest event, on a connection of its own.
class RawStream {
 public:
  explicit RawStream(const std::string& address)
      : call_(ChannelTo(address), "/vmeventd.v1.VmEventService/WatchEvents") {
    v1::WatchEventsRequest request;
    request.set_from_oldest(true);
    call_.Write(request.SerializeAsString());
    call_.WritesDone();
  }

  // The events of the next message.
  uint64_t Read() {
    grpc::ByteBuffer message;
    if (!call_.Read(&message)) e2e::Fail("the stream ended early");
    return bench::CountEvents(message);
  }

 private:
  OpenCall call_;
};

// Calls WatchEvents from the oldest event and reads `events` of them. Returns the seconds.
double Replay(const std::string& address, uint64_t events) {
  RawStream stream(address);
  const double begin = SecondsNow();
  for (uint64_t count = 0; count < events;) count += stream.Read();
  return SecondsNow() - begin;
}

// Measures the daemon's cost of clients that open a stream over the whole journal and read no more
// than its first message.
void MeasureStalled(const std::string& address, pid_t daemon) {
  constexpr int kStreams = 100;
  const double before = bench::ResidentKib(daemon);
  std::vector<std::unique_ptr<RawStream>> stalled;
  for (int i = 0; i < kStreams; ++i) {
    stalled.push_back(std::make_unique<RawStream>(address));
    stalled.back()->Read();
  }
  double now = bench::ResidentKib(daemon);
  for (int still = 0; still < 20;) {  // until it grows no more
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const double next = bench::ResidentKib(daemon);
    still = next > now ? 0 : still + 1;
    now = std::max(now, next);
  }
  std::printf("a stalled subscriber:      %.0f KiB of the daemon's memory (%d of them)\n",
              (now - before) / kStreams, kStreams);
}

// Lists the events of `vm`, the newest first, until there are `count` or no more. Returns the
// seconds.
double List(v1::VmEventService::Stub* service, const std::string& vm, int count) {
  const double begin = SecondsNow();
  v1::ListEventsRequest request;
  request.mutable_filter()->add_vm_names(vm);
  request.set_newest_first(true);
  do {
    request.set_page_size(std::min(count, 1000));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::ListEventsResponse page;
    if (const grpc::Status status = service->ListEvents(&context, request, &page); !status.ok()) {
      e2e::Fail(status.error_message());
    }
    count -= page.events_size();
    request.set_page_token(page.next_page_token());
  } while (count > 0 && !request.page_token().empty());
  return SecondsNow() - begin;
}

// Measures lists of one VM's events by a daemon that has just started: the journal alone has them.
void MeasureLists(const std::string& address) {
  const auto service =
      v1::VmEventService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  std::vector<double> newest;
  std::vector<double> all;
  List(service.get(), VmName(0), 20);  // warm
  for (uint64_t vm = 1; vm <= 9; ++vm) {
    newest.push_back(List(service.get(), VmName(vm * 1000), 20));
    all.push_back(List(service.get(), VmName(vm * 1000), 1'000'000));
  }
  std::sort(newest.begin(), newest.end());
  std::sort(all.begin(), all.end());
  std::printf("newest 20 of one VM:       %.1f ms (at most %.1f)\n", newest[4] * 1e3,
              newest[8] * 1e3);
  std::printf("all of one VM:             %.0f ms (at most %.0f)\n", all[4] * 1e3, all[8] * 1e3);
}

// The floor: the same messages from memory.
class FloorStream : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit FloorStream(const std::vector<grpc::ByteBuffer>* messages) : messages_(messages) {
    Send();
  }
  void OnWriteDone(bool ok) override { ok ? Send() : Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  void Send() {
    if (next_ == messages_->size()) return Finish(grpc::Status::OK);
    StartWrite(&(*messages_)[next_++]);
  }
  const std::vector<grpc::ByteBuffer>* const messages_;
  size_t next_ = 0;
};

class FloorService
    : public v1::VmEventService::WithRawCallbackMethod_WatchEvents<v1::VmEventService::Service> {
 public:
  explicit FloorService(const std::vector<grpc::ByteBuffer>* messages) : messages_(messages) {}
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchEvents(grpc::CallbackServerContext*,
                                                          const grpc::ByteBuffer*) override {
    return new FloorStream(messages_);
  }

 private:
  const std::vector<grpc::ByteBuffer>* const messages_;
};

// Reads the events 1 to `events` in pages of one message each.
template <typename Take>
void ReadPages(const std::string& path, uint64_t events, const Take& take) {
  auto reader = JournalReader::Open(path);
  if (!reader.ok()) e2e::Fail(std::string(reader.status().message()));
  const SystemClock clock;
  for (uint64_t next = 1; next <= events;) {
    EventPage page{.clock = &clock};
    page.Begin(StreamCursor::kMaxSearch, StreamCursor::kMaxMessageBytes);
    const auto through = (*reader)->Read(
        next, events, [](const EventRecord&) { return true; }, &page);
    if (!through.ok()) e2e::Fail(std::string(through.status().message()));
    take(page.encoded);
    next = *through + 1;
  }
}

double Floor(const std::string& address, const std::string& path, uint64_t events) {
  std::vector<grpc::ByteBuffer> messages;
  ReadPages(path, events, [&](const std::string& page) {
    const grpc::Slice slice(page);
    messages.emplace_back(&slice, 1);
  });
  FloorService service(&messages);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  Replay(address, events);  // warm
  const double seconds = Replay(address, events);
  server->Shutdown(std::chrono::system_clock::now());
  return seconds;
}

void Measure(int events) {
  const TemporaryDirectory directory;
  const std::string state = directory.MakeDirectory("state");
  const std::string vms = directory.MakeDirectory("vms");
  const JournalOptions options = {.path = state + "/journal.db"};
  {
    const auto opened = Journal::Open(options, absl::Now());
    if (!opened.ok()) e2e::Fail(std::string(opened.status().message()));
    const double seconds = Fill(opened->journal.get(), events, 6000);
    std::printf("append, batches of 6,000:  %.0f events/s\n", events / seconds);
    JournalOptions burst = options;
    burst.path = state + "/burst.db";
    const auto young = Journal::Open(burst, absl::Now());
    if (!young.ok()) e2e::Fail(std::string(young.status().message()));
    std::printf("append, with saved runs:   %.0f events/s of 5,600 VMs\n",
                Burst(young->journal.get()));
    // A stop in order.
    const absl::Status mark =
        WriteMark(options.path, {opened->journal->journal_id(), opened->journal->bounds().newest});
    if (!mark.ok()) e2e::Fail(std::string(mark.message()));
  }
  std::printf("on disk:                   %.0f bytes an event\n",
              static_cast<double>(std::filesystem::file_size(options.path)) / events);

  const double before_open = SecondsNow();
  {
    const auto opened = Journal::Open(options, absl::Now());
    std::printf("open, cached:              %.1f ms\n", (SecondsNow() - before_open) * 1e3);
  }
  const double before_read = SecondsNow();
  ReadPages(options.path, events, [](const std::string&) {});
  std::printf("read in pages:             %.0f events/s\n", events / (SecondsNow() - before_read));

  const std::string address = "unix:" + (directory / "s");
  e2e::ChildProcess daemon(
      {{VMEVENTD_BINARY, "--watch", vms, "--listen", address, "--state-dir", state},
       {},
       directory / "log",
       std::nullopt});
  MeasureLists(address);
  Replay(address, events);  // warm
  const absl::Duration cpu = bench::CpuOf(daemon.pid());
  const double replay = Replay(address, events);
  const absl::Duration replay_cpu = bench::CpuOf(daemon.pid()) - cpu;
  MeasureStalled(address, daemon.pid());
  daemon.Signal(SIGTERM);
  daemon.Wait();
  const double floor = Floor("unix:" + (directory / "f"), options.path, events);
  std::printf("replay to one subscriber:  %.0f events/s, %.2f us of CPU an event\n",
              events / replay, absl::ToDoubleMicroseconds(replay_cpu) / events);
  std::printf("floor, from memory:        %.0f events/s; ratio %.2f\n", events / floor,
              floor / replay);
}

}  // namespace
}  // namespace vmeventd

int main(int argc, char** argv) {
  int events = 1'000'000;
  if (argc > 1 && (!absl::SimpleAtoi(argv[1], &events) || events < 1)) {
    std::fprintf(stderr, "usage: %s [EVENTS]\n", argv[0]);
    return 2;
  }
  events -= events % 6;
  std::printf("%d events of 9,000 VMs\n", events);
  vmeventd::Measure(events);
  return 0;
}
