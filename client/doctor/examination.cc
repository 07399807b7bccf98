#include "client/doctor/examination.h"

#include <algorithm>
#include <cstddef>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/doctor/advice.h"
#include "client/doctor/monitor_paths.h"
#include "client/output/count_text.h"
#include "client/output/shell_quote.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/managers.h"
#include "watcher/core/proc_texts.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {
namespace {

std::string Asked(const NodeFacts& facts) {
  return absl::StrCat(
      "Asked vmeventd ", facts.info.version(), " of ", facts.info.node(), " at ", facts.address,
      ", which has ", CountText(facts.vms.size(), "VM"),
      facts.examined ? "" : ". Its QEMUs were not examined: run `vmevents doctor` there");
}

// Replaces the VM in the line by a loop's variable, even within single quotation marks.
std::string WithVariable(absl::string_view line) {
  std::string out;
  bool is_quoted = false;
  while (!line.empty()) {
    if (absl::ConsumePrefix(&line, kVm)) {
      out += is_quoted ? "'\"$vm\"'" : "$vm";
      continue;
    }
    const size_t taken = line[0] == '\\' && !is_quoted ? std::min<size_t>(line.size(), 2) : 1;
    is_quoted = is_quoted != (line[0] == '\'');
    absl::StrAppend(&out, line.substr(0, taken));
    line.remove_prefix(taken);
  }
  return out;
}

// Returns a line that repeats these lines for each of the finding's VMs.
Step Repeat(const Finding& finding, std::vector<std::string>* lines) {
  std::string line = "for vm in";
  for (const std::string& vm : finding.vms) absl::StrAppend(&line, " ", QuoteForShell(vm));
  absl::StrAppend(&line, "; do ", absl::StrJoin(*lines, " && "), "; done");
  lines->clear();
  return {Place::kShell, line};
}

}  // namespace

Examination::Examination(const NodeFacts& facts)
    : facts_(facts),
      diagnosis_{.asked = Asked(facts), .examined = facts.examined},
      taken_(facts.files) {
  for (const UnixSocket& socket : facts_.sockets) taken_.insert(socket.path);
  for (const WatchedPlace& place : facts_.watches) {
    if (!FindManagerMonitors(place.spec)) settings_.Keep(kWatchSetting, place.spec.text());
  }
  for (const NodeProcess& process : facts_.processes) {
    if (process.pid == facts_.daemon_pid) daemon_ = &process;
  }
  for (const v1::LibvirtConnection& connection : facts_.info.libvirt_connections()) {
    settings_.Keep(kLibvirtSetting, connection.uri());
  }
  for (const NodeProcess& process : facts_.processes) {
    if (!process.qemu) continue;
    for (const QmpMonitor& monitor : ParseQemuArguments(process.arguments).monitors) {
      directories_[std::string(FileOf(monitor.path))].emplace(DirectoryOf(monitor.path));
    }
  }
}

std::string Examination::DaemonUnit() const {
  if (daemon_ == nullptr || absl::StrContains(daemon_->cgroups, "/user.slice/")) return "";
  const std::string unit = UnitOf(daemon_->cgroups);
  return absl::EndsWith(unit, ".service") && !IsContained(*daemon_) ? unit : "";
}

std::string Examination::VmNameOf(const std::string& path) const {
  for (const WatchedPlace& place : facts_.watches) {
    if (const auto name = place.spec.VmName(path)) return *name;
  }
  return "";
}

void Examination::Add(const std::string& kind, Subject subject, const std::string& what,
                      std::vector<Step> steps) {
  AddTo(&diagnosis_.findings, kind, std::move(subject), what, std::move(steps));
}

void Examination::Add(const std::string& kind, Subject subject, const std::string& what,
                      const std::string& line) {
  Add(kind, std::move(subject), what, {{Place::kShell, line}});
}

void Examination::AddHint(const std::string& kind, Subject subject, const std::string& what,
                          std::vector<Step> steps) {
  AddTo(&diagnosis_.hints, kind, std::move(subject), what, std::move(steps));
}

void Examination::AddTo(std::vector<Finding>* list, const std::string& kind, Subject subject,
                        const std::string& what, std::vector<Step> steps) {
  std::vector<Finding>& findings = *list;
  auto same = absl::c_find_if(findings, [&](const Finding& one) {
    return one.kind == kind && one.what == what && one.steps == steps;
  });
  if (same == findings.end()) same = findings.insert(same, {kind, {}, what, std::move(steps)});
  absl::StrAppend(&same->words, same->words.empty() ? "" : " ", subject.word);
  same->vms.push_back(std::move(subject.name));
  same->subjects.push_back(std::move(subject.text));
}

void Examination::Complete(Finding* finding) const {
  const bool is_one = finding->vms.size() == 1 && !finding->vms[0].empty();
  const std::string vm = is_one ? finding->vms[0] : "NAME";
  const std::string word = QuoteForShell(vm);
  std::vector<std::string> repeated;
  std::vector<Step> steps;
  for (Step& step : finding->steps) {
    if (step.place == Place::kConfiguration) step.line = settings_.Lines();
    if (!is_one && step.place == Place::kShell && absl::StrContains(step.line, kVm)) {
      repeated.push_back(WithVariable(step.line));
      continue;
    }
    if (!repeated.empty()) steps.push_back(Repeat(*finding, &repeated));
    step.line = absl::StrReplaceAll(
        step.line, {{kVm, step.place == Place::kShell ? word : vm}, {kWords, finding->words}});
    if (step.place == Place::kQemu && finding->kind != kPanicDevice) {
      step.line = MonitorArguments(step.line);
    }
    steps.push_back(std::move(step));
  }
  if (!repeated.empty()) steps.push_back(Repeat(*finding, &repeated));
  finding->steps = std::move(steps);
}

Diagnosis Examination::Finish() && {
  for (Finding& finding : diagnosis_.findings) Complete(&finding);
  for (Finding& hint : diagnosis_.hints) Complete(&hint);
  return std::move(diagnosis_);
}

}  // namespace vmeventd::client
