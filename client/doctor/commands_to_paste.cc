#include "client/doctor/commands_to_paste.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/doctor/monitor_paths.h"
#include "client/output/shell_quote.h"

namespace vmeventd::client {

std::string ChangeUnit(const std::string& unit, absl::string_view file, absl::string_view setting) {
  const std::string directory = absl::StrCat("/etc/systemd/system/", unit, ".d");
  return absl::StrCat("install -d ", QuoteForShell(directory), " && printf '[Service]\\n", setting,
                      "\\n' >", QuoteForShell(absl::StrCat(directory, "/", file)),
                      " && systemctl daemon-reload && systemctl restart ", QuoteForShell(unit));
}

std::optional<std::string> EngineCommand(const std::string& cgroup, absl::string_view command) {
  // docker-ID.scope, libpod-ID.scope/container, libpod-payload-ID or docker/ID
  constexpr std::pair<absl::string_view, absl::string_view> kEngines[] = {{"docker", "docker"},
                                                                          {"podman", "libpod"}};
  for (const auto& [program, in_cgroup] : kEngines) {
    const size_t at = cgroup.rfind(std::string(in_cgroup));
    if (at == cgroup.npos) continue;
    absl::string_view id = absl::string_view(cgroup).substr(at + in_cgroup.size());
    id.remove_prefix(std::min<size_t>(id.size(), 1));
    absl::ConsumePrefix(&id, "payload-");
    return absl::StrCat(program, " ", command, " ",
                        QuoteForShell(id.substr(0, id.find_first_of("./\n"))));
  }
  return std::nullopt;
}

std::string ThawCommand(const NodeProcess& qemu) {
  const std::string frozen = qemu.qemu->frozen_by;
  const std::string unit(FileOf(frozen));
  if (const auto line = EngineCommand(frozen, "unpause")) return *line;
  const bool is_unit = absl::EndsWith(unit, ".service") || absl::EndsWith(unit, ".scope");
  if (absl::StrContains(frozen, "/cgroup/freezer/")) {
    return absl::StrCat("echo THAWED >", QuoteForShell(frozen + "/freezer.state"));
  }
  if (is_unit) return absl::StrCat("systemctl thaw ", QuoteForShell(unit));
  return absl::StrCat("echo 0 >", QuoteForShell(frozen + "/cgroup.freeze"));
}

}  // namespace vmeventd::client
