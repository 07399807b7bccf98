#include "watcher/qmp/connect_rules.h"

#include <memory>
#include <utility>

#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {

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

bool IsQemuAt(const RunContext& context, const PeerProcess& peer, bool has_name_of_qemu,
              SocketSlot* slot) {
  if (has_name_of_qemu) {
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

bool IsForeign(const RunContext& context, const SocketSlot& slot) {
  return context.loop->Now().monotonic < slot.silent_until && slot.listener.has_value() &&
         !HasQemuCommandLine(slot);
}

bool HasQemuCommandLine(const SocketSlot& slot) {
  if (!slot.listener.has_value()) return false;
  const CommandLineRead& read = *slot.listener->command_line;
  return read.done() && read.found() != nullptr;
}

}  // namespace vmeventd
