#include "tools/measure/fake_fleet.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tests/support/fail.h"
#include "tests/support/unix_socket.h"
#include "tools/measure/monitor_lines.h"

namespace vmeventd::bench {
namespace {

constexpr uint64_t kStop = ~uint64_t{0};
constexpr uint64_t kListener = uint64_t{1} << 32;

std::string PathOf(const std::string& directory, int vm) {
  return directory + "/" + FakeFleet::Name(vm) + ".kvmd";
}

void Write(int fd, std::string_view text) {
  static_cast<void>(send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

// The requests of a client.
struct Asked {
  bool capabilities = false;  // the first command
  bool status = false;        // the last one of vmeventd's handshake
  uint64_t commands = 0;
};

// The reply to one command.
std::string Reply(absl::string_view command, int vm, Asked* asked) {
  if (absl::StrContains(command, "query-uuid")) {
    return absl::StrFormat("{\"return\": {\"UUID\": \"6b2f7a52-0d3c-4a8e-8f11-%012d\"}}\r\n", vm);
  }
  if (absl::StrContains(command, "query-name")) {
    return absl::StrFormat("{\"return\": {\"name\": \"%s\"}}\r\n", FakeFleet::Name(vm));
  }
  if (absl::StrContains(command, "query-status")) {
    asked->status = true;
    return "{\"return\": {\"status\": \"running\", \"singlestep\": false, \"running\": true}}\r\n";
  }
  if (absl::StrContains(command, "qmp_capabilities")) {
    asked->capabilities = true;
    return "{\"return\": {}}\r\n";
  }
  return "{\"return\": []}\r\n";
}

// Answers the whole lines of `unread`, and leaves the rest.
Asked AnswerLines(int fd, int vm, std::string* unread) {
  Asked asked;
  for (size_t end = unread->find('\n'); end != std::string::npos; end = unread->find('\n')) {
    Write(fd, Reply(absl::string_view(*unread).substr(0, end), vm, &asked));
    unread->erase(0, end + 1);
    ++asked.commands;
  }
  return asked;
}

// The client of a process of FakeProcesses.
volatile int process_client = -1;

// Main function of a process of FakeProcesses. It listens itself, under QEMU's name, because the
// kernel takes the process that calls listen() for the socket's owner. On SIGTERM it ends as after
// a guest's poweroff.
[[noreturn]] void ServeAsProcess(const std::string& directory, int vm, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, "qemu-system-x86");
  signal(SIGTERM, [](int) {
    Write(process_client, kShutdownLine);
    _exit(0);
  });
  const int listener = e2e::ListenUnix(PathOf(directory, vm));
  if (write(ready, "x", 1) != 1) _exit(1);
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    process_client = fd;
    Write(fd, kGreetingLine);
    std::string unread;
    char bytes[4096];
    for (ssize_t size = 1; size > 0;) {
      size = recv(fd, bytes, sizeof(bytes), 0);
      if (size > 0) unread.append(bytes, static_cast<size_t>(size));
      AnswerLines(fd, vm, &unread);
    }
    close(fd);
  }
}

}  // namespace

std::string FakeFleet::Name(int vm) { return absl::StrFormat("instance%05d.example.com", vm); }

FakeFleet::FakeFleet(const std::string& directory, int count)
    : directory_(directory),
      size_(count),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      monitors_(count) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kStop}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event);
  for (int vm = 0; vm < count; ++vm) {
    const MutexLock lock(&mutex_);
    monitors_[vm].listener = UniqueFd(e2e::ListenUnix(PathOf(directory, vm)));
    event.data.u64 = kListener | static_cast<uint32_t>(vm);
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, monitors_[vm].listener.get(), &event);
  }
  thread_ = std::thread([this] { Run(); });
}

FakeFleet::~FakeFleet() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

int FakeFleet::Attached() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(
      std::count_if(monitors_.begin(), monitors_.end(), std::mem_fn(&Monitor::attached)));
}

uint64_t FakeFleet::commands() const {
  const MutexLock lock(&mutex_);
  return commands_;
}

int FakeFleet::Negotiated() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(
      std::count_if(monitors_.begin(), monitors_.end(), std::mem_fn(&Monitor::negotiated)));
}

void FakeFleet::Send(int vm, std::string_view lines) {
  const MutexLock lock(&mutex_);
  Write(monitors_[vm].client.get(), lines);
}

void FakeFleet::Stop(int vm) {
  const MutexLock lock(&mutex_);
  Monitor& monitor = monitors_[vm];
  Write(monitor.client.get(), kShutdownLine);
  monitor.client.Reset();
  unlink(PathOf(directory_, vm).c_str());
  monitor.listener.Reset();
}

void FakeFleet::Run() {
  std::array<epoll_event, 256> events;
  for (;;) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    const MutexLock lock(&mutex_);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kStop) return;
      const int vm = static_cast<int>(events[i].data.u64 & 0xffffffff);
      if ((events[i].data.u64 & kListener) != 0) {
        Accept(vm);
      } else {
        Answer(vm);
      }
    }
  }
}

void FakeFleet::Accept(int vm) {
  Monitor& monitor = monitors_[vm];
  if (!monitor.listener.valid()) return;
  const int fd = accept4(monitor.listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  monitor.client = UniqueFd(fd);  // the daemon may have been started again
  monitor.negotiated = monitor.attached = false;
  monitor.unread.clear();
  epoll_event event{.events = EPOLLIN, .data = {.u64 = static_cast<uint32_t>(vm)}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  Write(fd, kGreetingLine);
}

void FakeFleet::Answer(int vm) {
  Monitor& monitor = monitors_[vm];
  if (!monitor.client.valid()) return;
  char bytes[4096];
  const ssize_t size = recv(monitor.client.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
  if (size == 0) {
    monitor.client.Reset();
    monitor.negotiated = monitor.attached = false;
  }
  if (size <= 0) return;
  monitor.unread.append(bytes, static_cast<size_t>(size));
  const Asked asked = AnswerLines(monitor.client.get(), vm, &monitor.unread);
  monitor.negotiated |= asked.capabilities;
  monitor.attached |= asked.status;
  commands_ += asked.commands;
}

FakeProcesses::FakeProcesses(const std::string& directory, int count) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) e2e::FailErrno("cannot make a pipe");
  for (int vm = 0; vm < count; ++vm) {
    const pid_t pid = fork();
    if (pid < 0) e2e::FailErrno("cannot fork");
    if (pid == 0) ServeAsProcess(directory, vm, ready[1]);
    pids_.push_back(pid);
  }
  char bytes[4096];
  for (int listening = 0; listening < count;) {
    listening += static_cast<int>(read(ready[0], bytes, sizeof(bytes)));
  }
  close(ready[0]);
  close(ready[1]);
}

void FakeProcesses::StopAll() {
  for (const pid_t pid : pids_) kill(pid, SIGTERM);
  for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
  pids_.clear();
}

FakeProcesses::~FakeProcesses() { StopAll(); }

}  // namespace vmeventd::bench
