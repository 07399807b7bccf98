#include "client/doctor/advice.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/unix_address.h"
#include "client/doctor/monitor_paths.h"
#include "client/output/shell_quote.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/given_value.h"
#include "watcher/core/qemu_arguments.h"

namespace vmeventd::client {
namespace {

// The text with '-' in place of what a shell, sed, QEMU's options or a configuration file might
// take for something else.
std::string PlainName(absl::string_view text) {
  std::string plain(text);
  for (char& c : plain) {
    const bool is_plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                          absl::StrContains("_-.:@+%=", absl::string_view(&c, 1));
    if (!is_plain) c = '-';
  }
  return plain;
}

// Returns whether the path can be part of a line as it is.
bool IsPlainPath(const std::string& path) {
  return absl::StrReplaceAll(path, {{"/", "-"}}) == PlainName(path);
}

// A path for a new monitor of the VM that its manager knows as `vm`; empty: it has no name. Where
// that can be part of the path, kVm stands for it. `before` precedes it in the file's name;
// `above` bytes precede the path. `is_quoted`: what gets the path quotes it; otherwise the VM's
// name is plain in it.
std::string TakePath(const OwnPlace& place, const std::string& vm, const NodeProcess& qemu,
                     Examination* exam, absl::string_view before = "", size_t above = 0,
                     bool is_quoted = false) {
  const std::pair<absl::string_view, absl::string_view> around =
      absl::StrSplit(place.spec.pattern, absl::MaxSplits('*', 1));
  const std::string directory = absl::StrCat(absl::StripSuffix(place.spec.directory, "/"), "/");
  const std::string plain = vm.empty()  ? absl::StrCat("vm-", qemu.pid)
                            : is_quoted ? absl::StrReplaceAll(vm, {{"/", "-"}})
                                        : PlainName(vm);
  for (int attempt = 0;; ++attempt) {
    const std::string behind = attempt == 0   ? ""
                               : attempt == 1 ? "-events"
                               : attempt == 2 ? absl::StrCat("-", qemu.pid)
                                              : absl::StrCat("-", qemu.pid, "-", attempt);
    const auto path_of = [&](absl::string_view name) {
      return absl::StrCat(directory, around.first, before, name, behind, around.second);
    };
    const size_t fixed = above + path_of("").size();
    const size_t room = UnixAddress::kMaxPath - std::min(fixed, UnixAddress::kMaxPath);
    const std::string name(Utf8Prefix(plain, room));
    if (exam->IsTaken(path_of(name))) continue;
    exam->Take(path_of(name));
    return path_of(name == vm ? kVm : absl::string_view(name));
  }
}

// QEMU's arguments for a path that TakePath() made plain.
std::string PlainArguments(const std::string& path) {
  return absl::StrCat("-chardev socket,id=vmev,path=", path,
                      ",server=on,wait=off -mon chardev=vmev,mode=control");
}

// Returns the text that adds a monitor at `path` to the extra arguments that the shell command
// `get` prints. A clone has the arguments of its original: `shared` is the path of the original's
// monitor, if that is known.
std::string ArgumentsWith(const std::string& path, const std::string& get, const NodeProcess& qemu,
                          const std::string& shared) {
  const bool has_one = absl::c_any_of(qemu.arguments, [](const std::string& argument) {
    return absl::StrContains(argument, "id=vmev,");
  });
  if (!shared.empty() && IsPlainPath(shared)) {
    return absl::StrCat("$(", get, " | sed 's|", absl::StrReplaceAll(shared, {{".", "[.]"}}), "|",
                        path, "|g')");
  }
  if (!has_one) return absl::StrCat("$(", get, ") ", PlainArguments(path));
  return absl::StrCat("$(", get, " | sed 's|id=vmev,path=[^,]*|id=vmev,path=", path, "|')");
}

// A VM's number in Proxmox VE, by its pid file .../100.pid.
std::string ProxmoxId(const NodeProcess& qemu) {
  const std::string file = GivenValue(qemu.arguments, "-pidfile");
  const std::string id(absl::StripSuffix(file.substr(file.rfind('/') + 1), ".pid"));
  return id.empty() ? "VMID" : id;
}

// The command that prints the extra arguments that Proxmox VE gives a VM, and the line that sets
// them.
std::string GetProxmoxArguments() {
  return absl::StrCat("qm config ", kVm, " | sed -n 's/^args: //p'");
}
Step SetProxmoxArguments(const std::string& arguments) {
  return {Place::kShell, absl::StrCat("qm set ", kVm, " --args \"", arguments, "\"")};
}

// The directory of an instance of Incus or LXD, called NAME, in another project PROJECT_NAME.
std::string InstanceDirectory(const NodeProcess& qemu) {
  const std::string file = GivenValue(qemu.arguments, "-readconfig");
  return file.substr(0, file.rfind('/'));
}

// Incus and LXD, whose commands are the same.
MonitorAdvice AdviseIncus(absl::string_view program, const NodeProcess& qemu, const OwnPlace& place,
                          const std::string& shared, Examination* exam) {
  const std::string name = ParseQemuArguments(qemu.arguments).name;
  const std::string directory = InstanceDirectory(qemu);
  const absl::string_view part = FileOf(directory);
  std::string client(program);
  std::string before;
  if (absl::EndsWith(part, absl::StrCat("_", name))) {
    const absl::string_view project = part.substr(0, part.size() - name.size() - 1);
    absl::StrAppend(&client, " --project ", QuoteForShell(project));
    // Another project may have a VM of that name.
    before = absl::StrCat(PlainName(project), "_");
  } else if (part == name) {
    absl::StrAppend(&client, " --project default");  // the client may have been switched to another
  }
  // A snap sees the host's files there.
  const std::string above =
      absl::StartsWith(directory, "/var/snap/") ? "/var/lib/snapd/hostfs" : "";
  const std::string path =
      absl::StrCat(above, TakePath(place, name, qemu, exam, before, above.size()));
  const auto get = [&client](const char* key) {
    // -e prints the values of profiles too, which the VM's own setting replaces.
    return absl::StrCat(client, " config get -e ", kVm, " ", key);
  };
  return {
      .what = "Its manager takes the settings while the VM is off: the lines stop and start it.",
      .steps = {{Place::kShell, absl::StrCat(client, " stop ", kVm)},
                {Place::kShell,
                 absl::StrCat(client, " config set ", kVm, " raw.qemu=\"",
                              ArgumentsWith(path, get("raw.qemu"), qemu, shared), "\"")},
                {Place::kShell, absl::StrCat(client, " config set ", kVm, " raw.apparmor=\"$(",
                                             get("raw.apparmor"), "; echo '", path, " rw,')\"")},
                {Place::kShell, absl::StrCat(client, " start ", kVm)}},
      .needs_place = true,
      .vm = name};
}

MonitorAdvice AdviseLima(const NodeProcess& qemu, const std::string& name, const OwnPlace& place,
                         Examination* exam) {
  const std::string instance(absl::StripPrefix(name, "lima-"));
  const std::string path = TakePath(place, instance, qemu, exam);
  // limactl refuses to run as root.
  std::string user;
  if (exam->facts().is_root && qemu.uid != 0) {
    user = absl::StrCat("sudo -u ", QuoteForShell(qemu.user), " ");
  }
  std::string settings;
  for (const QmpMonitor& monitor : ParseQemuArguments(qemu.arguments).monitors) {
    if (FileOf(monitor.path) != "qmp.sock") continue;
    absl::string_view home = DirectoryOf(monitor.path);  // the instance's directory
    home = DirectoryOf(absl::StripSuffix(home, "/"));
    absl::ConsumeSuffix(&home, "/");
    if (!home.empty() && home != absl::StrCat(qemu.qemu->home, "/.lima")) {
      settings = absl::StrCat("LIMA_HOME=", QuoteForShell(home), " ");
    }
  }
  // The variable is named after the program: QEMU_SYSTEM_AARCH64 for qemu-system-aarch64.
  std::string program = qemu.arguments[0];
  if (!absl::StartsWith(FileOf(program), "qemu-system-") || !IsPlainPath(program)) {
    program = "qemu-system-x86_64";
  }
  const std::string variable =
      absl::AsciiStrToUpper(absl::StrReplaceAll(FileOf(program), {{"-", "_"}}));
  const std::string start =
      absl::StrCat(variable, "='", program, " ",
                   absl::StrReplaceAll(PlainArguments(path), {{"'", "'\\''"}}), "' ");
  const auto limactl = [&](absl::string_view with, absl::string_view command) {
    return Step{Place::kShell, absl::StrCat(user, user.empty() || with.empty() ? "" : "env ", with,
                                            "limactl ", command, " ", kVm)};
  };
  return {.what = "lima takes QEMU's arguments for one start from the environment.",
          .steps = {limactl(settings, "stop"), limactl(settings + start, "start")},
          .needs_place = true,
          .vm = instance};
}

}  // namespace

MonitorAdvice AdviseMonitor(const Manager* manager, const NodeProcess& qemu, const OwnPlace& place,
                            const std::string& shared, Examination* exam) {
  const std::string name = ParseQemuArguments(qemu.arguments).name;
  const auto take = [&](const std::string& vm) {
    return TakePath(place, vm, qemu, exam, "", 0, /*is_quoted=*/manager == nullptr);
  };
  if (manager == nullptr) {
    MonitorAdvice plain = {.what = "Give it one at its next start.",
                           .steps = {{Place::kQemu, take(name)}},
                           .needs_place = true,
                           .vm = name};
    if (qemu.qemu->own_root) {
      const std::string& directory = place.spec.directory;
      plain.what = "Give it one at its next start, in a directory that its container shares.";
      plain.steps.push_back({Place::kContainer, absl::StrCat("-v ", directory, ":", directory)});
    }
    return plain;
  }
  switch (manager->id) {
    case ManagerId::kIncus:
      return AdviseIncus("incus", qemu, place, shared, exam);
    case ManagerId::kLxd:
      return AdviseIncus("lxc", qemu, place, shared, exam);
    case ManagerId::kProxmox: {
      const std::string path = take(ProxmoxId(qemu));
      return {
          .what =
              "The line keeps the other --args that the VM has. They take effect at its next "
              "start by Proxmox VE, such as qm reboot.",
          .steps = {SetProxmoxArguments(ArgumentsWith(path, GetProxmoxArguments(), qemu, shared))},
          .needs_place = true,
          .vm = ProxmoxId(qemu)};
    }
    case ManagerId::kGaneti:
      return {.what =
                  "Ganeti gives each instance NAME.kvmd for a follower, from the instance's "
                  "next start on.",
              .watch = absl::StrCat(kGanetiControlDirectory, ":*", kGanetiMonitorSuffix),
              .vm = name};
    case ManagerId::kLima:
      return AdviseLima(qemu, name, place, exam);
    case ManagerId::kMicrovm:
      return {.what = "Give it one in the VM's NixOS configuration, and restart it.",
              .steps = {{Place::kManager, absl::StrCat("microvm.qemu.extraArgs = [ \"-chardev\" "
                                                       "\"socket,id=vmev,path=",
                                                       take(name),
                                                       ",server=on,wait=off\" \"-mon\" "
                                                       "\"chardev=vmev,mode=control\" ];")}},
              .needs_place = true,
              .vm = name};
    case ManagerId::kPacker:
      return {
          .what = "Give it one in the template of the build.",
          .steps = {{Place::kManager,
                     absl::StrCat("qemuargs = [[\"-chardev\", \"socket,id=vmev,path=", take(name),
                                  ",server=on,wait=off\"], [\"-mon\", "
                                  "\"chardev=vmev,mode=control\"]]")}},
          .needs_place = true,
          .vm = name};
    case ManagerId::kKata:
      return {.what =
                  "Kata makes one for each VM that starts with this line in the section "
                  "[hypervisor.qemu] of its configuration.toml.",
              .steps = {{Place::kManager, "extra_monitor_socket = \"qmp\""}},
              .watch = "/run/vc/vm/*:extra-monitor.sock"};
    case ManagerId::kEve:
    case ManagerId::kMinikube:
    case ManagerId::kNasty:
    case ManagerId::kPodmanMachine:
    case ManagerId::kXen:
    case ManagerId::kLibvirt:
    case ManagerId::kLibvirtSession:
      break;
  }
  return {.what = absl::StrCat("It cannot be followed: ", manager->way, ".")};
}

std::string NameInProject(const Manager* manager, const NodeProcess& qemu) {
  if (manager == nullptr || (manager->id != ManagerId::kIncus && manager->id != ManagerId::kLxd)) {
    return "";
  }
  const std::string directory = InstanceDirectory(qemu);
  const absl::string_view part = FileOf(directory);
  const std::string suffix = absl::StrCat("_", ParseQemuArguments(qemu.arguments).name);
  return absl::EndsWith(part, suffix) ? std::string(part) : "";
}

MonitorAdvice AdvisePanicDevice(const Manager* manager, const NodeProcess& qemu, bool is_of_nova) {
  constexpr char kArguments[] = "-device pvpanic";
  if (manager == nullptr) {
    return {.what = "Give it one at its next start.", .steps = {{Place::kQemu, kArguments}}};
  }
  switch (manager->id) {
    case ManagerId::kProxmox:
      return {.what =
                  "The line keeps the --args that the VM has. They take effect at its next start "
                  "by Proxmox VE, such as qm reboot.",
              .steps = {SetProxmoxArguments(
                  absl::StrCat("$(", GetProxmoxArguments(), ") ", kArguments))},
              .vm = ProxmoxId(qemu)};
    case ManagerId::kMicrovm:
      return {
          .what = "Give it one in the VM's NixOS configuration, and restart it.",
          .steps = {{Place::kManager, "microvm.qemu.extraArgs = [ \"-device\" \"pvpanic\" ];"}}};
    case ManagerId::kLibvirt:
    case ManagerId::kLibvirtSession:
      if (is_of_nova) return {.what = "nova cannot give guests of x86 such a device."};
      return {.what =
                  "It belongs in <devices> of the domain's XML (virsh edit), and takes effect at "
                  "the next start. A tool above libvirt may write that XML.",
              .steps = {{Place::kManager, "<panic model='isa'/>"}}};
    default:
      return {.what = absl::StrCat("QEMU's arguments are ", kArguments,
                                   ", where its manager takes arguments.")};
  }
}

std::string MakePlace(const OwnPlace& place, bool has_systemd) {
  const std::string& directory = place.spec.directory;
  const bool is_users = absl::StartsWith(directory, "/run/user/");
  if (is_users) return absl::StrCat("install -d -m 0700 ", QuoteForShell(directory));
  const std::string owner = place.owner.empty() ? "root" : place.owner;
  if (!has_systemd || !absl::StartsWith(directory, "/run/")) {
    return absl::StrCat("install -d -m 0755 -o ", QuoteForShell(owner), " ",
                        QuoteForShell(directory));
  }
  const std::string file =
      absl::StrCat("/etc/tmpfiles.d/", directory.substr(directory.rfind('/') + 1), "-events.conf");
  return absl::StrCat(
      "echo ", QuoteForShell(absl::StrCat("d ", directory, " 0755 ", owner, " root -")), " >",
      QuoteForShell(file), " && systemd-tmpfiles --create ", QuoteForShell(file));
}

std::string MonitorArguments(const std::string& path) {
  return absl::StrCat(
      "-chardev ",
      QuoteForShell(absl::StrCat("socket,id=events,path=", absl::StrReplaceAll(path, {{",", ",,"}}),
                                 ",server=on,wait=off")),
      " -mon chardev=events,mode=control");
}

}  // namespace vmeventd::client
