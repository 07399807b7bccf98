#include "client/doctor/diagnose_libvirt.h"

#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/doctor/commands_to_paste.h"
#include "client/output/shell_quote.h"
#include "watcher/core/libvirt_spec.h"

namespace vmeventd::client {
namespace {

constexpr char kSessionLibvirt[] = "qemu:///session";

// The libvirt of a domain: another user's is reached by its socket.
std::string LibvirtUri(const NodeProcess& qemu, const Manager& manager, const Examination& exam) {
  if (manager.id == ManagerId::kLibvirt) return kSystemLibvirt;
  if (exam.daemon() != nullptr && exam.daemon()->uid == qemu.uid) return kSessionLibvirt;
  const std::string directory = absl::StrCat("/run/user/", qemu.uid, "/libvirt/");
  const auto listens = [&](absl::string_view file) {
    return absl::c_any_of(exam.facts().sockets, [&](const UnixSocket& socket) {
      return socket.listening && socket.path == absl::StrCat(directory, file);
    });
  };
  const bool is_modular = !listens("libvirt-sock") && listens("virtqemud-sock");
  return absl::StrCat("qemu+unix:///session?socket=", directory,
                      is_modular ? "virtqemud-sock" : "libvirt-sock");
}

}  // namespace

void FollowLibvirt(const Subject& subject, const NodeProcess& qemu, const Manager& manager,
                   Examination* exam) {
  const std::string uri = LibvirtUri(qemu, manager, *exam);
  // Another finding reports a libvirt that is not reached.
  if (exam->settings()->Has(kLibvirtSetting, uri) ||
      (uri == kSystemLibvirt && exam->FollowsLibvirt())) {
    return void(++exam->diagnosis()->usable);
  }
  exam->settings()->Need(kLibvirtSetting, uri);
  const bool is_nova = absl::c_any_of(qemu.arguments, [](const std::string& argument) {
    return absl::StrContains(argument, "manufacturer=OpenStack");
  });
  std::vector<Step> steps = {{Place::kConfiguration, ""}};
  const std::string unit = exam->DaemonUnit();
  if (manager.id == ManagerId::kLibvirtSession && qemu.uid != 0 && unit == kDaemonUnit) {
    steps.push_back({Place::kShell, ChangeUnit(unit, "home.conf", "ProtectHome=read-only")});
  }
  exam->Add(
      "unwatched", subject,
      absl::StrCat("It is a domain of libvirt", is_nova ? ", an instance of nova" : "",
                   manager.id == ManagerId::kLibvirtSession ? " of the user " + qemu.user : "",
                   ": follow libvirt."),
      std::move(steps));
}

void DiagnoseLibvirts(Examination* exam) {
  for (const v1::LibvirtConnection& connection : exam->facts().info.libvirt_connections()) {
    if (connection.connected()) continue;
    exam->Add("libvirt", {connection.uri()},
              absl::StrCat(
                  "vmeventd is not connected to this libvirt: ", connection.problem().text(), "."),
              absl::StrCat("virsh -c ", QuoteForShell(connection.uri()), " list"));
  }
}

}  // namespace vmeventd::client
