#include "tests/watcher/session/story.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/signal_name.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/session_driver.h"
#include "watcher/session/end_words.h"

namespace vmeventd {

struct StoryVm {
  std::unique_ptr<SessionDriver> driver;
  bool tracked = true;  // its process can be seen
  ProcessEnd end;       // as the story has ended it
  int declared = 0;     // intents
};

namespace {

// A step, or one thing that a verdict expects.
struct Phrase {
  explicit Phrase(const std::string& all) : text(all) {
    arguments = absl::StrSplit(text, ' ');
    word = arguments[0];
    arguments.erase(arguments.begin());
    rest = absl::StrJoin(arguments, " ");
    if (!arguments.empty()) first = arguments[0];
  }

  std::string text;
  std::string word;
  std::vector<std::string> arguments;
  std::string rest;   // the arguments as they are written
  std::string first;  // the first argument; empty: there is none
};

absl::Duration TimeOf(const std::string& text) {
  absl::Duration time;
  EXPECT_TRUE(absl::ParseDuration(text, &time)) << text;
  return time;
}

int SignalNumber(const std::string& name) {
  int signal = 1;
  while (signal < 32 && SignalName(signal) != name) ++signal;
  return signal;
}

// The run state at an attach; empty: QEMU reports none.
std::string RunStateOf(const Phrase& phrase) {
  if (phrase.first == "none") return "";
  return phrase.first.empty() ? "running" : phrase.first;
}

ProcessEnd EndOf(const Phrase& phrase) {
  ProcessEnd end;
  for (const std::string& how : phrase.arguments) {
    if (absl::StartsWith(how, "SIG")) end = Signal(SignalNumber(how));
    if (how[0] >= '0' && how[0] <= '9') end = Exited(std::stoi(how));
    end.oom_killed |= how == "oom";
    if (how == "unrecorded") end.sender_unknown = "not recorded";
  }
  return end;
}

// The sender before its options.
SignalSender NamedSender(const std::string& name) {
  SignalSender sender;
  if (name == "kernel" || name == "parent" || name == "tracer") {
    sender.by_kernel = true;
    if (name == "parent") {
      sender.ended_with = "its parent python3 (pid 812) or a thread of it ended (its death signal)";
    } else if (name == "tracer") {
      sender.ended_with = "gdb (pid 812) ended, which traced it or led its container";
    }
    return sender;
  }
  sender.pid = 812;
  sender.uid = 0;
  sender.command = name;
  sender.executable = "/usr/sbin/" + name;
  sender.cgroup = "/system.slice/virtqemud.service";
  return sender;
}

SignalSender SenderOf(const Phrase& phrase) {
  SignalSender sender = NamedSender(phrase.arguments[1]);
  sender.signal = SignalNumber(phrase.arguments[0]);
  for (size_t at = 2; at < phrase.arguments.size(); ++at) {
    const std::pair<std::string, std::string> option = absl::StrSplit(phrase.arguments[at], '=');
    sender.of_qemu |= option.first == "own" || option.first == "orphan";
    sender.descent_unproven |= option.first == "orphan";
    sender.of_qemus_user |= option.first == "user";
    if (option.first == "bare") sender.executable = sender.cgroup = "";
    if (option.first == "pid") sender.pid = std::stoi(option.second);
    if (option.first == "uid") sender.uid = std::stoi(option.second);
    if (option.first == "login") {
      sender.login_uid = std::stoi(option.second);
      sender.login_session = 12;
      sender.login_user = "alice";
      sender.remote_host = "192.0.2.7";
    }
    if (option.first == "container") {
      sender.first_process = 4700;
      if (option.second != "0") sender.first_signal = SignalNumber(option.second);
    }
  }
  return sender;
}

GuestAgentInfo AgentOf(const std::string& port) {
  const bool reported = port != "unreported";
  return {.present = true,
          .open = port == "open",
          .reported = reported,
          .port = reported ? "ch0" : "",
          .other_ports = {"spice"}};
}

ManagerEnd ManagerEndOf(const std::string& name) {
  if (name == "destroyed") return ManagerEnd::kDestroyed;
  if (name == "saved") return ManagerEnd::kSaved;
  if (name == "shutdown") return ManagerEnd::kShutdown;
  if (name == "migrated") return ManagerEnd::kMigrated;
  EXPECT_EQ(name, "failed");
  return ManagerEnd::kFailed;
}

void PlayEvent(SessionDriver* driver, const Phrase& phrase) {
  if (phrase.arguments.empty()) return driver->Event(phrase.word);
  std::vector<std::string> members;
  for (const std::string& argument : phrase.arguments) {
    const std::pair<std::string, std::string> member = absl::StrSplit(argument, '=');
    const bool is_bool = member.second == "true" || member.second == "false";
    const absl::string_view quote = is_bool ? "" : "\"";
    members.push_back(absl::StrCat("\"", member.first, "\":", quote, member.second, quote));
  }
  driver->Event(phrase.word, absl::StrCat("{", absl::StrJoin(members, ","), "}"));
}

// What the first step may be instead of a step.
struct Start {
  absl::string_view word;
  absl::string_view help;
  bool attached = false;
  bool tracked = true;
  bool of_libvirt = false;
  absl::Duration age = absl::InfiniteDuration();  // of its process
  bool stays_down = false;                        // as its command line says
  bool no_panic_device = false;                   // the same
};

constexpr Start kStarts[] = {
    {.word = "new", .help = "no monitor yet"},
    {.word = "young",
     .help = "the same; its process has just started",
     .age = absl::ZeroDuration()},
    {.word = "old", .help = "the same; its process started an hour ago", .age = absl::Hours(1)},
    {.word = "untracked", .help = "the same; its process cannot be seen", .tracked = false},
    {.word = "libvirt", .help = "libvirt has the monitor; no connection yet", .of_libvirt = true},
    {.word = "stays-down",
     .help = "attached; its command line has -no-shutdown",
     .attached = true,
     .stays_down = true},
    {.word = "no-panic-device",
     .help = "attached; it has no device that reports a panic",
     .attached = true,
     .no_panic_device = true},
};

// What happens to the VM or to the daemon.
struct Step {
  absl::string_view word;
  absl::string_view arguments;
  absl::string_view help;
  void (*play)(StoryVm* vm, const Phrase& phrase);
};

constexpr char kAnyEvent[] = "EVENT";
constexpr char kAnyLine[] = "{...}";

constexpr Step kSteps[] = {
    // QEMU and its monitor.
    {kAnyEvent, "[MEMBER=VALUE...]", "QEMU sends it",
     [](StoryVm* vm, const Phrase& phrase) { PlayEvent(vm->driver.get(), phrase); }},
    {"SHUTDOWN", "REASON", "the same, with the `guest` that the reason has",
     [](StoryVm* vm, const Phrase& phrase) {
       if (phrase.first.empty() || absl::StrContains(phrase.first, '=')) {
         return PlayEvent(vm->driver.get(), phrase);
       }
       vm->driver->Shutdown(phrase.first);
     }},
    {kAnyLine, "", "QEMU sends this line of JSON",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Line(phrase.text); }},
    {"ready", "[RUN_STATE|none]", "the monitor is attached; the VM is running, or in this state",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Ready(RunStateOf(phrase)); }},
    {"held", "", "another client has the monitor",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->Held(); }},
    {"answer", "RUN_STATE", "QEMU answers query-status",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->RunState(phrase.first); }},
    {"closed", "", "the monitor ends",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->Closed(); }},
    {"lost", "", "the monitor ends, and a second passes",
     [](StoryVm* vm, const Phrase& /*phrase*/) {
       vm->driver->Closed();
       vm->driver->Advance(absl::Seconds(1));
     }},
    {"agent", "open|closed|unreported|silent",
     "the guest agent's port; silent: QEMU answers nothing",
     [](StoryVm* vm, const Phrase& phrase) {
       if (phrase.first == "silent") return vm->driver->agent_answer.reset();
       vm->driver->Agent(AgentOf(phrase.first));
     }},
    {"can-exit", "yes|no", "whether a device lets the guest end QEMU",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->traits.guest_can_exit = phrase.first == "yes";
     }},
    {"stays-down", "", "its command line was read, and has -no-shutdown",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->StaysDown(); }},

    // Its process, and who ended it.
    {"end", "[HOW...]",
     "the monitor and the process end\n"
     "HOW: an exit code, or the name of a signal\n"
     "oom: it was killed for memory; unrecorded: the sender was not recorded",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->Closed();
       vm->driver->Gone(vm->end = EndOf(phrase));
     }},
    {"gone", "[HOW...]", "the process ends, in the same ways",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Gone(vm->end = EndOf(phrase)); }},
    {"sent", "SIGNAL NAME [OPTION...]",
     "the process NAME sends the signal: pid 812, of root\n"
     "NAME kernel: the kernel does; parent, tracer: because that one ended\n"
     "own: NAME is QEMU or descends from it; orphan: it may descend from it\n"
     "user: it runs as QEMU's user\n"
     "bare: it was gone before its executable and cgroup were read\n"
     "pid=PID, uid=UID: it has these instead\n"
     "login=UID: it is of a login of alice's\n"
     "container=SIGNAL: it sent SIGNAL to the first process of QEMU's container; 0: unseen",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Sent(SenderOf(phrase)); }},
    {"victim", "", "the kernel names it as killed for memory",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->NamedOomVictim({}); }},
    {"untrack", "", "its process cannot be seen any more",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->TrackingLost(); }},
    {"words", "journal|file TEXT", "QEMU's last ones; others may write the file",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->SetWords(
           std::string(absl::StripPrefix(phrase.rest, phrase.first + " ")),
           phrase.first == "journal" ? LastWordsSource::kJournal : LastWordsSource::kStandardError);
     }},
    {"reported", "destroyed|saved|shutdown|failed|migrated", "libvirt reports the end",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Reported(ManagerEndOf(phrase.first)); }},

    // People, the node and the daemon.
    {"declare", "[TIME]", "somebody declares an intent, for this time or 10m",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->Declare(phrase.first.empty() ? absl::Minutes(10) : TimeOf(phrase.first),
                           absl::StrCat("intent-", ++vm->declared));
     }},
    {"withdraw", "", "somebody withdraws the intent",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->Withdraw(); }},
    {"host", "down|up", "the host shuts down, or does not any more",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->Host(phrase.first == "down", "systemd-logind");
     }},
    {"rebooted", "", "the host was rebooted; nobody saw the end",
     [](StoryVm* vm, const Phrase& /*phrase*/) { vm->driver->Rebooted(); }},
    {"wait", "TIME", "this time passes",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->Advance(TimeOf(phrase.first)); }},
    {"suspend", "TIME", "the node is suspended for so long",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->StepClock(TimeOf(phrase.first)); }},
    {"restart", "[TIME]", "the daemon restarts, and was away for this time or 30s",
     [](StoryVm* vm, const Phrase& phrase) {
       vm->driver->Restart(phrase.first.empty() ? absl::Seconds(30) : TimeOf(phrase.first));
     }},
    {"attach", "[RUN_STATE|none]", "the same, and it attaches the monitor",
     [](StoryVm* vm, const Phrase& phrase) { vm->driver->RestartAndAttach(RunStateOf(phrase)); }},
};

// The shutdown file as it is now.
std::string FileOf(const StoryVm& vm) {
  const std::optional<bool>& file = vm.driver->file;
  if (!file.has_value()) return "none";
  return *file ? "written" : "removed";
}

std::string ProblemsOf(const StoryVm& vm) {
  return absl::StrJoin(ProblemTexts(vm.driver->Status().problems()), ", ");
}

std::vector<std::string> TypesOf(const StoryVm& vm) {
  std::vector<std::string> types;
  for (const EventType type : vm.driver->Types()) types.emplace_back(EventTypeName(type));
  return types;
}

ShutdownClass ClassOf(const v1::Event& event) {
  return static_cast<ShutdownClass>(event.shutdown().shutdown_class());
}

// What must be so on the way.
struct Check {
  absl::string_view word;
  absl::string_view arguments;
  absl::string_view help;
  // Returns the arguments as they would have to be.
  std::string (*actual)(const StoryVm& vm, const Phrase& phrase);
  bool changes_with_handovers = false;  // and is then not looked at
};

constexpr Check kChecks[] = {
    {"is", "STATE", "the VM's state",
     [](const StoryVm& vm, const Phrase& /*phrase*/) {
       return std::string(VmStateName(static_cast<VmState>(vm.driver->Status().state())));
     }},
    {"paused", "for RUN_STATE|nothing", "the VM is paused for it",
     [](const StoryVm& vm, const Phrase& /*phrase*/) {
       const std::string reason = vm.driver->Status().pause_reason();
       return absl::StrCat("for ", reason.empty() ? "nothing" : reason);
     }},
    {"last", "TYPE [CLASS]", "the last event",
     [](const StoryVm& vm, const Phrase& phrase) {
       const v1::Event& last = vm.driver->Last();
       const absl::string_view type = EventTypeName(static_cast<EventType>(last.type()));
       if (phrase.arguments.size() < 2) return std::string(type);
       return absl::StrCat(type, " ", ShutdownClassName(ClassOf(last)));
     }},
    {"events", "TYPE...", "all events",
     [](const StoryVm& vm, const Phrase& /*phrase*/) { return absl::StrJoin(TypesOf(vm), " "); },
     /*changes_with_handovers=*/true},  // which RESETs count as one
    {"gap", "REASON|none", "the first GAP",
     [](const StoryVm& vm, const Phrase& /*phrase*/) {
       for (const v1::Event& event : vm.driver->events) {
         if (event.type() != EventType::kGap) continue;
         return std::string(GapReasonName(static_cast<GapReason>(event.gap_reason())));
       }
       return std::string("none");
     }},
    {"problem", "CODE|TEXT", "a problem has it",
     [](const StoryVm& vm, const Phrase& phrase) {
       const std::string problems = ProblemsOf(vm);
       return absl::StrContains(problems, phrase.rest) ? phrase.rest : problems;
     }},
    {"no", "problem", "there is none",
     [](const StoryVm& vm, const Phrase& /*phrase*/) {
       const std::string problems = ProblemsOf(vm);
       return problems.empty() ? "problem" : problems;
     }},
    {"asked", "COUNT", "how often QEMU got query-status",
     [](const StoryVm& vm, const Phrase& /*phrase*/) { return absl::StrCat(vm.driver->queries); },
     /*changes_with_handovers=*/true},
    {"file", "written|removed|none", "the shutdown file",
     [](const StoryVm& vm, const Phrase& /*phrase*/) { return FileOf(vm); }},
};

// The end's sentence, and all that was seen.
std::string MessageOf(const StoryVm& vm) {
  const auto add_seen = [](std::string* out, const v1::Evidence& seen) { *out += seen.what(); };
  return absl::StrCat(vm.driver->Last().message(),
                      ". Seen: ", absl::StrJoin(vm.driver->Stopped().evidence(), ", ", add_seen),
                      ".");
}

// What an end must have. The tests of the contract read which field a word looks at.
struct Expectation {
  absl::string_view word;
  absl::string_view arguments;
  absl::string_view help;
  // Returns the arguments as they would have to be.
  std::string (*actual)(const StoryVm& vm, const v1::ShutdownDetail& end, const std::string& text);
  // What `actual` must return where the verdict does not have the word; unset: anything.
  std::optional<absl::string_view> otherwise = std::nullopt;
};

constexpr Expectation kExpectations[] = {
    {"rule", "ID", "the rule that decided",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return end.rule();
     }},
    {"seen", "TEXT", "the message or the evidence has it",
     [](const StoryVm& vm, const v1::ShutdownDetail& /*end*/, const std::string& text) {
       const std::string message = MessageOf(vm);
       return absl::StrContains(message, text) ? text : message;
     }},
    {"unseen", "TEXT", "neither has it",
     [](const StoryVm& vm, const v1::ShutdownDetail& /*end*/, const std::string& text) {
       const std::string message = MessageOf(vm);
       return absl::StrContains(message, text) ? message : text;
     }},
    {"caveat", "NAME...", "all caveats",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       std::vector<std::string> names;
       for (const int caveat : end.caveats()) {
         names.emplace_back(ShutdownCaveatName(static_cast<ShutdownCaveat>(caveat)));
       }
       return absl::StrJoin(names, " ");
     },
     /*otherwise=*/""},
    {"never", "ran", "QEMU never ran the guest",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return std::string(end.never_ran() ? "ran" : "");
     },
     /*otherwise=*/""},
    {"intent", "ID", "the intent that it was; the first one declared is intent-1",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return end.intent().intent_id();
     },
     /*otherwise=*/""},
    {"sender", "NAME|kernel|none", "who sent the signal",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       if (!end.has_sender()) return std::string("none");
       return end.sender().kernel() ? "kernel" : end.sender().command();
     }},
    {"no", "sender", "none is known",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return end.has_sender() ? end.sender().command() : "sender";
     }},
    {"login", "USER UID SESSION HOST", "the sender's login",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       const v1::SignalSender& sender = end.sender();
       return absl::StrCat(sender.login_user(), " ", sender.login_uid(), " ",
                           sender.login_session(), " ", sender.remote_host());
     }},
    {"container", "PID SIGNAL|none", "the container's first process, and the signal that it got",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       const int signal = end.sender().container_signal();
       return absl::StrCat(end.sender().container_pid(), " ",
                           signal == 0 ? "none" : SignalName(signal));
     }},
    {"parent", "ended|lives", "whether the sender's parent has ended",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return std::string(end.sender().parent_ended() ? "ended" : "lives");
     }},
    {"may", "still run|not run", "whether the VM may run elsewhere",
     [](const StoryVm& /*vm*/, const v1::ShutdownDetail& end, const std::string& /*text*/) {
       return std::string(end.may_still_run() ? "still run" : "not run");
     }},
    {"file", "written|removed|none", "the shutdown file, where its class does not say it",
     [](const StoryVm& vm, const v1::ShutdownDetail& /*end*/, const std::string& /*text*/) {
       return FileOf(vm);
     }},
};

// Returns the row of the word; null: the table has none.
template <typename Row, size_t kRows>
const Row* FindRow(const Row (&table)[kRows], absl::string_view word) {
  const auto row = std::find_if(std::begin(table), std::end(table),
                                [word](const Row& each) { return each.word == word; });
  return row == std::end(table) ? nullptr : row;
}

const Step* FindStep(const Phrase& phrase) {
  if (const Step* const step = FindRow(kSteps, phrase.word); step != nullptr) return step;
  const auto first = static_cast<unsigned char>(phrase.word[0]);
  return FindRow(kSteps, first == '{'                 ? kAnyLine
                         : absl::ascii_isupper(first) ? kAnyEvent
                                                      : phrase.word);
}

void FailOnWord(const std::string& word) {
  ADD_FAILURE() << "no such word: " << word << "\n\n" << Story::Manual();
}

// Adds a row of the manual.
void AddLine(absl::string_view word, absl::string_view arguments, absl::string_view help,
             std::string* manual) {
  constexpr size_t kColumn = 52;
  std::string line = absl::StrCat("  ", word, arguments.empty() ? "" : " ", arguments);
  line.resize(std::max(kColumn, line.size() + 1), ' ');
  const std::string indent = "\n" + std::string(kColumn, ' ');
  absl::StrAppend(manual, line, absl::StrReplaceAll(help, {{"\n", indent}}), "\n");
}

template <typename Row, size_t kRows>
void AddTable(const Row (&table)[kRows], std::string* manual) {
  for (const Row& row : table) AddLine(row.word, row.arguments, row.help, manual);
}

}  // namespace

std::string Story::Manual() {
  std::string manual =
      "A VM runs, and its monitor is attached, unless the first word says otherwise:\n";
  for (const Start& start : kStarts) AddLine(start.word, "", start.help, &manual);
  manual += "Steps:\n";
  AddTable(kSteps, &manual);
  manual += "Checks on the way:\n";
  AddTable(kChecks, &manual);
  manual += "A verdict is CLASS CAUSE, and what else is expected:\n";
  AddTable(kExpectations, &manual);
  return manual;
}

Story::Story(const std::string& steps, Before before)
    : before_(before), vm_(std::make_unique<StoryVm>()) {
  constexpr Start kAttached = {.attached = true};
  std::vector<std::string> texts = absl::StrSplit(steps, "; ");
  const Start* start = FindRow(kStarts, texts[0]);
  if (start != nullptr) {
    texts.erase(texts.begin());
  } else {
    start = &kAttached;
  }
  vm_->tracked = start->tracked;
  vm_->driver = std::make_unique<SessionDriver>(SessionOptions{.last_words = true}, start->tracked,
                                                /*has_shutdown_file=*/!start->of_libvirt,
                                                start->age, start->of_libvirt);
  vm_->driver->traits.stays_down = start->stays_down;
  vm_->driver->traits.no_panic_device = start->no_panic_device;
  if (start->attached) vm_->driver->Ready();
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    if (before_ == Before::kHandover && vm_->driver->session().CanBeHandedOver()) {
      vm_->driver->HandOver(absl::ZeroDuration());
    } else if (before_ == Before::kRestart && !vm_->driver->saved.empty()) {
      vm_->driver->Restart(absl::ZeroDuration());
    }
    Play(text);
  }
}

Story::~Story() = default;

void Story::Play(const std::string& text) {
  const Phrase phrase(text);
  if (const Step* const step = FindStep(phrase); step != nullptr) {
    return step->play(vm_.get(), phrase);
  }
  const Check* const check = FindRow(kChecks, phrase.word);
  if (check == nullptr) return FailOnWord(phrase.word);
  if (before_ == Before::kRestart) return;
  if (before_ == Before::kHandover && check->changes_with_handovers) return;
  EXPECT_EQ(check->actual(*vm_, phrase), phrase.rest);
}

void Story::ExpectVerdict(const std::string& verdict) const {
  const v1::ShutdownDetail& end = vm_->driver->Stopped();
  const ShutdownClass of_class = ClassOf(vm_->driver->Last());
  if (before_ == Before::kRestart) return ExpectNoOtherClass(verdict);
  const std::string message = MessageOf(*vm_);
  std::vector<std::string> texts = absl::StrSplit(verdict, "; ");
  EXPECT_EQ(absl::StrCat(ShutdownClassName(of_class), " ",
                         ShutdownCauseName(static_cast<ShutdownCause>(end.cause()))),
            texts[0])
      << message;
  texts.erase(texts.begin());
  std::set<std::string> words;
  for (const std::string& text : texts) {
    const Phrase phrase(text);
    words.insert(phrase.word);
    const Expectation* const expected = FindRow(kExpectations, phrase.word);
    if (expected == nullptr) {
      FailOnWord(phrase.word);
      continue;
    }
    EXPECT_EQ(expected->actual(*vm_, end, phrase.rest), phrase.rest)
        << phrase.word << ": " << message;
  }
  for (const Expectation& expected : kExpectations) {
    if (!expected.otherwise.has_value() || words.count(std::string(expected.word)) > 0) continue;
    EXPECT_EQ(expected.actual(*vm_, end, ""), *expected.otherwise)
        << expected.word << ": " << message;
  }
  EXPECT_FALSE(end.evidence().empty());
  EXPECT_EQ(std::count(vm_->driver->log.begin(), vm_->driver->log.end(), "STOPPED"), 1);
  if (words.count("file") == 0 && of_class != ShutdownClass::kUnknown) {
    EXPECT_EQ(vm_->driver->file, of_class == ShutdownClass::kUser);
  }
  ExpectExitStatus();
}

void Story::ExpectNoOtherClass(const std::string& verdict) const {
  const ShutdownClass of_class = ClassOf(vm_->driver->Last());
  if (of_class == ShutdownClass::kUnknown) return;
  EXPECT_EQ(ShutdownClassName(of_class), verdict.substr(0, verdict.find(' ')))
      << vm_->driver->Last().message();
}

void Story::ExpectExitStatus() const {
  const v1::ShutdownDetail& end = vm_->driver->Stopped();
  const std::optional<ExitStatus> status = vm_->tracked ? vm_->end.status : std::nullopt;
  ASSERT_EQ(end.has_exit_code() || end.has_exit_signal(), status.has_value());
  if (!status.has_value()) return;
  EXPECT_EQ(end.exit_code(), status->code);
  EXPECT_EQ(end.exit_signal().number(), status->signal);
  EXPECT_THAT(MessageOf(*vm_), testing::HasSubstr(DescribeExit(*status)));
}

}  // namespace vmeventd
