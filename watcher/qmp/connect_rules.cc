#include "watcher/qmp/connect_rules.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/core/foreign_text.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr char kNoMonitor[] =
    "no running QEMU's command line names this socket as a QMP monitor: a QEMU that ended has left "
    "it, or it is another program's, and vmeventd leaves it alone; a monitor that no command line "
    "names must be called NAME.qmp";

// The problem text for a socket that has a monitor's name, but belongs to another program.
std::string ForeignListener(int64_t pid) {
  const std::string name = ReadProcessStat(pid).value_or(ProcessStat()).name;
  return absl::StrCat("its listener, ", EscapeName(name), " (pid ", pid,
                      "), is not a QEMU: it sent no QMP greeting, and no running QEMU's command "
                      "line names this socket; vmeventd leaves it alone");
}

// Returns whether, as far as is known, a program other than QEMU listens there: it sent no greeting
// in a recent attempt.
bool IsForeign(const RunContext& context, const SocketSlot& slot) {
  return context.loop->Now().monotonic < slot.silent_until && slot.listener.has_value() &&
         !HasQemuCommandLine(slot);
}

}  // namespace

const Manager* OwnerOfFile(const std::string& path) {
  const std::filesystem::path file(path);
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::canonical(file.parent_path(), error);
  return error ? nullptr : OwnerOfPath((directory / file.filename()).string());
}

ConnectVerdict JudgeConnect(const RunContext& context, const Manager* owner, bool named_as_monitor,
                            SocketSlot* slot) {
  if (slot->leads_to != nullptr) return {};
  if (owner != nullptr) return {ConnectVerdict::May::kManagersOwn, owner};
  CommandLines* const command_lines = context.options->command_lines.get();
  if (command_lines == nullptr || (named_as_monitor && !IsForeign(context, *slot))) return {};
  if (slot->monitors == nullptr) slot->monitors = command_lines->BeginMonitors();
  if (const auto found = slot->monitors->Find(InodeOf(slot->socket))) {
    slot->monitors = nullptr;
    if (const Manager* const named = *found;
        named != nullptr && !context.options->sources.watch_manager_sockets) {
      return {ConnectVerdict::May::kManagersOwn, named};
    }
    slot->silent_until = absl::ZeroDuration();
    return {};
  }
  if (!slot->monitors->done()) return {ConnectVerdict::May::kNotKnownYet};
  slot->monitors = nullptr;  // another one finds a QEMU that began meanwhile
  return {ConnectVerdict::May::kNoMonitor};
}

Problem ManagersOwnProblem(const Manager& manager) {
  return {ProblemCode::kManagersOwn, absl::StrCat("this monitor ", Refusal(manager))};
}

Problem NoMonitorProblem(const RunContext& context, const SocketSlot& slot) {
  return {ProblemCode::kNoMonitor,
          IsForeign(context, slot) ? ForeignListener(slot.listener->process.pid) : kNoMonitor};
}

Problem CannotConnect(ProblemCode code, absl::string_view why) {
  return {code, absl::StrCat("cannot connect to the monitor: ", why)};
}

bool IsQemuAt(const RunContext& context, const PeerProcess& peer, SocketSlot* slot) {
  if (HasNameOfQemu(peer.pid)) {
    slot->listener.reset();
    return true;
  }
  CommandLines* const command_lines = context.options->command_lines.get();
  if (command_lines == nullptr || peer.kind != PeerProcess::Kind::kTracked) return false;
  const ProcessKey listener{.pid = peer.pid, .start_ticks = peer.start_ticks};
  const SocketSlot::ListeningProcess* const known = slot->listener.get();
  if (known == nullptr || !(known->process == listener)) {
    std::shared_ptr<const CommandLineRead> read = command_lines->Begin(peer.pid);
    slot->listener.reset();
    if (read != nullptr) slot->listener = SocketSlot::ListeningProcess{listener, std::move(read)};
  }
  return HasQemuCommandLine(*slot);
}

bool HasQemuCommandLine(const SocketSlot& slot) {
  if (!slot.listener.has_value()) return false;
  const CommandLineRead& read = *slot.listener->command_line;
  return read.done() && read.found() != nullptr;
}

}  // namespace vmeventd
