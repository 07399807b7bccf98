#include "client/output/event_text.h"

#include <csignal>
#include <cstring>
#include <map>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "google/protobuf/descriptor.h"

namespace vmeventd::client {
namespace {

// "VM_STATE_", of its first value VM_STATE_UNSPECIFIED.
absl::string_view PrefixOf(const google::protobuf::EnumDescriptor& descriptor) {
  return absl::StripSuffix(descriptor.value(0)->name(), "UNSPECIFIED");
}

// Returns whether somebody acts where a VM ends so.
bool IsAct(v1::ShutdownCause cause) {
  static constexpr v1::ShutdownCause kActs[] = {
      v1::SHUTDOWN_CAUSE_HOST_SIGNAL,  v1::SHUTDOWN_CAUSE_HOST_KILL,
      v1::SHUTDOWN_CAUSE_HOST_DESTROY, v1::SHUTDOWN_CAUSE_HOST_SHUTDOWN,
      v1::SHUTDOWN_CAUSE_QEMU_KILLED,  v1::SHUTDOWN_CAUSE_OUT_OF_MEMORY};
  return absl::c_linear_search(kActs, cause);
}

// "the kernel", its command, or "pid 7". Escaped.
std::string SenderName(const v1::SignalSender& sender) {
  if (sender.kernel()) return "the kernel";
  return sender.command().empty() ? absl::StrCat("pid ", sender.pid())
                                  : EscapeForTerminal(sender.command());
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
  const bool sent = shutdown.has_sender();
  // QEMU aborts where it finds a fault of its own.
  const bool aborted = signal == SIGABRT && (!sent || shutdown.sender().of_qemu());
  std::string text = signal != 0 ? absl::StrCat("QEMU was killed by ", SignalName(signal),
                                                aborted ? ": a crash of QEMU itself."
                                                        : ", which counts as a crash of QEMU.")
                                 : absl::StrCat("QEMU exited with code ", shutdown.exit_code(),
                                                ": an error of its own.");
  if (sent) return absl::StrCat(text, " ", SenderWords(shutdown.sender()), " sent the signal.");
  if (shutdown.has_intent()) return text;
  return text + (signal == 0 || aborted ? " No request to end it was seen."
                                        : " Who sends this signal is not recorded.");
}

// The sentence of the event's message, which has the class before it and the evidence behind it.
std::string MessageSentence(const v1::ShutdownDetail& shutdown, absl::string_view text) {
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
                          DurationText(FromProto(shutdown.powerdown_age())), " earlier.");
    case v1::SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN:
      return " vmeventd may have missed a press of the power button.";
    case v1::SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN:
      return " The host was shutting down, and may have asked for it.";
    case v1::SHUTDOWN_CAVEAT_NO_PANIC_DEVICE:
      return " QEMU has no panic device: the guest may have panicked.";
    default:
      return "";
  }
}

}  // namespace

std::string EnumName(const google::protobuf::EnumDescriptor& descriptor, int number) {
  const auto* value = descriptor.FindValueByNumber(number);
  if (value == nullptr) return absl::StrCat(number);
  return std::string(absl::StripPrefix(value->name(), PrefixOf(descriptor)));
}

std::string TableName(v1::EventType type) {
  static const auto* const kNames =
      new std::map<v1::EventType, const char*>{{v1::EVENT_TYPE_GUEST_SHUTDOWN, "GUEST_DOWN"},
                                               {v1::EVENT_TYPE_POWERDOWN_REQUESTED, "POWERDOWN"},
                                               {v1::EVENT_TYPE_HIBERNATING, "HIBERNATE"},
                                               {v1::EVENT_TYPE_GUEST_PANICKED, "PANICKED"},
                                               {v1::EVENT_TYPE_WATCHDOG_EXPIRED, "WATCHDOG"},
                                               {v1::EVENT_TYPE_MEMORY_FAILURE, "MEM_FAIL"},
                                               {v1::EVENT_TYPE_MONITOR_LOST, "MON_LOST"},
                                               {v1::EVENT_TYPE_MONITOR_RESTORED, "MON_BACK"},
                                               {v1::EVENT_TYPE_INTENT_DECLARED, "INTENT"},
                                               {v1::EVENT_TYPE_INTENT_WITHDRAWN, "INTENT_END"},
                                               {v1::EVENT_TYPE_STATE_CHANGED, "STATE"},
                                               {v1::EVENT_TYPE_PROBLEMS_CHANGED, "PROBLEMS"},
                                               {v1::EVENT_TYPE_PVSHUTDOWN_REQUESTED, "PVSHUTDOWN"}};
  const auto found = kNames->find(type);
  return found == kNames->end() ? ShortName(type) : found->second;
}

std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& descriptor) {
  std::vector<std::string> names;
  for (int i = 1; i < descriptor.value_count(); ++i) {
    names.push_back(EnumName(descriptor, descriptor.value(i)->number()));
  }
  return names;
}

absl::StatusOr<int> ParseEnumName(const google::protobuf::EnumDescriptor& descriptor,
                                  absl::string_view name) {
  const absl::string_view prefix = PrefixOf(descriptor);
  const std::string upper = absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}});
  const auto* value =
      descriptor.FindValueByName(absl::StrCat(prefix, absl::StripPrefix(upper, prefix)));
  if (value != nullptr && value->number() != 0) return value->number();
  if (&descriptor == v1::EventType_descriptor()) {
    for (int type = 1; type <= v1::EventType_MAX; ++type) {  // 0 is unspecified
      if (TableName(static_cast<v1::EventType>(type)) == upper) return type;
    }
  }
  // "VM state" of "VM_STATE_".
  const std::string noun = absl::StrReplaceAll(
      absl::AsciiStrToLower(absl::StripSuffix(prefix, "_")), {{"_", " "}, {"vm_", "VM "}});
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a known ", noun,
                                                 "; use one of ",
                                                 absl::StrJoin(EnumNames(descriptor), ", ")));
}

std::string ClassWord(const v1::ShutdownDetail& shutdown) {
  return ShortName(shutdown.shutdown_class()) + (shutdown.caveats_size() > 0 ? "?" : "");
}

std::string EndsText(const std::map<v1::ShutdownClass, int>& ends, absl::Duration window) {
  int all = 0;
  std::vector<std::string> classes;
  for (const auto& [shutdown_class, count] : ends) {
    all += count;
    classes.push_back(absl::StrCat(ShortName(shutdown_class), " ", count));
  }
  return absl::StrCat(all == 0 ? "none" : absl::StrCat(all), " in the last ", DurationText(window),
                      all == 0 ? "" : ": ", absl::StrJoin(classes, ", "));
}

std::string SubjectWord(absl::string_view name) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", "-"}});
}

std::string SubjectWords(const v1::Event& event) {
  const auto word = [](const auto value, absl::string_view kind) {
    const std::string name = ShortName(value);
    return absl::ascii_isdigit(name[0]) ? absl::StrCat(kind, "-", name) : SubjectWord(name);
  };
  const v1::ShutdownClass shutdown_class = event.shutdown().shutdown_class();
  return absl::StrCat(word(event.type(), "type"),
                      shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED
                          ? ""
                          : absl::StrCat(".", word(shutdown_class, "class")));
}

std::string CauseWords(v1::ShutdownCause cause) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(ShortName(cause)), {{"_", " "}});
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

std::string LabelsText(const v1::VmRef& vm) {
  const std::map<std::string, std::string> labels(vm.labels().begin(), vm.labels().end());
  return absl::StrJoin(labels, ",", [](std::string* out, const auto& label) {
    absl::StrAppend(out, label.first, "=",
                    absl::StrReplaceAll(label.second, {{",", "\\,"}, {"\\", "\\\\"}}));
  });
}

bool HasLabels(const v1::VmRef& vm,
               const google::protobuf::RepeatedPtrField<std::string>& selectors) {
  return selectors.empty() || absl::c_any_of(selectors, [&vm](const std::string& text) {
           const absl::StatusOr<LabelSelector> selector = LabelSelector::Parse(text);
           return selector.ok() && selector->Matches(vm.labels());
         });
}

std::string IntentPrefix(const v1::ShutdownDetail& shutdown) {
  if (!shutdown.has_intent()) return "";
  return absl::StrCat(EscapeForTerminal(shutdown.intent().actor()), ": ",
                      EscapeForTerminal(shutdown.intent().reason()), "; ");
}

std::string ShortEnd(const v1::ShutdownDetail& shutdown) {
  std::string text = absl::StrCat(IntentPrefix(shutdown), CauseWords(shutdown.cause()));
  if (shutdown.has_sender() && IsAct(shutdown.cause())) {
    absl::StrAppend(&text, " by ", SenderName(shutdown.sender()));
  } else if (shutdown.exit_signal().number() != 0) {
    absl::StrAppend(&text, ", ", SignalName(shutdown.exit_signal().number()));
  } else if (shutdown.exit_code() != 0) {
    absl::StrAppend(&text, ", exit ", shutdown.exit_code());
  }
  return text;
}

std::string EndSentence(const v1::ShutdownDetail& shutdown, absl::string_view message) {
  const int signal =
      shutdown.has_sender() ? shutdown.sender().signal() : shutdown.exit_signal().number();
  std::string text = MessageSentence(shutdown, message);
  switch (shutdown.cause()) {
    case v1::SHUTDOWN_CAUSE_HOST_SIGNAL:
    case v1::SHUTDOWN_CAUSE_HOST_KILL:
    case v1::SHUTDOWN_CAUSE_QEMU_KILLED:
      text = shutdown.has_sender() ? absl::StrCat(SenderWords(shutdown.sender()), " sent QEMU ",
                                                  SignalName(signal), ".")
             : signal != 0
                 ? absl::StrCat("QEMU was ended by ", SignalName(signal), "; sender not recorded.")
                 : "The host sent QEMU a signal to end; which one and its sender are not recorded.";
      break;
    case v1::SHUTDOWN_CAUSE_QEMU_CRASHED:
      text = CrashSentence(shutdown);
      break;
    case v1::SHUTDOWN_CAUSE_UNOBSERVED:
      // An intent shows who ended it, whoever sent the signal.
      if (!shutdown.has_intent() || shutdown.shutdown_class() != v1::SHUTDOWN_CLASS_ADMIN) break;
      text = signal != 0 ? absl::StrCat("QEMU was ended by ", SignalName(signal), ", as intended.")
                         : "It ended as intended; how was not seen.";
      break;
    case v1::SHUTDOWN_CAUSE_HOST_POWERDOWN:
      if (!shutdown.has_powerdown_age()) break;
      text = absl::StrCat("The host pressed the power button, and the guest obeyed after ",
                          DurationText(FromProto(shutdown.powerdown_age())), ".");
      break;
    default:
      break;
  }
  for (const int caveat : shutdown.caveats()) text += CaveatSentence(caveat, shutdown);
  return text;
}

}  // namespace vmeventd::client
