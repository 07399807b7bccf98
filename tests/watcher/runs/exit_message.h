#pragma once

#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace vmeventd {

// Offset of the kernel's message in a message of the process connector.
inline constexpr size_t kMessageOffset = NLMSG_HDRLEN + sizeof(cn_msg);

// The process connector's message that the process has ended.
inline std::string ExitMessage(pid_t pid, int wait_status) {
  cn_msg head{};
  head.id = {CN_IDX_PROC, CN_VAL_PROC};
  proc_event event{};
  // An enumeration within proc_event, since Linux 6.6 outside of it.
  event.what = decltype(proc_event::what)::PROC_EVENT_EXIT;
  event.event_data.exit.process_pid = event.event_data.exit.process_tgid = pid;
  event.event_data.exit.exit_code = static_cast<uint32_t>(wait_status);
  std::string message(NLMSG_HDRLEN + sizeof(head) + sizeof(event), '\0');
  std::memcpy(message.data() + NLMSG_HDRLEN, &head, sizeof(head));
  std::memcpy(message.data() + NLMSG_HDRLEN + sizeof(head), &event, sizeof(event));
  return message;
}

}  // namespace vmeventd
