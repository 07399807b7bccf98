#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/duration_text.h"
#include "base/signal_name.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/verdicts.h"
#include "watcher/session/end_words.h"

namespace vmeventd {

// Plays a VM's life, step by step, and checks its verdict.
// Steps and verdicts are separated by "; ". A VM runs, and its monitor is attached, unless the
// first step says otherwise:
//   new, young, old, untracked    no monitor yet; the process has just started, or did an hour ago;
//                              it cannot be seen
//   libvirt                    libvirt has the monitor; no connection yet
// Steps:
//   EVENT [MEMBER=VALUE...]    of QEMU; SHUTDOWN REASON has its `guest` as well; or a whole line
//   ready [RUN_STATE], held    the monitor is attached; another client has it
//   answer RUN_STATE           to query-status
//   closed, lost               the monitor ends; and a second passes
//   restart [TIME], attach [RUN_STATE]   of the daemon, which then reaches the monitor
//   end [HOW...], gone [HOW...]  the process ends, with the monitor before; HOW: an exit code, a
//                              signal; oom, unrecorded (the sender)
//   sent SIGNAL NAME [...]     by a process of root's, or "kernel"; own, user, bare, pid=, uid=,
//                              login=, container=FIRST_SIGNAL
//   agent open|closed|unreported|silent    the guest agent's port
//   words journal|file TEXT    QEMU's last ones; others may write the file
//   wait TIME, suspend TIME (of the node), declare [TIME], withdraw, host down|up, rebooted,
//   victim, untrack, can-exit yes|no, no-panic-device, stays-down                 its command line
//   has -no-shutdown reported destroyed|saved|shutdown|failed|migrated   the end, by libvirt
// Checks on the way:
//   is STATE, paused for RUN_STATE|nothing, last TYPE [CLASS], events TYPE..., gap REASON (of
//   the first one), problem CODE|TEXT, no problem, asked COUNT, file written|removed|none
// Verdict: CLASS CAUSE, and what else is expected:
//   never ran, rule ID, seen TEXT, unseen TEXT, caveat NAME..., intent ID, sender NAME, login USER
//   UID SESSION HOST, no sender, container PID SIGNAL (of the sender), parent ended|lives, may
//   still run|not run, file ...
class Story {
  using Words = std::vector<std::string>;

 public:
  // What comes before each step. A handover misses nothing, so it changes no verdict; it is
  // possible wherever the monitor answers. A restart is one of the daemon, which does not reach the
  // monitor again by itself.
  enum class Before { kNothing, kHandover, kRestart };

  explicit Story(const std::string& steps, Before before = Before::kNothing) : before_(before) {
    const std::string start = steps.substr(0, steps.find(';'));
    tracked_ = start != "untracked";
    const absl::Duration age = start == "young" ? absl::ZeroDuration()
                               : start == "old" ? absl::Hours(1)
                                                : absl::InfiniteDuration();
    vm_ = std::make_unique<SessionDriver>(SessionOptions{.last_words = true}, tracked_,
                                          /*has_shutdown_file=*/start != "libvirt", age,
                                          start == "libvirt");
    const Words starts = {"new", "young", "old", "untracked", "libvirt"};
    const bool attached = std::find(starts.begin(), starts.end(), start) == starts.end();
    vm_->traits.stays_down = start == "stays-down";
    vm_->traits.no_panic_device = start == "no-panic-device";
    if (attached) vm_->Ready();
    Words all = absl::StrSplit(steps, "; ");
    if (!attached) all.erase(all.begin());
    for (const std::string& step : all) {
      SCOPED_TRACE(step);
      if (before == Before::kHandover && vm_->session().CanBeHandedOver()) {
        vm_->HandOver(absl::ZeroDuration());
      } else if (before == Before::kRestart && !vm_->saved.empty()) {
        vm_->Restart(absl::ZeroDuration());
      }
      Play(step);
    }
  }

  void ExpectVerdict(const std::string& verdict) const {
    const v1::ShutdownDetail& detail = vm_->Stopped();
    const auto add_seen = [](std::string* out, const v1::Evidence& seen) { *out += seen.what(); };
    const std::string message = absl::StrCat(
        vm_->Last().message(), ". Seen: ", absl::StrJoin(detail.evidence(), ", ", add_seen), ".");
    if (before_ == Before::kRestart) return ExpectNoOtherClass(verdict);
    std::vector<std::string> caveats;
    std::string intent;
    bool file_is_named = false;
    bool never_ran = false;
    const Words all = absl::StrSplit(verdict, "; ");
    EXPECT_EQ(absl::StrCat(ShutdownClassName(static_cast<ShutdownClass>(detail.shutdown_class())),
                           " ", ShutdownCauseName(static_cast<ShutdownCause>(detail.cause()))),
              all[0])
        << message;
    for (size_t at = 1; at < all.size(); ++at) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(all[at], absl::MaxSplits(' ', 1));
      const auto& [word, text] = parts;
      const bool is_seen = absl::StrContains(message, text);
      std::string actual = text;
      if (word == "rule") {
        actual = detail.rule();
      } else if (word == "seen" || word == "unseen") {
        if (is_seen != (word == "seen")) actual = message;
      } else if (word == "caveat") {
        caveats = absl::StrSplit(text, ' ');
      } else if (word == "never") {
        never_ran = true;
      } else if (word == "intent") {
        intent = text;
      } else if (word == "sender") {
        actual = !detail.has_sender()       ? "none"
                 : detail.sender().kernel() ? "kernel"
                                            : detail.sender().command();
      } else if (word == "login") {
        const v1::SignalSender& sender = detail.sender();
        actual = absl::StrCat(sender.login_user(), " ", sender.login_uid(), " ",
                              sender.login_session(), " ", sender.remote_host());
      } else if (word == "container") {
        const v1::SignalSender& sender = detail.sender();
        const int signal = sender.container_signal();
        actual =
            absl::StrCat(sender.container_pid(), " ", signal == 0 ? "none" : SignalName(signal));
      } else if (word == "parent") {
        actual = detail.sender().parent_ended() ? "ended" : "lives";
      } else if (word == "may") {
        actual = detail.may_still_run() ? "still run" : "not run";
      } else if (word == "no") {
        if (detail.has_sender()) actual = detail.sender().command();
      } else {
        EXPECT_EQ(word, "file");
        actual = FileNow();
        file_is_named = true;
      }
      EXPECT_EQ(actual, text) << word << ": " << message;
    }
    std::vector<std::string> found;
    for (const int caveat : detail.caveats()) {
      found.emplace_back(ShutdownCaveatName(static_cast<ShutdownCaveat>(caveat)));
    }
    EXPECT_EQ(found, caveats) << message;
    EXPECT_EQ(detail.intent().intent_id(), intent);
    EXPECT_EQ(detail.never_ran(), never_ran) << message;
    EXPECT_FALSE(detail.evidence().empty());
    EXPECT_EQ(std::count(vm_->log.begin(), vm_->log.end(), "STOPPED"), 1);
    if (!file_is_named && detail.shutdown_class() != ShutdownClass::kUnknown) {
      EXPECT_EQ(vm_->file, detail.shutdown_class() == ShutdownClass::kUser);
    }
    const std::optional<ExitStatus> status = tracked_ ? end_.status : std::nullopt;
    ASSERT_EQ(detail.has_exit_code() || detail.has_exit_signal(), status.has_value());
    if (!status.has_value()) return;
    EXPECT_EQ(detail.exit_code(), status->code);
    EXPECT_EQ(detail.exit_signal().number(), status->signal);
    EXPECT_THAT(message, testing::HasSubstr(DescribeExit(*status)));
  }

 private:
  // What nobody saw may turn a verdict into UNKNOWN, but into no other.
  void ExpectNoOtherClass(const std::string& verdict) const {
    const auto of_class = static_cast<ShutdownClass>(vm_->Stopped().shutdown_class());
    if (of_class == ShutdownClass::kUnknown) return;
    EXPECT_EQ(ShutdownClassName(of_class), verdict.substr(0, verdict.find(' ')))
        << vm_->Last().message();
  }

  void Play(const std::string& step) {
    if (step[0] == '{') return vm_->Line(step);
    const Words words = absl::StrSplit(step, ' ');
    const std::string& word = words[0];
    const std::string first = words.size() > 1 ? words[1] : "";
    const std::string rest(absl::StripPrefix(absl::StripPrefix(step, word), " "));
    const std::string run_state = first == "none" ? "" : first.empty() ? "running" : first;
    if (absl::ascii_isupper(static_cast<unsigned char>(word[0]))) return PlayEvent(words);
    if (word == "ready") return vm_->Ready(run_state);
    if (word == "held") return vm_->Held();
    if (word == "answer") return vm_->RunState(first);
    if (word == "closed" || word == "lost") {
      vm_->Closed();
      if (word == "lost") vm_->Advance(absl::Seconds(1));
      return;
    }
    if (word == "restart") return vm_->Restart(first.empty() ? absl::Seconds(30) : Time(first));
    if (word == "attach") return vm_->RestartAndAttach(run_state);
    if (word == "end") vm_->Closed();
    if (word == "end" || word == "gone") return vm_->Gone(end_ = End(words));
    if (word == "sent") return vm_->Sent(Sender(words));
    if (word == "agent") return PlayAgent(first);
    if (word == "words") {
      vm_->SetWords(
          std::string(absl::StripPrefix(rest, first + " ")),
          first == "journal" ? LastWordsSource::kJournal : LastWordsSource::kStandardError);
      return;
    }
    if (word == "wait") return vm_->Advance(Time(first));
    if (word == "suspend") return vm_->StepClock(Time(first));
    if (word == "declare") {
      vm_->Declare(first.empty() ? absl::Minutes(10) : Time(first),
                   absl::StrCat("intent-", ++declared_));
      return;
    }
    if (word == "withdraw") return vm_->Withdraw();
    if (word == "host") return vm_->Host(first == "down", "systemd-logind");
    if (word == "rebooted") return vm_->Rebooted();
    if (word == "victim") return vm_->NamedOomVictim({});
    if (word == "untrack") return vm_->TrackingLost();
    if (word == "no-panic-device") return;
    if (word == "stays-down") return vm_->StaysDown();
    if (word == "reported") {
      return vm_->Reported(first == "destroyed"  ? ManagerEnd::kDestroyed
                           : first == "saved"    ? ManagerEnd::kSaved
                           : first == "shutdown" ? ManagerEnd::kShutdown
                           : first == "migrated" ? ManagerEnd::kMigrated
                                                 : ManagerEnd::kFailed);
    }
    if (word == "can-exit") {
      vm_->traits.guest_can_exit = first == "yes";
      return;
    }
    if (before_ == Before::kRestart) return;
    // A handover resets how often QEMU is asked, and which RESET events count as one.
    if (before_ == Before::kHandover && (word == "asked" || word == "events")) return;
    EXPECT_EQ(Found(words, rest), rest);
  }

  // Returns the outcome of a check; `rest` is the expected one.
  std::string Found(const Words& words, const std::string& rest) const {
    const std::string& word = words[0];
    if (word == "is") return std::string(VmStateName(static_cast<VmState>(vm_->Status().state())));
    if (word == "paused") {
      const std::string reason = vm_->Status().pause_reason();
      return absl::StrCat("for ", reason.empty() ? "nothing" : reason);
    }
    if (word == "asked") return absl::StrCat(vm_->queries);
    if (word == "file") return FileNow();
    const std::string problems = absl::StrJoin(ProblemTexts(vm_->Status().problems()), ", ");
    if (word == "no") return problems.empty() ? "problem" : problems;
    if (word == "problem") return absl::StrContains(problems, rest) ? rest : problems;
    Words types;
    for (const EventType type : vm_->Types()) types.emplace_back(EventTypeName(type));
    if (word == "events") return absl::StrJoin(types, " ");
    if (word == "gap") {
      const auto gap = std::find_if(vm_->events.begin(), vm_->events.end(), [](const auto& event) {
        return event.type() == EventType::kGap;
      });
      if (gap == vm_->events.end()) return "none";
      return std::string(GapReasonName(static_cast<GapReason>(gap->gap_reason())));
    }
    if (word != "last") return "no such word";
    if (words.size() < 3) return types.back();
    const auto of_class = static_cast<ShutdownClass>(vm_->Last().shutdown().shutdown_class());
    return absl::StrCat(types.back(), " ", ShutdownClassName(of_class));
  }

  void PlayEvent(const Words& words) {
    if (words.size() == 1) return vm_->Event(words[0]);
    if (!absl::StrContains(words[1], '=')) return vm_->Shutdown(words[1]);
    std::vector<std::string> members;
    for (size_t at = 1; at < words.size(); ++at) {
      const std::pair<std::string, std::string> member = absl::StrSplit(words[at], '=');
      const bool is_bool = member.second == "true" || member.second == "false";
      members.push_back(absl::StrCat("\"", member.first, "\":", is_bool ? "" : "\"", member.second,
                                     is_bool ? "" : "\""));
    }
    vm_->Event(words[0], absl::StrCat("{", absl::StrJoin(members, ","), "}"));
  }

  void PlayAgent(const std::string& port) {
    if (port == "silent") return vm_->agent_answer.reset();
    vm_->Agent({.present = true,
                .open = port == "open",
                .reported = port != "unreported",
                .port = port == "unreported" ? "" : "ch0",
                .other_ports = {"spice"}});
  }

  static int SignalNumber(const std::string& name) {
    int signal = 1;
    while (signal < 32 && SignalName(signal) != name) ++signal;
    return signal;
  }

  static ProcessEnd End(const Words& words) {
    ProcessEnd end;
    for (size_t at = 1; at < words.size(); ++at) {
      const std::string& how = words[at];
      if (absl::StartsWith(how, "SIG")) end = Signal(SignalNumber(how));
      if (how[0] >= '0' && how[0] <= '9') end = Exited(std::stoi(how));
      end.oom_killed |= how == "oom";
      if (how == "unrecorded") end.sender_unknown = "not recorded";
    }
    return end;
  }

  static SignalSender Sender(const Words& words) {
    SignalSender sender{.signal = SignalNumber(words[1])};
    if (words[2] == "kernel") {
      sender.by_kernel = true;
    } else if (words[2] == "parent") {
      sender.by_kernel = true;
      sender.ended_with = "its parent python3 (pid 812) or a thread of it ended (its death signal)";
    } else if (words[2] == "tracer") {
      sender.by_kernel = true;
      sender.ended_with = "gdb (pid 812) ended, which traced it or led its container";
    } else {
      sender.pid = 812;
      sender.uid = 0;
      sender.command = words[2];
      sender.executable = "/usr/sbin/" + words[2];
      sender.cgroup = "/system.slice/virtqemud.service";
    }
    for (size_t at = 3; at < words.size(); ++at) {
      const std::pair<std::string, std::string> option = absl::StrSplit(words[at], '=');
      sender.of_qemu |= option.first == "own" || option.first == "orphan";
      sender.descent_unproven |= option.first == "orphan";
      sender.of_qemus_user |= option.first == "user";
      if (option.first == "bare") sender.executable = sender.cgroup = "";
      if (option.first == "pid") sender.pid = std::stoi(option.second);
      if (option.first == "login") {
        sender.login_uid = std::stoi(option.second);
        sender.login_session = 12;
        sender.login_user = "alice";
        sender.remote_host = "192.0.2.7";
      }
      if (option.first == "uid") sender.uid = std::stoi(option.second);
      if (option.first != "container") continue;
      sender.first_process = 4700;
      if (option.second != "0") sender.first_signal = SignalNumber(option.second);
    }
    return sender;
  }

  static absl::Duration Time(const std::string& text) {
    absl::Duration time;
    EXPECT_TRUE(absl::ParseDuration(text, &time)) << text;
    return time;
  }
  std::string FileNow() const {
    return !vm_->file.has_value() ? "none" : *vm_->file ? "written" : "removed";
  }

  const Before before_;
  std::unique_ptr<SessionDriver> vm_;
  bool tracked_ = true;
  ProcessEnd end_;
  int declared_ = 0;
};

}  // namespace vmeventd
