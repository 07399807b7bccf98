#include "client/output/format_table.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/output/enum_names.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

Color ClassColor(v1::ShutdownClass shutdown_class) {
  switch (shutdown_class) {
    case v1::SHUTDOWN_CLASS_USER:
      return Color::kGreen;
    case v1::SHUTDOWN_CLASS_ADMIN:
      return Color::kBlue;
    case v1::SHUTDOWN_CLASS_CRASH:
      return Color::kRed;
    case v1::SHUTDOWN_CLASS_UNKNOWN:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

Color TypeColor(v1::EventType type) {
  switch (type) {
    case v1::EVENT_TYPE_STOPPED:
    case v1::EVENT_TYPE_STARTED:
      return Color::kBold;
    case v1::EVENT_TYPE_GUEST_PANICKED:
    case v1::EVENT_TYPE_WATCHDOG_EXPIRED:
    case v1::EVENT_TYPE_IO_ERROR:
    case v1::EVENT_TYPE_MEMORY_FAILURE:
      return Color::kRed;
    case v1::EVENT_TYPE_GAP:
    case v1::EVENT_TYPE_MONITOR_LOST:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

Color StateColor(v1::VmState state) {
  switch (state) {
    case v1::VM_STATE_RUNNING:
      return Color::kGreen;
    case v1::VM_STATE_UNREACHABLE:
      return Color::kYellow;
    case v1::VM_STATE_STOPPED:
      return Color::kDim;
    default:
      return Color::kCyan;
  }
}

// "guest poweroff" for GUEST_POWEROFF.
std::string CauseWords(v1::ShutdownCause cause) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(ShortName(cause)), {{"_", " "}});
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

std::string ExitWords(const v1::ShutdownDetail& shutdown) {
  if (!shutdown.exit_status_known()) return "";
  if (shutdown.exit_signal() != 0)
    return absl::StrCat("killed by ", SignalName(shutdown.exit_signal()));
  return absl::StrCat("exit code ", shutdown.exit_code());
}

std::string Problems(const v1::Vm& vm) {
  return absl::StrJoin(vm.problems(), "; ", [](std::string* out, const std::string& problem) {
    absl::StrAppend(out, EscapeForTerminal(problem));
  });
}

std::string WhatHappened(const v1::Event& event) {
  if (event.has_shutdown()) return ShutdownSentence(event.shutdown(), event.message());
  std::string detail = EscapeForTerminal(event.message());
  if (detail.empty()) detail = EscapeForTerminal(event.qmp_event());
  if (event.has_intent()) {
    absl::StrAppend(&detail, detail.empty() ? "" : "; ", "by ",
                    EscapeForTerminal(event.intent().actor()), ": ",
                    EscapeForTerminal(event.intent().reason()));
  }
  return detail;
}

std::string EventDetail(const v1::Event& event) {
  return absl::StrCat(event.durable() ? "" : "(not durable) ", WhatHappened(event));
}

std::vector<Cell> EventRow(const v1::Event& event, absl::TimeZone zone) {
  Cell shutdown_class;
  if (event.has_shutdown()) {
    shutdown_class = {ShortName(event.shutdown().class_()), ClassColor(event.shutdown().class_())};
  }
  return {{LocalTimeText(FromProto(event.observe_time()), zone), Color::kDim},
          {absl::StrCat(event.sequence())},
          {EscapeForTerminal(event.vm().name()), Color::kBold},
          {ShortName(event.type()), TypeColor(event.type())},
          std::move(shutdown_class),
          {EventDetail(event)}};
}

std::string VmDetail(const v1::Vm& vm) {
  std::vector<std::string> parts;
  if (vm.has_shutdown()) parts.push_back(ShutdownSentence(vm.shutdown(), ""));
  if (vm.problems_size() > 0) parts.push_back(Problems(vm));
  if (vm.has_intent()) {
    parts.push_back(absl::StrCat("intent of ", EscapeForTerminal(vm.intent().actor()), ": ",
                                 EscapeForTerminal(vm.intent().reason())));
  }
  return absl::StrJoin(parts, "; ");
}

std::string TimeOrDash(bool known, const google::protobuf::Timestamp& time, absl::TimeZone zone) {
  return known ? LocalTimeText(FromProto(time), zone) : "-";
}

std::vector<Cell> VmRow(const v1::Vm& vm, absl::TimeZone zone) {
  Cell shutdown_class;
  if (vm.has_shutdown()) {
    shutdown_class = {ShortName(vm.shutdown().class_()), ClassColor(vm.shutdown().class_())};
  }
  return {{EscapeForTerminal(vm.ref().name()), Color::kBold},
          {ShortName(vm.state()), StateColor(vm.state())},
          {TimeOrDash(vm.has_state_time(), vm.state_time(), zone)},
          {vm.ref().pid() == 0 ? "-" : absl::StrCat(vm.ref().pid())},
          {vm.qemu_version().empty() ? "-" : EscapeForTerminal(vm.qemu_version())},
          std::move(shutdown_class),
          {VmDetail(vm)}};
}

// Lines of "name   value", the values aligned.
class FactList {
 public:
  explicit FactList(const Painter& painter) : layout_({{"", 14}, {"", 0}}, painter) {}

  void Add(const char* name, std::string value, Color color = Color::kNone) {
    if (value.empty()) return;
    text_ += layout_.Line({{name, Color::kDim}, {std::move(value), color}});
  }
  std::string Take() { return std::move(text_); }

 private:
  ColumnLayout layout_;
  std::string text_;
};

void AddShutdown(const v1::ShutdownDetail& shutdown, absl::TimeZone zone, FactList* facts) {
  facts->Add("class", ShortName(shutdown.class_()), ClassColor(shutdown.class_()));
  facts->Add("cause", CauseWords(shutdown.cause()));
  facts->Add("rule", EscapeForTerminal(shutdown.rule()));
  if (shutdown.has_powerdown_age()) {
    facts->Add("powerdown", absl::StrCat(DurationText(FromProto(shutdown.powerdown_age())),
                                         " before the shutdown"));
  }
  facts->Add("exit", ExitWords(shutdown));
  if (shutdown.has_intent()) {
    facts->Add("intent", absl::StrCat(EscapeForTerminal(shutdown.intent().actor()), ": ",
                                      EscapeForTerminal(shutdown.intent().reason())));
  }
  facts->Add("shutdown file", shutdown.shutdown_file_written() ? "written" : "not written");
  for (int i = 0; i < shutdown.evidence_size(); ++i) {
    const v1::Evidence& evidence = shutdown.evidence(i);
    const std::string what = EscapeForTerminal(evidence.what());
    facts->Add(i == 0 ? "evidence" : "",
               evidence.has_time()
                   ? absl::StrCat(LocalTimeText(FromProto(evidence.time()), zone), "  ", what)
                   : what);
  }
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

}  // namespace

std::string ShutdownSentence(const v1::ShutdownDetail& shutdown, absl::string_view message) {
  std::string sentence = CauseWords(shutdown.cause());
  // The class has its own column.
  absl::ConsumePrefix(&message, absl::StrCat(ShortName(shutdown.class_()), ": "));
  if (!message.empty()) absl::StrAppend(&sentence, ": ", EscapeForTerminal(message));
  std::vector<std::string> seen;
  bool named = true;  // the message names all evidence
  for (const v1::Evidence& evidence : shutdown.evidence()) {
    seen.push_back(EscapeForTerminal(evidence.what()));
    named = named && absl::StrContains(message, evidence.what());
  }
  if (named) return sentence;
  return absl::StrCat(sentence, " (seen: ", absl::StrJoin(seen, ", then "), ")");
}

// The widths fit usual rows, so that rows printed one by one are aligned.
TableFormatter::TableFormatter(bool color, absl::TimeZone zone)
    : painter_(color),
      zone_(zone),
      event_layout_(
          {{"TIME", 23}, {"SEQUENCE", 8}, {"VM", 16}, {"EVENT", 18}, {"CLASS", 7}, {"DETAIL", 0}},
          painter_) {}

std::string TableFormatter::EventHeading() {
  return absl::StrCat(vms_shown_ ? "\n" : "", event_layout_.Heading());
}

absl::StatusOr<std::string> TableFormatter::FormatEvents(const Events& events) {
  std::vector<std::vector<Cell>> rows;
  rows.reserve(static_cast<size_t>(events.size()));
  for (const v1::Event& event : events) {
    rows.push_back(EventRow(event, zone_));
    event_layout_.Fit(rows.back());
  }
  std::string text;
  for (const std::vector<Cell>& row : rows) text += event_layout_.Line(row);
  return text;
}

absl::StatusOr<std::string> TableFormatter::FormatVms(const Vms& vms) {
  ColumnLayout layout({{"VM"}, {"STATE"}, {"SINCE"}, {"PID"}, {"QEMU"}, {"CLASS"}, {"DETAIL"}},
                      painter_);
  std::vector<std::vector<Cell>> rows;
  rows.reserve(static_cast<size_t>(vms.size()));
  for (const v1::Vm& vm : vms) {
    rows.push_back(VmRow(vm, zone_));
    layout.Fit(rows.back());
  }
  vms_shown_ = true;
  std::string text = layout.Heading();
  for (const std::vector<Cell>& row : rows) text += layout.Line(row);
  return text;
}

absl::StatusOr<std::string> TableFormatter::FormatVm(const v1::Vm& vm) {
  FactList facts(painter_);
  facts.Add("name", EscapeForTerminal(vm.ref().name()), Color::kBold);
  facts.Add("state", ShortName(vm.state()), StateColor(vm.state()));
  facts.Add("since", TimeOrDash(vm.has_state_time(), vm.state_time(), zone_));
  facts.Add("run", EscapeForTerminal(vm.ref().run_id()));
  facts.Add("uuid", EscapeForTerminal(vm.ref().uuid()));
  facts.Add("pid", vm.ref().pid() == 0 ? "not visible" : absl::StrCat(vm.ref().pid()));
  facts.Add("started", TimeOrDash(vm.has_start_time(), vm.start_time(), zone_));
  facts.Add("qemu", EscapeForTerminal(vm.qemu_version()));
  facts.Add("monitor", EscapeForTerminal(vm.monitor_path()));
  facts.Add("last sequence", absl::StrCat(vm.last_sequence()));
  if (vm.has_intent()) {
    facts.Add("open intent", absl::StrCat(EscapeForTerminal(vm.intent().actor()), ": ",
                                          EscapeForTerminal(vm.intent().reason())));
    facts.Add("intent id", EscapeForTerminal(vm.intent().intent_id()));
    facts.Add("expires",
              TimeOrDash(vm.intent().has_expire_time(), vm.intent().expire_time(), zone_));
  }
  if (vm.has_shutdown()) AddShutdown(vm.shutdown(), zone_, &facts);
  for (int i = 0; i < vm.problems_size(); ++i) {
    facts.Add(i == 0 ? "problems" : "", EscapeForTerminal(vm.problems(i)), Color::kYellow);
  }
  return facts.Take();
}

absl::StatusOr<std::string> TableFormatter::FormatIntent(const v1::Intent& intent) {
  FactList facts(painter_);
  facts.Add("intent", EscapeForTerminal(intent.intent_id()), Color::kBold);
  facts.Add("actor", EscapeForTerminal(intent.actor()));
  facts.Add("reason", EscapeForTerminal(intent.reason()));
  facts.Add("expires", TimeOrDash(intent.has_expire_time(), intent.expire_time(), zone_));
  return facts.Take();
}

absl::StatusOr<std::string> TableFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  FactList facts(painter_);
  facts.Add("version", EscapeForTerminal(info.version()));
  facts.Add("node", EscapeForTerminal(info.node()));
  facts.Add("node id", EscapeForTerminal(info.node_id()));
  facts.Add("started", TimeOrDash(info.has_start_time(), info.start_time(), zone_));
  facts.Add("journal", EscapeForTerminal(info.journal_id()));
  facts.Add("writable", YesNo(info.journal_writable()),
            info.journal_writable() ? Color::kNone : Color::kYellow);
  facts.Add("oldest event", absl::StrCat(info.oldest_sequence()));
  facts.Add("newest event", absl::StrCat(info.newest_sequence()));
  facts.Add("VMs", absl::StrCat(info.vms()));
  facts.Add("streams", absl::StrCat(info.streams()));
  facts.Add("exit status", EscapeForTerminal(info.exit_status_source()));
  for (int i = 0; i < info.directories_size(); ++i) {
    const v1::WatchedDirectory& directory = info.directories(i);
    facts.Add(i == 0 ? "watched" : "",
              absl::StrCat(EscapeForTerminal(directory.path()), ":",
                           EscapeForTerminal(directory.pattern()), "  ",
                           directory.present()
                               ? absl::StrCat(directory.sockets(),
                                              directory.sockets() == 1 ? " socket" : " sockets")
                               : "missing"),
              directory.present() ? Color::kNone : Color::kYellow);
  }
  for (int i = 0; i < info.unfollowed_sockets_size(); ++i) {
    const v1::UnfollowedSocket& socket = info.unfollowed_sockets(i);
    facts.Add(
        i == 0 ? "not followed" : "",
        absl::StrCat(EscapeForTerminal(socket.path()), "  ", EscapeForTerminal(socket.problem())),
        Color::kYellow);
  }
  return facts.Take();
}

absl::StatusOr<std::string> TableFormatter::FormatHealth(const Health& health) {
  const std::string& name = Health::ServingStatus_Name(health.status());
  return absl::StrCat(name.empty() ? absl::StrCat(health.status()) : name, "\n");
}

}  // namespace vmeventd::client
