#include "tests/support/libvirt/libvirtd.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/qemu_command.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

// A pod's directory below the root of the node.
constexpr char kEmptyDir[] =
    "/var/lib/kubelet/pods/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/volumes/kubernetes.io~empty-dir/"
    "libvirt-runtime";

std::string XmlText(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&apos;"}, {"\"", "&quot;"}});
}

// The part of a name for which the path of a Unix socket has room.
absl::string_view FileName(absl::string_view name) { return name.substr(0, 16); }

void TypeAt(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = write(fd, text.data(), text.size());
    if (size <= 0) FailErrno("cannot type");
    text.remove_prefix(static_cast<size_t>(size));
  }
}

// Reads until `text` was read, nothing came for `patience`, or the other side has closed the
// connection; whether the text was read.
bool ReadUntil(int fd, const std::string& text, absl::Duration patience) {
  std::string output;
  pollfd input{fd, POLLIN, 0};
  while (poll(&input, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) > 0) {
    char buffer[4096];
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0) return false;
    output.append(buffer, static_cast<size_t>(size));
    if (output.find(text) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

bool CanRunLibvirtd() { return geteuid() == 0 && Exists("/usr/sbin/libvirtd"); }

bool HasContainerDriver() {
  const char* const directory = std::getenv("LIBVIRT_DRIVER_DIR");
  return Exists(absl::StrCat(directory != nullptr ? directory : VMEVENTD_LIBVIRT_DRIVERS,
                             "/libvirt_driver_lxc.so"));
}

Libvirtd::Libvirtd(std::string directory, Kind kind)
    : directory_(std::move(directory)), kind_(kind) {
  std::filesystem::create_directories(directory_);
  if (kind_ == Kind::kPod) {
    std::filesystem::create_directories(directory_ + kEmptyDir);
    std::filesystem::create_directory_symlink(directory_ + kEmptyDir, directory_ + "/run");
  }
  Start();
}

Libvirtd::~Libvirtd() {
  process_.reset();
  KillDomains();
}

void Libvirtd::Start() {
  ChildOptions child;
  child.arguments = {VMEVENTD_START_LIBVIRTD, directory_, VMEVENTD_LIBVIRT_CACHE};
  if (kind_ == Kind::kPod) child.arguments.emplace_back("pod");
  if (kind_ == Kind::kContainers) child.arguments.emplace_back("containers");
  child.error_file = directory_ + "/stderr";
  process_ = std::make_unique<ChildProcess>(child);
  WaitUntil("libvirtd answers", [this] {
    if (process_->has_exited()) Fail("libvirtd ended: " + ReadFile(directory_ + "/stderr"));
    return RunCommand({.arguments = {"virsh", "-c", VirshUri(), "list"}}).exit_code == 0;
  });
  // KubeVirt runs libvirt's daemon of QEMUs alone, which Debian does not have.
  if (kind_ == Kind::kPod) {
    std::filesystem::create_hard_link(directory_ + kEmptyDir + "/libvirt-sock", socket());
  }
}

std::string Libvirtd::socket() const {
  if (kind_ == Kind::kPod) return directory_ + kEmptyDir + "/virtqemud-sock";
  return directory_ + "/run/libvirt-sock";
}

void Libvirtd::Stop(int signal) {
  process_->Signal(signal);
  process_->Wait();
  process_.reset();
}

void Libvirtd::KillDomains() {
  if (kind_ == Kind::kPod) return;  // they are dead, and here other processes have their pids
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(PidDirectory(), none)) {
    if (entry.path().extension() != ".pid" || entry.path().stem() == "driver") continue;
    const pid_t pid = Pid(entry.path().stem());
    if (pid > 0) kill(pid, SIGKILL);
  }
}

CommandResult Libvirtd::TryVirsh(const std::vector<std::string>& arguments) {
  ChildOptions child;
  child.arguments = {"virsh", "-c", VirshUri()};
  child.arguments.insert(child.arguments.end(), arguments.begin(), arguments.end());
  return RunCommand(child);
}

std::string Libvirtd::Virsh(const std::vector<std::string>& arguments) {
  const CommandResult result = TryVirsh(arguments);
  if (result.exit_code != 0) {
    Fail(absl::StrCat("virsh ", arguments.front(), ": ", result.output, result.error));
  }
  return result.output;
}

std::string Libvirtd::PidDirectory() const {
  return directory_ + (kind_ == Kind::kContainers ? "/run/lxc" : "/run/qemu");
}

std::string Libvirtd::FifoPath(const std::string& name) const {
  return absl::StrCat(directory_, "/", name, ".fifo");
}

std::string Libvirtd::SerialPath(const std::string& name) const {
  return absl::StrCat(directory_, "/", FileName(name), ".serial");
}

std::string Libvirtd::WriteXml(const DomainOptions& options) const {
  std::string os = "<type arch='x86_64' machine='pc'>hvm</type>";
  if (options.linux_guest) {
    absl::StrAppend(&os, "<kernel>", VMEVENTD_GUEST_DIR, "/vmlinux</kernel><initrd>",
                    VMEVENTD_GUEST_DIR, "/initrd</initrd><cmdline>", kGuestKernelArguments,
                    "</cmdline>");
  }
  const std::string devices = absl::StrCat(
      "<emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='unix'><source mode='bind' "
      "path='",
      XmlText(SerialPath(options.name)),
      "'/></serial><controller type='usb' model='none'/><memballoon model='none'/>"
      "<panic model='isa'/>");
  std::string arguments;
  for (const std::string& argument : options.qemu_arguments) {
    absl::StrAppend(&arguments, "<qemu:arg value='", argument, "'/>");
  }
  if (!arguments.empty()) {
    arguments = absl::StrCat("<qemu:commandline>", arguments, "</qemu:commandline>");
  }
  std::string path = absl::StrCat(directory_, "/", FileName(options.name), ".xml");
  std::ofstream(path)
      << "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
      << "<name>" << XmlText(options.name) << "</name><memory unit='MiB'>"
      << (options.linux_guest ? 192 : 16) << "</memory><vcpu>1</vcpu><os>" << os
      << "</os><features><acpi/></features><on_poweroff>" << options.on_poweroff
      << "</on_poweroff><on_reboot>" << options.on_reboot << "</on_reboot><on_crash>"
      << options.on_crash << "</on_crash><devices>" << devices << "</devices>" << arguments
      << "</domain>\n";
  return path;
}

void Libvirtd::Create(const DomainOptions& options) {
  std::vector<std::string> command = {"create", WriteXml(options)};
  if (options.paused) command.emplace_back("--paused");
  Virsh(command);
  if (options.linux_guest) WaitReady(options.name);
}

void Libvirtd::DefineAndStart(const DomainOptions& options) {
  Virsh({"define", WriteXml(options)});
  Virsh({"start", options.name});
  if (options.linux_guest) WaitReady(options.name);
}

std::string Libvirtd::TryDefineAndStartContainer(const std::string& name) {
  const std::string fifo = FifoPath(name);
  if (mkfifo(fifo.c_str(), 0600) != 0 && errno != EEXIST) FailErrno("mkfifo");
  const std::string path = absl::StrCat(directory_, "/", name, ".xml");
  std::ofstream(path) << "<domain type='lxc'><name>" << name
                      << "</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>exe</type>"
                         "<init>/bin/sh</init><initarg>-c</initarg><initarg>"
                         "trap 'exit 0' TERM; while :; do if read -r line &lt;"
                      << fifo << "; then eval \"$line\"; fi; done</initarg></os>"
                      << "<devices><console type='pty'/></devices></domain>\n";
  Virsh({"define", path});
  // libvirt_lxc drops what it has to report while libvirtd's connection to it is not there, which
  // on a busy machine can be for good: libvirtd would take the container for running for ever. What
  // it reports first is the init's process.
  for (;;) {
    const CommandResult started = TryVirsh({"start", name});
    if (started.exit_code != 0) return started.error;
    bool reported = false;
    WaitUntil("libvirt_lxc has reported the container's init, or lost libvirtd", [&] {
      const std::string state = ReadFile(absl::StrCat(PidDirectory(), "/", name, ".xml"));
      reported =
          absl::StrContains(state, "<init pid='") && !absl::StrContains(state, "<init pid='0'");
      const std::string log = ReadFile(absl::StrCat(directory_, "/log/lxc/", name, ".log"));
      const size_t began = log.rfind("starting up");
      return reported ||
             (began != std::string::npos && log.find("End of file", began) != std::string::npos);
    });
    if (reported) return "";
    const pid_t lost = Pid(name);
    Virsh({"destroy", name});
    // A libvirt_lxc that has lost libvirtd may outlive that, and counts as the container.
    if (lost <= 0) continue;
    kill(lost, SIGKILL);
    WaitUntil("the libvirt_lxc is gone", [lost] { return kill(lost, 0) != 0; });
  }
}

pid_t Libvirtd::Pid(const std::string& name) const {
  int pid = 0;
  const std::string text = ReadFile(absl::StrCat(PidDirectory(), "/", name, ".pid"));
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &pid) ? pid : 0;
}

void Libvirtd::Type(const std::string& name, const std::string& command) const {
  if (kind_ == Kind::kContainers) {
    std::ofstream(FifoPath(name)) << command << "\n";  // waits for its init to open it
    return;
  }
  // The guest acknowledges it: what QEMU or the guest's terminal has not read is lost when the
  // connection ends. It is typed once, however slow the guest is: what ends the guest could not be
  // typed again, and its acknowledgement would be waited for in vain.
  WaitUntil("the guest's shell runs what was typed", [&] {
    return TryType(name, "echo TYPED-\"THIS\"; " + command, "TYPED-THIS", Patience());
  });
}

bool Libvirtd::TryType(const std::string& name, const std::string& line, const std::string& answer,
                       absl::Duration patience) const {
  const UniqueFd serial(ConnectUnix(SerialPath(name)));
  if (!serial.valid()) return false;
  constexpr char kEraseLine[] = "\x15";  // erases what an earlier try may have left there
  TypeAt(serial.get(), absl::StrCat(kEraseLine, line, "\n"));
  return ReadUntil(serial.get(), answer, patience);
}

void Libvirtd::WaitReady(const std::string& name) const {
  // Typed text is lost until the shell is there.
  constexpr absl::Duration kTry = absl::Milliseconds(500);
  WaitUntil("the guest's shell answers",
            [&] { return TryType(name, "echo SHELL-\"READY\"", "SHELL-READY", kTry); });
}

}  // namespace vmeventd::e2e
