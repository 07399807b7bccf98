#include "client/doctor/diagnose_containers.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/doctor/commands_to_paste.h"
#include "client/doctor/diagnose_qemu.h"
#include "client/doctor/monitor_paths.h"
#include "client/output/shell_quote.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {

void DiagnoseUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor,
                    Examination* exam) {
  const std::string directory =
      monitor.path.substr(0, std::max(monitor.path.rfind('/'), size_t{1}));
  const std::string share =
      absl::StrCat("-v ", QuoteForShell(directory), ":", QuoteForShell(directory));
  std::vector<Step> steps;
  std::string what =
      absl::StrCat("vmeventd does not see the directory of its monitor ", monitor.path, ": ");
  const std::string unit = exam->DaemonUnit();
  const auto is_below = [&directory](absl::string_view above) {
    return absl::StartsWith(absl::StrCat(directory, "/"), above);
  };
  if (qemu.qemu->own_root) {
    const OwnPlace place = PlaceFor(qemu, nullptr, *exam);
    if (!place.is_there)
      steps.push_back({Place::kShell, MakePlace(place, exam->facts().has_systemd)});
    absl::StrAppend(
        &what,
        "it is inside QEMU's container. Share it with the host at the container's next start.");
    steps.push_back({Place::kContainer,
                     absl::StrCat("-v ", place.spec.directory, ":", QuoteForShell(directory))});
    if (!place.is_watched) exam->settings()->Need(kWatchSetting, place.spec.text());
    if (!place.is_watched) steps.push_back({Place::kConfiguration, ""});
    return exam->Add("unwatched", std::move(subject), what, std::move(steps));
  }
  exam->settings()->Need(kWatchSetting, SpecOfSocket(monitor.path, subject.name, false).text());
  steps.push_back({Place::kConfiguration, ""});
  if (exam->daemon() != nullptr && IsContained(*exam->daemon())) {
    absl::StrAppend(&what, "share it with vmeventd's container.");
    steps.push_back({Place::kContainer, share});
  } else if (unit == kDaemonUnit && (is_below("/tmp/") || is_below("/var/tmp/"))) {
    absl::StrAppend(&what, "its unit has a /tmp of its own.");
    steps.push_back({Place::kShell, ChangeUnit(unit, "tmp.conf", "PrivateTmp=no")});
  } else if (unit == kDaemonUnit &&
             (is_below("/home/") || is_below("/root/") || is_below("/run/user/"))) {
    absl::StrAppend(&what, "its unit hides the directories of users.");
    steps.push_back({Place::kShell, ChangeUnit(unit, "home.conf", "ProtectHome=read-only")});
  } else {
    absl::StrAppend(&what, "the QEMU and vmeventd are in different mount namespaces.");
    if (exam->daemon() != nullptr) {
      steps.push_back(
          {Place::kShell, absl::StrCat("grep -H . /proc/", qemu.pid, "/mountinfo /proc/",
                                       exam->daemon()->pid, "/mountinfo")});
    }
  }
  exam->Add("unwatched", std::move(subject), what, std::move(steps));
}

}  // namespace vmeventd::client
