// What a hostile QEMU, an impostor process or a hostile guest can send over a monitor.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/support/fail.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/hostile/hostile_test.h"
#include "tests/system/hostile/rogue_monitor.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

// A counter shared by scripts and test.
std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> SharedCounter() {
  void* const memory = mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) FailErrno("mmap");
  return {new (memory) std::atomic<int>(0),
          [](std::atomic<int>* counter) { munmap(counter, sizeof(*counter)); }};
}

using testing::HasSubstr;
using testing::Lt;

constexpr size_t kMiB = 1 << 20;

std::string Event(const std::string& name, const std::string& more = "") {
  return absl::StrCat(R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": ")", name, "\"",
                      more, "}\r\n");
}

std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::string Noise(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Members "m0": 0, "m1": 0, ...
std::string Members(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) absl::StrAppend(&out, i == 0 ? "" : ",", "\"m", i, "\":0");
  return out;
}

// The number of events of a VM that only its GAPs report.
int64_t CountLost(const std::vector<v1::Event>& events) {
  int64_t lost = 0;
  for (const v1::Event& event : events) {
    if (event.type() != v1::EVENT_TYPE_GAP) continue;
    int64_t count = 0;
    const std::vector<std::string> words = absl::StrSplit(event.message(), absl::MaxSplits(' ', 1));
    EXPECT_TRUE(absl::SimpleAtoi(words[0], &count)) << event.message();
    lost += count;
  }
  return lost;
}

int64_t CountTold(const std::vector<v1::Event>& events, v1::EventType type) {
  return std::count_if(events.begin(), events.end(),
                       [type](const v1::Event& event) { return event.type() == type; });
}

struct Input {
  const char* name;
  std::string bytes;
};

using Rogues = std::vector<std::unique_ptr<RogueMonitor>>;

class HostileMonitorTest : public HostileTest {
 protected:
  // A rogue does not answer what it is asked later on.
  void StartDaemonAndStream() {
    HostileTest::StartDaemonAndStream(Options({"--hang-check", "off"}));
  }

  std::string PathOf(const std::string& vm_name) const {
    return watch_dir() + "/" + vm_name + ".kvmd";
  }

  // Monitors that send their input once, after a handshake, and then `after`.
  Rogues Send(const std::vector<Input>& all, const std::string& after) const {
    Rogues rogues;
    for (const Input& input : all) {
      const auto send = [bytes = input.bytes + after, sent = false](const RogueMonitor::Peer& peer,
                                                                    int) mutable {
        if (peer.Handshake() && !std::exchange(sent, true)) peer.Send(bytes);
      };
      rogues.push_back(std::make_unique<RogueMonitor>(PathOf(input.name), send));
    }
    return rogues;
  }

  // Monitors that send events for as long as they live, and count them by thousands.
  Rogues Flood(std::atomic<int>* thousands) const {
    const std::string piece =
        Repeat(Event("BLOCK_IO_ERROR", ", \"data\": {\"device\": \"hd0\"}"), 1'000);
    Rogues rogues;
    for (int i = 0; i < 3; ++i) {
      rogues.push_back(std::make_unique<RogueMonitor>(PathOf(absl::StrCat("flood", i)),
                                                      [=](const RogueMonitor::Peer& peer, int) {
                                                        if (!peer.Handshake()) return;
                                                        while (peer.Send(piece)) ++*thousands;
                                                      }));
    }
    return rogues;
  }
};

// Input that ends its connection.
std::vector<Input> FatalInput() {
  return {
      {"noise", Noise(1 * kMiB, 1)},
      {"http", "HTTP/1.1 400 Bad Request\r\n\r\n"},
      {"a-list", "[1, 2]\n"},
      {"a-number", "42\n"},
      {"null", "null\n"},
      {"nothing", "{}\n"},
      {"another-object", "{\"foo\": {\"event\": \"STOP\"}}\n"},
      {"two-on-a-line", "{\"return\": {}} {\"return\": {}}\n"},
      {"not-a-number", "{\"event\": \"STOP\", \"timestamp\": NaN}\n"},
      {"half-a-surrogate", "{\"event\": \"\\ud800\"}\n"},
      {"name-is-a-number", "{\"event\": 5}\n"},
      {"name-is-null", "{\"event\": null}\n"},
      {"name-is-an-object", "{\"event\": {\"event\": \"STOP\"}}\n"},
      {"data-is-null", "{\"event\": \"STOP\", \"data\": null}\n"},
      {"data-is-a-list", "{\"event\": \"STOP\", \"data\": [{}]}\n"},
      {"data-is-text", "{\"event\": \"STOP\", \"data\": \"{}\"}\n"},
      {"too-deep",
       Event("STOP", ", \"data\": {\"x\": " + std::string(65, '[') + std::string(65, ']') + "}")},
      {"open-brackets", std::string(kMiB - 1, '[') + "\n"},
      {"too-long", Event("STOP", ", \"data\": {\"x\": \"" + std::string(kMiB, 'x') + "\"}")},
      {"without-end", std::string(64 * kMiB, 'x')},
      {"spaces-without-end", std::string(64 * kMiB, ' ')},
      {"many-members", Event("BLOCK_IO_ERROR", ", \"data\": {" + Members(500'000) + "}")},
      {"many-values", "{\"return\": [" + Repeat("{},", 2'000'000) + "{}]}\n"},
  };
}

// Odd input that does not end its connection.
std::vector<Input> OddInput() {
  return {
      {"huge-timestamp", R"({"event": "X", "timestamp": {"seconds": 99999999999999999999999, )"
                         "\"microseconds\": 1e300}}\n"
                         R"({"event": "WAKEUP", "timestamp": {"seconds": 9223372036854775807, )"
                         "\"microseconds\": 999999}}\n"},
      {"negative-timestamp", R"({"event": "WAKEUP", "timestamp": {"seconds": -5, )"
                             "\"microseconds\": -9223372036854775808}}\n"},
      {"timestamp-of-other-types",
       "{\"event\": \"WAKEUP\", \"timestamp\": []}\n"
       "{\"event\": \"WAKEUP\", \"timestamp\": {\"seconds\": \"1\", \"microseconds\": null}}\n"
       "{\"event\": \"WAKEUP\", \"timestamp\": {\"seconds\": 1.5, \"microseconds\": 2}}\n"},
      {"error-of-floats", "{\"error\": {\"class\": 1.5, \"desc\": [1e308]}}\n{\"error\": null}\n"},
      {"greeting-again",
       "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1.5, \"minor\": {}, "
       "\"major\": -9}}}}\n{\"QMP\": 7}\n{\"QMP\": null}\n"},
      {"replies-nobody-asked-for", Repeat("{\"return\": {\"status\": \"shutdown\"}}\r\n", 5'000)},
      {"errors-nobody-asked-for", Repeat("{\"error\": {\"class\": \"X\"}}\r\n", 5'000)},
      {"empty-lines", Repeat("\r\n", 100'000)},
      {"not-utf-8", "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"de\xffvice\": \"\xc0\xaf\"}}\n"},
      {"control-characters",
       "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"device\": "
       "\"\\u0000\\u001b[2J\\n\\u009b31m\\u202e\"}}\n"},
      {"event-nobody-knows", "{\"event\": \"\\u001b]0;x\\u0007\", \"data\": {}}\n"},
      {"members-of-other-types",
       "{\"event\": \"MIGRATION\", \"data\": {\"status\": [\"completed\"]}}\n"
       "{\"event\": \"WATCHDOG\", \"data\": {\"action\": {\"reset\": 1}}}\n"
       "{\"event\": \"SUSPEND_DISK\", \"data\": {\"x\": 1}}\n"
       "{\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": 1e308}}\n"
       "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": \"yes\", \"reason\": {}}}\n"
       "{\"event\": \"RESET\", \"data\": {\"guest\": 1, \"reason\": []}}\n"},
      {"the-deepest",
       Event("STOP", ", \"data\": {\"x\": " + std::string(62, '[') + std::string(62, ']') + "}") +
           Event("RESUME")},
      {"nearly-too-long",
       Event("BLOCK_IO_ERROR", ", \"data\": {\"x\": \"" + std::string(kMiB - 200, 'x') + "\"}")},
      {"nearly-too-long-and-not-utf-8",
       Event("BLOCK_IO_ERROR", ", \"data\": {\"x\": \"" + std::string(kMiB - 200, '\xff') + "\"}")},
      {"as-many-members-as-may-be",
       Repeat(Event("BLOCK_IO_ERROR", ", \"data\": {" + Members(4'000) + "}"), 10)},
  };
}

TEST_F(HostileMonitorTest, InvalidQmpEndsOnlyItsConnectionWhichIsRetried) {
  StartDaemonAndStream();
  ExpectServes("vm1");
  const std::vector<Input> all = FatalInput();
  const Rogues rogues = Send(all, "");
  ExpectServes("vm2");
  for (const Input& input : all) stream().Wait(input.name, v1::EVENT_TYPE_MONITOR_LOST);
  for (const Input& input : all) stream().Wait(input.name, v1::EVENT_TYPE_MONITOR_RESTORED);
  for (const Input& input : all) {
    const auto events = stream().EventsOf(input.name);
    EXPECT_EQ(TypesOf(events), "STARTED PROBLEMS_CHANGED MONITOR_LOST MONITOR_RESTORED")
        << input.name;
    EXPECT_THAT(events.at(2).message(), testing::AnyOf(HasSubstr("not QMP"), HasSubstr("1 MiB"),
                                                       HasSubstr("has not ended after 10 s")));
  }
  ExpectServes("vm3");
  ExpectHarmlessLog(false);
}

TEST_F(HostileMonitorTest, OddInputIsAccepted) {
  StartDaemonAndStream();
  ExpectServes("vm1");
  const std::vector<Input> all = OddInput();
  const Rogues rogues = Send(all, Event("POWERDOWN"));
  ExpectServes("vm2");
  std::vector<std::string> names;
  for (const Input& input : all) {
    stream().Wait(input.name, v1::EVENT_TYPE_POWERDOWN_REQUESTED);
    EXPECT_EQ(daemon().GetVm(input.name).state(), v1::VM_STATE_RUNNING) << input.name;
    for (const v1::Event& event : stream().EventsOf(input.name)) {
      EXPECT_NE(event.type(), v1::EVENT_TYPE_MONITOR_LOST) << event.message();
      EXPECT_LE(event.detail_json().size(), 4096u);
    }
    names.emplace_back(input.name);
  }
  ExpectServes("vm3");
  ExpectHarmlessOutput(names);
  ExpectHarmlessLog(false);
}

TEST_F(HostileMonitorTest, OddHandshakesAreServedAndEscaped) {
  StartDaemonAndStream();
  FakeQemu odd_qemu(TestProgramPath("fake_qemu"));
  FakeMonitor odd;
  odd.greeting = "\r\n{\"QMP\": {\"version\": {\"qemu\": [7, 2, 22]}}}\r\n";
  odd.replies = {{"query-uuid", "{\"return\": {\"UUID\": [\"x\"]}}\r\n"},
                 {"query-name", "{\"return\": []}\r\n"},
                 {"query-status", "{\"return\": {\"status\": \"\\u001b[2Jrunning\\n\"}}\r\n"}};
  odd_qemu.AddMonitor(PathOf("odd-replies"), odd);
  FakeMonitor steering{.uuid = "\x1b[31m\nclass=ADMIN\xe2\x80\xae"};
  steering.name = "\x1b]0;owned\x07";
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int steering_monitor = qemu.AddMonitor(PathOf("steering"), steering);
  stream().Wait("odd-replies", v1::EVENT_TYPE_STARTED);
  ExpectServes("vm1");
  WaitUntil("steering runs",
            [&] { return daemon().GetVm("steering").state() == v1::VM_STATE_RUNNING; });
  qemu.SendAndExit(
      steering_monitor,
      Event("SHUTDOWN", R"(, "data": {"guest": true, "reason": "\u001b[2J\nrm\u202e"})"));
  stream().Wait("steering", v1::EVENT_TYPE_STOPPED);
  qemu.Reap();
  ExpectHarmlessOutput({"odd-replies", "steering"});
  ExpectHarmlessLog(false);
}

TEST_F(HostileMonitorTest, AFloodIsCountedAndItsEndIsPublished) {
  const int flood = ProgramsAreSanitized() ? 20'000 : 200'000;
  StartDaemonAndStream();
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = qemu.AddMonitor(PathOf("flood"));
  stream().Wait("flood", v1::EVENT_TYPE_STARTED);
  qemu.Send(monitor, Repeat(Event("BLOCK_IO_ERROR", ", \"data\": {\"device\": \"hd0\"}"), flood));
  ExpectServes("vm1");
  qemu.Send(monitor, Event("STOP") + Event("RESUME"));
  stream().Wait("flood", v1::EVENT_TYPE_RESUMED);  // all has been read
  qemu.SendAndExit(monitor, kGuestShutdown);
  ExpectStopped(kGuestPoweroff, "flood");
  EXPECT_TRUE(FileAtStop("flood"));
  qemu.Reap();
  const auto events = stream().EventsOf("flood");
  EXPECT_EQ(events.back().type(), v1::EVENT_TYPE_STOPPED);
  EXPECT_GE(CountTold(events, v1::EVENT_TYPE_GAP), 1);
  EXPECT_EQ(CountTold(events, v1::EVENT_TYPE_IO_ERROR) + CountLost(events), flood);
  ExpectServes("vm2");
}

// It continues as long as the test does.
TEST_F(HostileMonitorTest, AnEndlessFloodDelaysNoOtherVm) {
  StartDaemonAndStream();
  ExpectServes("vm1");
  const auto thousands = SharedCounter();
  const Rogues rogues = Flood(thousands.get());
  for (int i = 0; i < 5; ++i) {
    const int seen = *thousands;
    WaitUntil("it floods", [&] { return *thousands > seen + 10; });
    ExpectServes(absl::StrCat("other", i));
  }
  EXPECT_EQ(daemon().GetVm("flood1").state(), v1::VM_STATE_RUNNING);
}

class HostileMonitorMemoryTest : public HostileMonitorTest {
 protected:
  void SetUp() override {
    StartDaemonAndStream();
    ExpectServes("vm1");
    before_ = daemon().ResidentMiB();
  }
  void ExpectGivenBack() {
    WaitUntil("the memory is returned", [&] { return daemon().ResidentMiB() < before_ + 32; });
  }

 private:
  size_t before_ = 0;
};

TEST_F(HostileMonitorMemoryTest, InvalidQmpsMemoryIsReleased) {
  const std::vector<Input> all = FatalInput();
  const Rogues rogues = Send(all, "");
  for (const Input& input : all) stream().Wait(input.name, v1::EVENT_TYPE_MONITOR_LOST);
  ExpectGivenBack();
}

TEST_F(HostileMonitorMemoryTest, OddInputsMemoryIsReleased) {
  const std::vector<Input> all = OddInput();
  const Rogues rogues = Send(all, Event("POWERDOWN"));
  for (const Input& input : all) stream().Wait(input.name, v1::EVENT_TYPE_POWERDOWN_REQUESTED);
  ExpectGivenBack();
}

TEST_F(HostileMonitorMemoryTest, AnEndlessFloodTakesNoMoreThanItsBuffers) {
  const auto thousands = SharedCounter();
  const Rogues rogues = Flood(thousands.get());
  WaitUntil("it floods", [&] { return *thousands > 500; });
  ExpectGivenBack();
}

}  // namespace
}  // namespace vmeventd::e2e
