// Runs a command on a kernel without vhost_vsock and without the right to lock memory:
//
//   vsock COMMAND [ARGUMENT...]
//
// A seccomp filter answers VHOST_VSOCK_SET_GUEST_CID and a change of RLIMIT_MEMLOCK with success. A
// bind() to the host's vsock address goes to a supervisor, which binds the socket to any address.
// The command keeps this process's number; the supervisor is its descendant, and ends with it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

constexpr uint32_t kSetGuestCid = 0x4008AF60;  // VHOST_VSOCK_SET_GUEST_CID

constexpr uint32_t Offset(int argument) {
  return offsetof(seccomp_data, args) + static_cast<uint32_t>(argument) * sizeof(uint64_t);
}

// Sends or receives one descriptor by `message`'s control data.
struct DescriptorMessage {
  DescriptorMessage() {
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
};

int Receive(int socket) {
  DescriptorMessage message;
  if (recvmsg(socket, &message.header, 0) <= 0) _exit(1);
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message.header)), sizeof(descriptor));
  return descriptor;
}

void Send(int socket, int descriptor) {
  DescriptorMessage message;
  cmsghdr* const header = CMSG_FIRSTHDR(&message.header);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof(descriptor));
  sendmsg(socket, &message.header, 0);
}

// Binds the caller's socket to any vsock address, if it asked for the host's. Returns whether it
// did, and the error in `error`.
bool BindInstead(const seccomp_notif& call, int* error) {
  sockaddr_vm address{};
  const iovec local{&address, sizeof(address)};
  const iovec remote{reinterpret_cast<void*>(call.data.args[1]), sizeof(address)};
  const auto pid = static_cast<pid_t>(call.pid);
  if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof(address) ||
      address.svm_family != AF_VSOCK || address.svm_cid != VMADDR_CID_HOST) {
    return false;
  }
  constexpr unsigned kThread = 0200;  // PIDFD_THREAD; older kernels take leaders only
  int process = static_cast<int>(syscall(SYS_pidfd_open, pid, kThread));
  if (process < 0) process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  const int socket = static_cast<int>(syscall(SYS_pidfd_getfd, process, call.data.args[0], 0));
  address.svm_cid = VMADDR_CID_ANY;
  const bool bound =
      socket >= 0 && bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  *error = bound ? 0 : -errno;
  close(socket);
  close(process);
  return true;
}

[[noreturn]] void Supervise(int listener) {
  while (true) {
    // It hangs up when the last process with the filter has ended.
    pollfd ready{listener, POLLIN, 0};
    if (poll(&ready, 1, -1) > 0 && (ready.revents & POLLIN) == 0) _exit(0);
    seccomp_notif call{};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;  // its caller is gone
    seccomp_notif_resp response{
        .id = call.id, .val = 0, .error = 0, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    if (int error = 0; BindInstead(call, &error)) {
      response.error = error;
      response.flags = 0;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
}

int InstallFilter() {
  // Each of the first four leads on to its own part.
  std::array filter = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bind, 10, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 5, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setrlimit, 2, 0),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 5, 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      // setrlimit, prlimit64
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, Offset(0)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, Offset(1)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RLIMIT_MEMLOCK, 3, 4),
      // ioctl
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, Offset(1)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSetGuestCid, 1, 2),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{filter.size(), filter.data()};
  return static_cast<int>(
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()) != 0) return 1;
  if (fork() == 0) {
    if (fork() != 0) _exit(0);
    setsid();
    close(sockets[1]);
    const int listener = Receive(sockets[0]);
    close(sockets[0]);
    Supervise(listener);
  }
  wait(nullptr);
  close(sockets[0]);
  const int listener = InstallFilter();
  if (listener < 0) {
    std::perror("seccomp");
    return 1;
  }
  Send(sockets[1], listener);
  close(listener);
  close(sockets[1]);
  execvp(argv[1], argv + 1);
  std::perror(argv[1]);
  return 127;
}
