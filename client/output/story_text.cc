#include "client/output/story_text.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "client/output/colors.h"
#include "client/output/end_text.h"
#include "client/output/ends_count.h"
#include "client/output/enum_names.h"
#include "client/output/fact_list.h"
#include "client/output/names_to_paste.h"
#include "client/output/shell_quote.h"
#include "client/output/table_style.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/output/vm_text.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/manager_logs.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_source.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {
namespace {

constexpr size_t kEvidenceClock = 12;  // 12:00:00.123

// A QEMU that is restarted begins milliseconds after the end of the earlier one, whose STOPPED may
// come 1.1 s later, as its exit status and last words are waited for.
constexpr absl::Duration kRestartSlack = absl::Milliseconds(1'500);

// Returns whether it is the libvirt of one of KubeVirt's pods, whose socket is in a volume of the
// pod.
bool IsOfPod(const VmSource& source) {
  return source.key == kLibvirtKey && absl::StrContains(source.where, "/kubelet/pods/");
}

bool IsOfGaneti(const VmSource& source) {
  return source.key == kQmpKey && IsGanetiControlDirectory(source.where);
}

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
      if (shutdown.never_ran()) return "ENDED BEFORE IT RAN";
      return shutdown.cause() == v1::SHUTDOWN_CAUSE_NEVER_RAN ? "FAILED TO START"
                                                              : "ENDED, UNKNOWN WHY";
    default:
      return absl::StrCat("ENDED, CLASS ", ShortName(shutdown.shutdown_class()));
  }
}

std::string ForMarkdown(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::StrContains("\\`*_[]<>&|~#", c)) out += '\\';
    out += c;
  }
  return out;
}

// Writes one story.
class StoryWriter {
 public:
  StoryWriter(const VmStory& story, const TableStyle& style)
      : story_(story),
        style_(style),
        painter_(style.color),
        width_(style.wide || style.markdown ? 0 : style.width),
        now_(style.now ? style.now() : absl::Now()),
        node_(story.vm ? story.vm->node : story.end->node),
        moved_(story.end &&
               (story.end->node.name != node_.name || story.end->node.cluster != node_.cluster)) {}

  std::string Text() const {
    const std::string name = EscapeForTerminal(story_.name);
    const std::string& at = moved_ ? story_.end->node.name : node_.name;
    const std::string place = absl::StrCat(
        at.empty() ? "" : absl::StrCat(" on ", EscapeForTerminal(at)),
        story_.is_former ? absl::StrCat(", another VM of this name, ", Which(), ", gone:") : "");
    const std::string verdict =
        story_.end ? VerdictWords(story_.end->event.shutdown()) : "has not ended";
    const std::string when = When();
    const std::string body = absl::StrCat(story_.end ? absl::StrCat(End(), "\n") : "", Now());
    const std::string present = Present();
    if (style_.markdown) {
      return absl::StrCat(present.empty() ? "" : absl::StrCat("**", ForMarkdown(present), "**\n\n"),
                          "**", ForMarkdown(name), ForMarkdown(place), " ", verdict, "** ", when,
                          "\n\n```text\n", body, "```\n");
    }
    const size_t used = DisplayWidth(name) + DisplayWidth(place) + verdict.size() + 4 + when.size();
    const bool fits = width_ == 0 || used <= width_;
    const Color color =
        story_.end ? ColorOf(story_.end->event.shutdown().shutdown_class()) : Color::kNone;
    std::string first;
    for (const std::string& line : WrapText(present, width_ == 0 ? SIZE_MAX : width_)) {
      if (!line.empty()) absl::StrAppend(&first, painter_.Paint(line, Color::kYellow), "\n");
    }
    return absl::StrCat(first, painter_.Paint(name, Color::kBold), place, " ",
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
  // "09:58:07" of today, or with its date, as a ticket is read later.
  std::string Since(absl::Time time) const {
    const bool today = absl::ToCivilDay(time, style_.zone) == absl::ToCivilDay(now_, style_.zone);
    return today && !style_.markdown ? absl::FormatTime("%H:%M:%S", time, style_.zone)
                                     : DayAndTime(time);
  }
  // Returns "disk2 is PAUSED since 21:00:00: paused by QEMU after an I/O error" for a VM that has
  // trouble now, which matters more than how an earlier run ended; otherwise "".
  std::string Present() const {
    if (!story_.vm || node_.stale_since) return "";
    const v1::Vm& vm = story_.vm->vm;
    const bool has_trouble = vm.state() == v1::VM_STATE_PAUSED ||
                             vm.state() == v1::VM_STATE_UNREACHABLE || vm.problems_size() > 0;
    if (vm.state() == v1::VM_STATE_STOPPED || !has_trouble) return "";
    const std::string problems = ProblemsText(vm);
    const std::string pause = problems.empty() ? PauseWords(vm.pause_reason()) : "";
    return absl::StrCat(
        EscapeForTerminal(absl::StrCat(
            story_.name, node_.name.empty() ? "" : absl::StrCat(" on ", node_.name), " is ",
            ShortName(vm.state()),
            vm.has_state_time() ? absl::StrCat(" since ", Since(FromTimestamp(vm.state_time())))
                                : "",
            problems.empty() ? "" : ": ", problems)),
        pause.empty() ? "" : ": ", pause);
  }
  // Returns the UUID or the run that distinguishes the VM from others with its name.
  std::string Which() const {
    const v1::VmRef& vm = story_.ref();
    return EscapeForTerminal(vm.uuid().empty() ? absl::StrCat("run ", vm.run_id())
                                               : absl::StrCat("UUID ", vm.uuid()));
  }
  std::string Ago(absl::Time time) const { return absl::StrCat(DurationText(now_ - time), " ago"); }

  std::string When() const {
    if (!story_.end) {
      const v1::Vm& vm = story_.vm->vm;
      if (!vm.has_start_time()) return "";
      const absl::Time start = FromTimestamp(vm.start_time());
      return absl::StrCat("since its start, ", DayAndTime(start), " (", Ago(start), ")");
    }
    const absl::Time time = FromTimestamp(story_.end->event.observe_time());
    const v1::ShutdownDetail& shutdown = story_.end->event.shutdown();
    const v1::EndNumbers& numbers = shutdown.numbers();
    return absl::StrCat(
        shutdown.has_last_seen_time()
            ? absl::StrCat(BetweenText(FromTimestamp(shutdown.last_seen_time()), time, style_.zone),
                           absl::FormatTime(" %Z", time, style_.zone))
            : DayAndTime(time),
        " (", Ago(time), ")",
        shutdown.never_ran() ? absl::StrCat(", before it ran", HeldFor(numbers))
        : shutdown.cause() == v1::SHUTDOWN_CAUSE_NEVER_RAN ? ", before it was seen running"
        : numbers.ran_for().seconds() > 0
            ? absl::StrCat(", after running ", DurationText(FromProtoDuration(numbers.ran_for())))
            : "");
  }

  static std::string HeldFor(const v1::EndNumbers& numbers) {
    if (numbers.ran_for().seconds() == 0) return "";
    return absl::StrCat(", held for ", DurationText(FromProtoDuration(numbers.ran_for())));
  }

  // "09:58:07.123" on the day of the end, otherwise with its date.
  std::string EvidenceTime(absl::Time time) const {
    const absl::Time end = FromTimestamp(story_.end->event.observe_time());
    const bool same_day = absl::ToCivilDay(time, style_.zone) == absl::ToCivilDay(end, style_.zone);
    return same_day ? absl::FormatTime("%H:%M:%E3S", time, style_.zone)
                    : LocalTimeText(time, style_.zone);
  }

  std::string End() const {
    const v1::Event& end = story_.end->event;
    const v1::ShutdownDetail& shutdown = end.shutdown();
    FactList sentences(painter_, 0, width_);
    if (shutdown.has_intent()) sentences.Add("", IntentWords(shutdown.intent()));
    sentences.Add("", EndSentence(shutdown, end.message()));
    FactList evidence(painter_, 2 + kEvidenceClock, width_);
    for (const v1::Evidence& seen : shutdown.evidence()) {
      evidence.Add(
          absl::StrCat("  ", seen.has_time() ? EvidenceTime(FromTimestamp(seen.time())) : ""),
          seen.what());
    }
    for (const v1::Event& late : story_.late_intents) {
      evidence.Add(absl::StrCat("  ", EvidenceTime(FromTimestamp(late.observe_time()))),
                   absl::StrCat(IntentWords(late.intent()), " (came too late)"));
    }
    FactList rest(painter_, 0, width_);
    if (const v1::EndNumbers& numbers = shutdown.numbers(); numbers.has_peak_memory_bytes()) {
      const uint64_t limit = numbers.memory_limit_bytes() >> 20;
      rest.Add("", absl::StrCat("memory: at most ", numbers.peak_memory_bytes() >> 20, " MiB",
                                limit > 0 ? absl::StrCat(", of a limit of ", limit, " MiB") : ""));
    }
    rest.Add(
        "", absl::StrCat("rule ", shutdown.rule(), " (class ", ShortName(shutdown.shutdown_class()),
                         ", cause ", CauseWords(shutdown.cause()), ")"));
    if (shutdown.may_still_run()) {
      rest.Add("",
               "It may still run, here or on another host: make sure that it does not before you "
               "start it.");
    }
    return absl::StrCat(sentences.Take(), evidence.Take(), LastWords(shutdown.last_words()),
                        rest.Take());
  }

  std::string LastWords(const v1::LastWords& words) const {
    if (words.lines().empty()) return "";
    const int source = words.source();
    FactList lines(painter_, 2, width_);
    if (words.truncated()) lines.Add("", "...");
    for (auto line = words.lines().begin(); line != words.lines().end();) {
      const auto next = std::find_if(line, words.lines().end(),
                                     [&](const std::string& other) { return other != *line; });
      const auto count = next - line;
      lines.Add("", count == 1 ? *line : absl::StrCat(*line, " (", count, " times)"));
      line = next;
    }
    return absl::StrCat("  QEMU's last words, ",
                        source == v1::LAST_WORDS_SOURCE_LIBVIRT_LOG ? "in libvirt's log"
                        : source == v1::LAST_WORDS_SOURCE_JOURNAL   ? "in the journal"
                                                                    : "on its standard error",
                        ":\n", lines.Take());
  }

  static std::string IntentWords(const v1::Intent& intent) {
    const std::string by =
        intent.declared_by().empty() ? "" : absl::StrCat(" (", intent.declared_by(), ")");
    return absl::StrCat("Intent of ", intent.actor(), by, ": ", intent.reason());
  }

  std::string State(const v1::Vm& vm) const {
    std::string state = ShortName(vm.state());
    if (node_.stale_since) {
      return absl::StrCat(state, " (stale: the node ",
                          *node_.stale_since == absl::InfinitePast()
                              ? "has no heartbeat, or has lost its journal"
                              : absl::StrCat("was last seen at ", Since(*node_.stale_since)),
                          ")");
    }
    if (vm.state() == v1::VM_STATE_STOPPED) return state;
    if (vm.has_state_time())
      absl::StrAppend(&state, " since ", Since(FromTimestamp(vm.state_time())));
    absl::StrAppend(&state, PidText(vm.ref()));
    if (moved_) absl::StrAppend(&state, " on ", node_.name);
    if (const std::string why = PauseWords(vm.pause_reason()); !why.empty()) {
      absl::StrAppend(&state, ": ", why);
    }
    if (vm.has_shutdown()) absl::StrAppend(&state, ": ", CauseWords(vm.shutdown().cause()));
    return state;
  }

  // Returns whether the run that is shown now had begun when the run ended whose end is shown: two
  // QEMUs of one name. A VM that has moved may run at its target before its source ends.
  bool IsAnotherQemu() const {
    if (!story_.end || !story_.vm || node_.stale_since || moved_) return false;
    const v1::Vm& vm = story_.vm->vm;
    const v1::Event& end = story_.end->event;
    if (vm.state() == v1::VM_STATE_STOPPED || vm.ref().run_id() == end.vm().run_id()) return false;
    if (!vm.has_start_time() && !vm.has_state_time()) return false;
    const auto& since = vm.has_start_time() ? vm.start_time() : vm.state_time();
    // The event of an end that nobody saw has the time of its discovery.
    const v1::ShutdownDetail& shutdown = end.shutdown();
    const auto& alive =
        shutdown.has_last_seen_time() ? shutdown.last_seen_time() : end.observe_time();
    return FromTimestamp(since) + kRestartSlack < FromTimestamp(alive);
  }
  // " (pid 4711)", or "" if it is not known.
  static std::string PidText(const v1::VmRef& vm) {
    return vm.pid() == 0 ? "" : absl::StrCat(" (pid ", vm.pid(), ")");
  }

  std::string Now() const {
    FactList facts(painter_, 5);
    if (story_.vm) {
      const v1::Vm& vm = story_.vm->vm;
      facts.Add("Now", State(vm), node_.stale_since ? Color::kYellow : ColorOf(vm.state()));
      if (IsAnotherQemu()) {
        facts.Add("",
                  absl::StrCat("another QEMU of that name", PidText(vm.ref()),
                               ": it began before that end"),
                  Color::kYellow);
      }
      if (vm.has_intent()) {
        const std::string until =
            vm.intent().has_expire_time()
                ? absl::StrCat(" (until ", Since(FromTimestamp(vm.intent().expire_time())), ")")
                : "";
        facts.Add("", absl::StrCat(IntentWords(vm.intent()), until));
      }
      for (const v1::Problem& problem : vm.problems()) {
        facts.Add("", problem.text(), Color::kYellow);
      }
    }
    if (story_.end && story_.vm) facts.Add("Ends", EndsText(story_.ends, kCountedEnds));
    const v1::VmRef& vm = story_.ref();
    std::string which = NamesToPaste({story_.name});
    if (const auto name = vm.labels().find("nova.name"); name != vm.labels().end()) {
      facts.Add("nova", EscapeForTerminal(name->second));
    }
    if (story_.shared) {
      const bool named = !vm.uuid().empty();
      const std::string& id = named ? vm.uuid() : vm.run_id();
      facts.Add(named ? "UUID" : "Run", id);
      which = absl::StrCat(named ? "--uuid " : "--run ", QuoteForShell(id));
    }
    facts.Add("More", absl::StrCat(style_.invocation.Line("events "), which));
    if (story_.end) AddWhereToLook(&facts);
    return facts.Take();
  }

  void AddWhereToLook(FactList* facts) const {
    const v1::Event& end = story_.end->event;
    const auto add_on_node = [&](const std::string& line) {
      const std::string& node = story_.end->node.name;
      facts->Add("", style_.nodes && !node.empty()
                         ? absl::StrCat("on ", EscapeForTerminal(node), ": ", line)
                         : line);
    };
    const std::string unit = end.vm().unit();
    const std::string core = end.shutdown().core();
    // KubeVirt names a domain NAMESPACE_NAME, and no namespace has a "_".
    const std::vector<std::string> names = absl::StrSplit(end.vm().name(), absl::MaxSplits('_', 1));
    if (end.shutdown().shutdown_class() == v1::SHUTDOWN_CLASS_USER) return;
    const VmSource source = ParseVmSource(end.vm().source());
    if (IsOfPod(source) && names.size() == 2) {
      const std::string pod = absl::StrCat("-n ", QuoteForShell(names[0]),
                                           " -l vm.kubevirt.io/name=", QuoteForShell(names[1]));
      facts->Add("", absl::StrCat("kubectl describe pod ", pod));
      facts->Add("", absl::StrCat("kubectl logs ", pod, " -c compute --tail=50"));
    } else if (IsOfGaneti(source) &&
               end.shutdown().last_words().source() != v1::LAST_WORDS_SOURCE_JOURNAL) {
      // QEMU's standard error, which the unit's journal does not have where Ganeti started it.
      const std::string log = absl::StrCat(kGanetiLogs, "/", end.vm().name(), ".log");
      add_on_node(absl::StrCat("tail ", QuoteForShell(log)));
    } else if (absl::EndsWith(unit, ".service") || absl::EndsWith(unit, ".scope")) {
      add_on_node(absl::StrCat("journalctl -u ", QuoteForShell(unit)));
    }
    if (!core.empty()) {
      add_on_node(absl::StrCat("core: ", core));
    } else if (end.shutdown().exit_signal().core_dumped() && end.vm().pid() != 0) {
      add_on_node(absl::StrCat("coredumpctl info ", end.vm().pid()));
    }
  }

  const VmStory& story_;
  const TableStyle& style_;
  const Painter painter_;
  const size_t width_;
  const absl::Time now_;
  const MessageNode& node_;  // node of the VM as it is now
  const bool moved_;         // the end was on another node
};

}  // namespace

std::string StoryText(const VmStory& story, const TableStyle& style) {
  return StoryWriter(story, style).Text();
}

}  // namespace vmeventd::client
