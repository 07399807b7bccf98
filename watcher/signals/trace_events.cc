#include "watcher/signals/trace_events.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/passed_descriptors.h"
#include "base/small_file.h"

namespace vmeventd {
namespace {

// Filter for signals that end a process, without those that were ignored or wait already:
// TRACE_SIGNAL_DELIVERED.
constexpr char kFilter[] =
    "result==0 && (sig==1 || sig==2 || sig==3 || sig==6 || sig==9 || sig==15)";
static_assert(SIGHUP == 1 && SIGINT == 2 && SIGQUIT == 3 && SIGABRT == 6 && SIGKILL == 9 &&
              SIGTERM == 15);
// As a kill reaches its threads: each record has a thread and its process.
constexpr char kDeliveryFilter[] = "sig==9";

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#elif defined(__s390x__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_S390X;
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_PPC64LE;
#else
#error "linux/audit.h has the number of this architecture"
#endif

constexpr size_t kMaxEvents = 3;

// Steps of opening a processor's events.
enum class Step : int32_t { kOpen, kSetFilter };

struct Reply {
  int32_t processor = 0;
  int32_t error = 0;  // errno; 0: the events come along
  Step step = Step::kOpen;
};

// ---- What runs in vmeventd-perf: no allocation, no lock, and no call that its filter forbids.

struct WantedEvent {
  uint16_t id = 0;  // 0: this kernel does not have it
  const char* filter = nullptr;
};
using WantedEvents = std::array<WantedEvent, kMaxEvents>;

UniqueFd OpenEvent(uint16_t id, int processor) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.config = id;
  attributes.sample_period = 1;
  attributes.sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
  attributes.wakeup_events = 1;
  attributes.disabled = 1;
  attributes.use_clockid = 1;
  attributes.clockid = CLOCK_MONOTONIC;  // CLOCK_BOOTTIME is refused for tracepoints
  // Without the second before Linux 6.0.
  for (const uint64_t lost : {uint64_t{PERF_FORMAT_LOST}, uint64_t{0}}) {
    attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | lost;
    constexpr int kEveryProcess = -1;
    constexpr int kNoGroup = -1;
    const auto event = static_cast<int>(syscall(SYS_perf_event_open, &attributes, kEveryProcess,
                                                processor, kNoGroup, PERF_FLAG_FD_CLOEXEC));
    if (event >= 0 || errno != EINVAL) return UniqueFd(event);
  }
  return UniqueFd();
}

// Opens what is wanted of `processor` into `events`, and returns how many.
size_t OpenEvents(const WantedEvents& wanted, int processor,
                  std::array<UniqueFd, kMaxEvents>* events, Reply* reply) {
  size_t count = 0;
  for (const WantedEvent& each : wanted) {
    if (each.id == 0) continue;
    UniqueFd event = OpenEvent(each.id, processor);
    if (!event.valid()) {
      *reply = {processor, errno, Step::kOpen};
      return 0;
    }
    if (each.filter != nullptr && ioctl(event.get(), PERF_EVENT_IOC_SET_FILTER, each.filter) != 0) {
      *reply = {processor, errno, Step::kSetFilter};
      return 0;
    }
    (*events)[count++] = std::move(event);
  }
  *reply = {.processor = processor};
  return count;
}

bool SendReply(int socket, Reply reply, const std::array<UniqueFd, kMaxEvents>& events,
               size_t count) {
  iovec data{&reply, sizeof(reply)};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxEvents * sizeof(int))> control{};
  if (count > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; ++i) {
      const int number = events[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof(int), &number, sizeof(int));
    }
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof(reply);
}

// Keeps CAP_PERFMON, if it is in effect, and no other capability.
bool KeepPerfmonAlone() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return false;
  for (size_t i = 0; i < sets.size(); ++i) {
    const uint32_t perfmon = i == CAP_TO_INDEX(CAP_PERFMON) ? CAP_TO_MASK(CAP_PERFMON) : 0;
    sets[i] = {.effective = sets[i].effective & perfmon,
               .permitted = sets[i].effective & perfmon,
               .inheritable = 0};
  }
  return syscall(SYS_capset, &header, sets.data()) == 0;
}

// Whatever else it calls from now on ends it.
bool PermitOnlyWhatOpensEvents() {
  constexpr auto kPermitted = std::to_array<uint32_t>(
      {SYS_recvfrom, SYS_perf_event_open, SYS_ioctl, SYS_sendmsg, SYS_close, SYS_exit_group});
  constexpr auto kKillAt = static_cast<uint8_t>(kPermitted.size());
  std::array<sock_filter, kPermitted.size() + 5> code{};
  size_t at = 0;
  code[at++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
  code[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, kKillAt + 1);
  code[at++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (size_t i = 0; i < kPermitted.size(); ++i) {
    const auto to_permit = static_cast<uint8_t>(kPermitted.size() - i);
    code[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kPermitted[i], to_permit, 0);
  }
  code[at++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  code[at++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_fprog program{static_cast<uint16_t>(at), code.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

[[noreturn]] void RunOpener(int socket, const WantedEvents& wanted) {
  constexpr int kNoRights = 2;
  prctl(PR_SET_NAME, "vmeventd-perf");
  // Signals to a whole group, as by a terminal, are for vmeventd.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  // The others of vmeventd may be those that systemd has kept for it: it must not hold a VM's.
  constexpr int kOwn = 0;
  if (dup2(socket, kOwn) != kOwn || close_range(kOwn + 1, UINT_MAX, 0) != 0 ||
      !KeepPerfmonAlone() || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
      !PermitOnlyWhatOpensEvents()) {
    _exit(kNoRights);
  }
  // The other end is closed once vmeventd has ended, also before the signal was asked for.
  int32_t processor = 0;
  while (recv(kOwn, &processor, sizeof(processor), 0) == sizeof(processor)) {
    Reply reply;
    std::array<UniqueFd, kMaxEvents> events;
    const size_t count = OpenEvents(wanted, processor, &events, &reply);
    if (!SendReply(kOwn, reply, events, count)) break;
  }
  _exit(0);
}

// ---- What runs in vmeventd.

absl::Status ErrorOf(const Reply& reply, const std::string& root) {
  if (reply.step == Step::kSetFilter) {
    return absl::UnavailableError(absl::StrCat("cannot filter the events of processor ",
                                               reply.processor, ": ", ErrnoText(reply.error)));
  }
  std::string hint;
  if (reply.error == EACCES || reply.error == EPERM) {
    const absl::StatusOr<std::string> level =
        ReadSmallFile(absl::StrCat(root, "/proc/sys/kernel/perf_event_paranoid"));
    hint = absl::StrCat(" (with kernel.perf_event_paranoid ",
                        level.ok() ? absl::StripAsciiWhitespace(*level) : "not known",
                        " it needs CAP_PERFMON, and a seccomp filter that permits it)");
  }
  return absl::UnavailableError(absl::StrCat("perf_event_open on processor ", reply.processor, ": ",
                                             ErrnoText(reply.error), hint));
}

}  // namespace

TraceEvents::TraceEvents(pid_t pid, UniqueFd socket, std::string root)
    : pid_(pid), root_(std::move(root)), socket_(std::move(socket)) {}

TraceEvents::~TraceEvents() { End(); }

absl::StatusOr<std::unique_ptr<TraceEvents>> TraceEvents::Start(const TraceFormats& formats,
                                                                std::string root) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return absl::UnavailableError(absl::StrCat("socketpair: ", ErrnoText(errno)));
  }
  UniqueFd own(ends[0]);
  const UniqueFd openers(ends[1]);
  const WantedEvents wanted = {WantedEvent{formats.signal.id, kFilter},
                               WantedEvent{formats.victim.id, nullptr},
                               WantedEvent{formats.delivery.id, kDeliveryFilter}};
  // The kernel would reap it where that was ignored, and its number could be another's.
  signal(SIGCHLD, SIG_DFL);
  const pid_t pid = fork();
  if (pid == 0) RunOpener(openers.get(), wanted);
  if (pid < 0) return absl::UnavailableError(absl::StrCat("fork: ", ErrnoText(errno)));
  return std::unique_ptr<TraceEvents>(new TraceEvents(pid, std::move(own), std::move(root)));
}

bool TraceEvents::Ask(int processor) {
  const int32_t number = processor;
  return send(socket_.get(), &number, sizeof(number), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         sizeof(number);
}

std::optional<ProcessorEvents> TraceEvents::Receive() {
  if (!socket_.valid()) return std::nullopt;
  Reply reply;
  iovec data{&reply, sizeof(reply)};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxEvents * sizeof(int))> control{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  std::vector<UniqueFd> events;
  if (got > 0) events = TakeDescriptors(&message);
  if (got != sizeof(reply)) {
    End();
    return std::nullopt;
  }
  if (reply.error != 0) return ProcessorEvents{reply.processor, ErrorOf(reply, root_)};
  if (events.empty() || (message.msg_flags & MSG_CTRUNC) != 0) {
    return ProcessorEvents{
        reply.processor, absl::UnavailableError(absl::StrCat(
                             "too few descriptors for the events of processor ", reply.processor))};
  }
  return ProcessorEvents{reply.processor, std::move(events)};
}

void TraceEvents::End() {
  if (!socket_.valid()) return;
  socket_.Reset();
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  ended_ = absl::StrCat("vmeventd-perf (pid ", pid_, ") has ended, by ",
                        WIFSIGNALED(status) ? "signal " : "exit code ",
                        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

}  // namespace vmeventd
