// The text of `why`: the verdict first, then the facts behind it, then the VM as it is now.

#include <algorithm>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr size_t kEvidenceClock = 12;  // 12:00:00.123
constexpr size_t kTogether = 60;       // limit of a line of evidence of one moment

std::string VerdictWords(const v1::ShutdownDetail& shutdown) {
  const char* doubt = shutdown.caveats_size() > 0 ? "?" : "";
  switch (shutdown.shutdown_class()) {
    case v1::SHUTDOWN_CLASS_USER:
      return absl::StrCat("ENDED BY ITS USER", doubt);
    case v1::SHUTDOWN_CLASS_ADMIN:
      return absl::StrCat("ENDED BY AN ADMIN", doubt);
    case v1::SHUTDOWN_CLASS_CRASH:
      return "CRASHED";
    case v1::SHUTDOWN_CLASS_UNKNOWN:
      return "ENDED, UNKNOWN WHY";
    default:
      return absl::StrCat("ENDED, CLASS ", ShortName(shutdown.shutdown_class()));
  }
}

// "bash (pid 7, uid 0, /system.slice/x.service)", at the beginning of a sentence.
std::string SenderWords(const v1::SignalSender& sender) {
  if (sender.kernel()) return "The kernel";
  if (sender.command().empty()) return absl::StrCat("Process ", sender.pid());
  std::string words =
      absl::StrCat(SenderName(sender), " (pid ", sender.pid(), ", uid ", sender.uid());
  if (sender.cgroup().size() > 1) {
    absl::StrAppend(&words, ", ", EscapeForTerminal(sender.cgroup()));
  }
  return absl::StrCat(words, ")", sender.of_qemu() ? ", of QEMU itself," : "");
}

std::string CrashSentence(const v1::ShutdownDetail& shutdown) {
  const int signal = shutdown.exit_signal().number();
  std::string text = signal != 0 ? absl::StrCat("QEMU was killed by ", SignalName(signal),
                                                ": a crash of QEMU itself.")
                                 : absl::StrCat("QEMU gave up with exit code ",
                                                shutdown.exit_code(), ": an error of its own.");
  if (shutdown.has_sender()) {
    return absl::StrCat(text, " ", SenderWords(shutdown.sender()), " sent the signal.");
  }
  return shutdown.has_intent() ? text : text + " Nobody on the host asked for it.";
}

// The sentence of the event's message, which has the class before it and the evidence behind it.
std::string MessageSentence(const v1::Event& stopped) {
  const v1::ShutdownDetail& shutdown = stopped.shutdown();
  absl::string_view text = stopped.message();
  absl::ConsumePrefix(&text, absl::StrCat(ShortName(shutdown.shutdown_class()), ": "));
  text = text.substr(0, text.find(". Seen: "));
  // The intent stands on a line of its own.
  const v1::Intent& intent = shutdown.intent();
  absl::ConsumeSuffix(&text,
                      absl::StrCat(", as ", intent.actor(), " intended (", intent.reason(), ")"));
  std::string sentence = text.empty() ? CauseWords(shutdown.cause()) : EscapeForTerminal(text);
  sentence[0] = absl::ascii_toupper(static_cast<unsigned char>(sentence[0]));
  return absl::EndsWith(sentence, ".") ? sentence : sentence + ".";
}

std::string CaveatSentence(int caveat, const v1::ShutdownDetail& shutdown) {
  switch (caveat) {
    case v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED:
      return " A guest agent was connected, by which the host may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE:
      return " A guest agent may have been connected, by which the host may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_POWERDOWN_EARLIER:
      return absl::StrCat(" The host had pressed the power button ",
                          AgeText(FromProto(shutdown.powerdown_age())), " earlier.");
    case v1::SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN:
      return " The host was shutting down, and may have asked for it.";
    default:
      return "";
  }
}

// Appends lines of at most `width` columns, the first behind `first`; 0: one line.
void AddLines(const std::string& first, absl::string_view text, size_t width, std::string* out) {
  const size_t indent = first.size();
  const size_t room = width == 0 ? SIZE_MAX : std::max<size_t>(width, indent + 20) - indent;
  std::string margin = first;
  for (const std::string& line : WrapText(text, room)) {
    absl::StrAppend(out, margin, line, "\n");
    margin = std::string(indent, ' ');
  }
}

// A name as a shell takes it.
std::string ForShell(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_-.+@", c);
  });
  if (plain && !absl::StartsWith(name, "-")) return name;
  return absl::StrCat("-- '", absl::StrReplaceAll(EscapeForTerminal(name), {{"'", "'\\''"}}), "'");
}

std::string ForMarkdown(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::StrContains("\\`*_[]<>&|~#", c)) out += '\\';
    out += c;
  }
  return out;
}

// The evidence, a line for each moment, whose date is shown where it is not that of `day`.
std::string EvidenceLines(const v1::ShutdownDetail& shutdown, absl::CivilDay day,
                          absl::TimeZone zone, size_t width, const Painter& painter) {
  std::string lines;
  std::string before;
  std::string together;
  const auto flush = [&] {
    if (together.empty()) return;
    std::string added;
    AddLines(std::string(4 + std::max(before.size(), kEvidenceClock), ' '), together, width,
             &added);
    added.replace(2, before.size(), before);
    absl::StrAppend(&lines, "  ", painter.Paint(before, Color::kDim),
                    added.substr(2 + before.size()));
  };
  for (const v1::Evidence& evidence : shutdown.evidence()) {
    const absl::Time at = FromProto(evidence.time());
    const std::string time = !evidence.has_time()                ? ""
                             : absl::ToCivilDay(at, zone) == day ? ClockText(at, zone)
                                                                 : LocalTimeText(at, zone);
    const std::string what = EscapeForTerminal(evidence.what());
    if (!time.empty() && time == before && together.size() + what.size() < kTogether) {
      absl::StrAppend(&together, ", ", what);
      continue;
    }
    flush();
    before = time;
    together = what;
  }
  flush();
  return lines;
}

}  // namespace

std::string EndSentence(const v1::Event& stopped) {
  const v1::ShutdownDetail& shutdown = stopped.shutdown();
  const int signal =
      shutdown.has_sender() ? shutdown.sender().signal() : shutdown.exit_signal().number();
  std::string text;
  switch (shutdown.cause()) {
    case v1::SHUTDOWN_CAUSE_HOST_SIGNAL:
    case v1::SHUTDOWN_CAUSE_HOST_KILL:
    case v1::SHUTDOWN_CAUSE_QEMU_KILLED:
      if (shutdown.has_sender()) {
        text = absl::StrCat(SenderWords(shutdown.sender()), " sent QEMU ", SignalName(signal), ".");
      } else if (signal != 0) {
        text = absl::StrCat("QEMU was ended by ", SignalName(signal), "; sender not recorded.");
      } else {
        text = "The host sent QEMU a signal to end; which one and its sender are not recorded.";
      }
      break;
    case v1::SHUTDOWN_CAUSE_QEMU_CRASHED:
      text = CrashSentence(shutdown);
      break;
    case v1::SHUTDOWN_CAUSE_HOST_POWERDOWN:
      text = MessageSentence(stopped);
      if (shutdown.has_powerdown_age()) {
        text = absl::StrCat("The host pressed the power button, and the guest obeyed after ",
                            DurationText(FromProto(shutdown.powerdown_age())), ".");
      }
      break;
    default:
      text = MessageSentence(stopped);
  }
  for (const int caveat : shutdown.caveats()) text += CaveatSentence(caveat, shutdown);
  return text;
}

namespace {

// Writes one story.
class StoryText {
 public:
  StoryText(const VmStory& story, const TableStyle& style)
      : story_(story),
        style_(style),
        painter_(style.color),
        width_(style.wide ? 0 : style.width),
        now_(style.now ? style.now() : absl::Now()),
        node_(story.vm ? story.vm->node : story.end->node),
        moved_(story.end &&
               (story.end->node.name != node_.name || story.end->node.cluster != node_.cluster)) {}

  std::string Text() const {
    const std::string name = EscapeForTerminal(story_.name);
    const std::string& at = moved_ ? story_.end->node.name : node_.name;
    const std::string place = at.empty() ? "" : absl::StrCat(" on ", EscapeForTerminal(at));
    const std::string verdict =
        story_.end ? VerdictWords(story_.end->event.shutdown()) : "has not ended";
    const std::string when = When();
    const std::string body =
        absl::StrCat(story_.end ? absl::StrCat(End(), "\n") : "", Now(), style_.wide ? Wide() : "");
    if (style_.markdown) {
      return absl::StrCat("**", ForMarkdown(name), ForMarkdown(place), " ", verdict, "** ", when,
                          "\n\n```text\n", body, "```\n");
    }
    const size_t used = DisplayWidth(name) + DisplayWidth(place) + verdict.size() + 4 + when.size();
    const bool fits = width_ == 0 || used <= width_;
    const Color color =
        story_.end ? ColorOf(story_.end->event.shutdown().shutdown_class()) : Color::kNone;
    return absl::StrCat(painter_.Paint(name, Color::kBold), place, " ",
                        painter_.Paint(verdict, color),
                        !fits        ? "\n  "
                        : story_.end ? "   "
                                     : " ",
                        when, "\n", body);
  }

 private:
  std::string DayAndTime(absl::Time time) const {
    return absl::FormatTime("%a %Y-%m-%d %H:%M:%S %Z", time, style_.zone);
  }
  // "09:58:07" of today, or with its date.
  std::string Since(absl::Time time) const {
    const bool today = absl::ToCivilDay(time, style_.zone) == absl::ToCivilDay(now_, style_.zone);
    return today ? absl::FormatTime("%H:%M:%S", time, style_.zone) : DayAndTime(time);
  }
  std::string Ago(absl::Time time) const { return absl::StrCat(AgeText(now_ - time), " ago"); }

  std::string When() const {
    if (!story_.end) {
      const v1::Vm& vm = story_.vm->vm;
      if (!vm.has_start_time()) return "";
      const absl::Time start = FromProto(vm.start_time());
      return absl::StrCat("since ", DayAndTime(start), ", its start ", Ago(start));
    }
    const absl::Time time = FromProto(story_.end->event.observe_time());
    return absl::StrCat(
        DayAndTime(time), " (", Ago(time), ")",
        story_.started ? absl::StrCat(", after running ", AgeText(time - *story_.started)) : "");
  }

  std::string End() const {
    const v1::Event& end = story_.end->event;
    const v1::ShutdownDetail& shutdown = end.shutdown();
    std::string text;
    if (shutdown.has_intent()) AddLines("  ", IntentWords(shutdown.intent()), width_, &text);
    AddLines("  ", EndSentence(end), width_, &text);
    const absl::CivilDay day = absl::ToCivilDay(FromProto(end.observe_time()), style_.zone);
    return absl::StrCat(text, EvidenceLines(shutdown, day, style_.zone, width_, painter_),
                        "  rule ", EscapeForTerminal(shutdown.rule()), " (class ",
                        ShortName(shutdown.shutdown_class()), ", cause ",
                        CauseWords(shutdown.cause()), ")\n");
  }

  static std::string IntentWords(const v1::Intent& intent) {
    const std::string by = intent.declared_by().empty()
                               ? ""
                               : absl::StrCat(" (", EscapeForTerminal(intent.declared_by()), ")");
    return absl::StrCat("Intent of ", EscapeForTerminal(intent.actor()), by, ": ",
                        EscapeForTerminal(intent.reason()));
  }

  std::string State(const v1::Vm& vm) const {
    std::string state = ShortName(vm.state());
    if (node_.stale_since) {
      return absl::StrCat(state, " (stale: the node ",
                          *node_.stale_since == absl::InfinitePast()
                              ? "has no heartbeat"
                              : absl::StrCat("was last seen at ", Since(*node_.stale_since)),
                          ")");
    }
    if (vm.state() == v1::VM_STATE_STOPPED) return state;
    if (vm.has_state_time()) absl::StrAppend(&state, " since ", Since(FromProto(vm.state_time())));
    if (vm.ref().pid() != 0) absl::StrAppend(&state, " (pid ", vm.ref().pid(), ")");
    if (moved_) absl::StrAppend(&state, " on ", EscapeForTerminal(node_.name));
    if (vm.has_shutdown()) absl::StrAppend(&state, ": ", CauseWords(vm.shutdown().cause()));
    return state;
  }

  std::string Ends() const {
    int ends = 0;
    std::vector<std::string> classes;
    for (const auto& [shutdown_class, count] : story_.ends) {
      ends += count;
      classes.push_back(absl::StrCat(ShortName(shutdown_class), " ", count));
    }
    if (ends > 0) return absl::StrCat(ends, " in the last 24 h: ", absl::StrJoin(classes, ", "));
    return story_.end ? "none in the last 24 h" : "";
  }

  std::string Now() const {
    FactList facts(painter_, 5);
    if (story_.vm) {
      const v1::Vm& vm = story_.vm->vm;
      facts.Add("Now", State(vm), node_.stale_since ? Color::kYellow : ColorOf(vm.state()));
      if (vm.has_intent()) {
        const std::string until =
            vm.intent().has_expire_time()
                ? absl::StrCat(" (until ", Since(FromProto(vm.intent().expire_time())), ")")
                : "";
        facts.Add("", absl::StrCat(IntentWords(vm.intent()), until));
      }
      for (const v1::Problem& problem : vm.problems()) {
        facts.Add("", EscapeForTerminal(problem.text()), Color::kYellow);
      }
    }
    facts.Add("Ends", Ends());
    facts.Add("More", absl::StrCat("vmevents events ", ForShell(story_.name)));
    if (story_.end && story_.end->event.shutdown().exit_signal().core_dumped() &&
        story_.end->event.vm().pid() != 0) {
      facts.Add("", absl::StrCat("coredumpctl info ", story_.end->event.vm().pid()));
    }
    return facts.Take();
  }

  // Run, source and monitor of the VM.
  std::string Wide() const {
    FactList facts(painter_);
    if (story_.vm) {
      const v1::Vm& vm = story_.vm->vm;
      facts.Add("run", EscapeForTerminal(vm.ref().run_id()));
      facts.Add("uuid", EscapeForTerminal(vm.ref().uuid()));
      facts.Add("labels", EscapeForTerminal(LabelsText(vm.ref())));
      facts.Add("cluster", EscapeForTerminal(node_.cluster));
      facts.Add("started",
                vm.has_start_time() ? DayAndTime(FromProto(vm.start_time())) : std::string());
      facts.Add("qemu", EscapeForTerminal(vm.qemu_version()));
      facts.Add("source", EscapeForTerminal(vm.ref().source()));
      facts.Add("monitor", EscapeForTerminal(vm.monitor_path()));
      facts.Add("last sequence", absl::StrCat(vm.last_sequence()));
      facts.Add("intent id", EscapeForTerminal(vm.intent().intent_id()));
    }
    if (story_.end) {
      const v1::Event& end = story_.end->event;
      facts.Add("ended run", EscapeForTerminal(end.vm().run_id()));
      facts.Add("shutdown file",
                end.shutdown().shutdown_file_written() ? "written" : "not written");
    }
    return absl::StrCat("\n", facts.Take());
  }

  const VmStory& story_;
  const TableStyle& style_;
  const Painter painter_;
  const size_t width_;
  const absl::Time now_;
  const MessageNode& node_;  // of the VM as it is now
  const bool moved_;         // the end was on another node
};

}  // namespace

absl::StatusOr<std::string> TableFormatter::FormatWhy(const VmStory& story) {
  return StoryText(story, style_).Text();
}

}  // namespace vmeventd::client
