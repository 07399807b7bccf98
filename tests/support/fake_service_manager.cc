#include "tests/support/fake_service_manager.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/passed_descriptors.h"
#include "base/unique_fd.h"
#include "tests/support/fail.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

constexpr size_t kMaxDescriptors = 253;  // limit of a message

std::string Field(const std::string& text, const std::string& name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, name + "=")) return std::string(line);
  }
  return "";
}

bool HungUp(int fd) {
  pollfd look{fd, 0, 0};
  return poll(&look, 1, 0) == 1 && (look.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

FakeServiceManager::FakeServiceManager(const std::string& socket)
    : path_(socket),
      socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path_.c_str(), sizeof(name.sun_path) - 1);
  if (bind(socket_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) != 0) FailErrno("bind");
  thread_ = std::thread([this] { Run(); });
}

FakeServiceManager::~FakeServiceManager() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

std::vector<std::string> FakeServiceManager::Wrapper(std::vector<UniqueFd>* copies) const {
  constexpr int kFirstCopy = 100;  // beyond what the process gets them as
  constexpr int kFirstPassed = 3;
  std::vector<std::string> wrapper = {"/usr/bin/env", absl::StrCat("NOTIFY_SOCKET=", path_)};
  std::string script;
  const std::lock_guard lock(mutex_);
  HandleSent();
  if (!store_.empty()) {
    const auto name = [](std::string* out, const auto& stored) { out->append(stored.first); };
    wrapper.push_back(absl::StrCat("LISTEN_FDS=", store_.size()));
    wrapper.push_back(absl::StrCat("LISTEN_FDNAMES=", absl::StrJoin(store_, ":", name)));
    std::string close;
    int passed = kFirstPassed;
    for (const auto& [stored_as, stored] : store_) {
      // The copy has no FD_CLOEXEC.
      copies->emplace_back(fcntl(stored.get(), F_DUPFD, kFirstCopy));
      absl::StrAppend(&script, " ", passed++, "<&", copies->back().get());
      absl::StrAppend(&close, " ", copies->back().get(), "<&-");
    }
    // Only the process itself knows its LISTEN_PID.
    script = absl::StrCat("exec", script, close, "; LISTEN_PID=$$ ");
  }
  script += "exec \"$@\"";
  wrapper.insert(wrapper.end(), {"/bin/bash", "-c", script, "bash"});
  return wrapper;
}

size_t FakeServiceManager::stored() const {
  const std::lock_guard lock(mutex_);
  HandleSent();
  return store_.size();
}

void FakeServiceManager::Drop(const std::string& name) {
  const std::lock_guard lock(mutex_);
  HandleSent();
  std::erase_if(store_, [&](const auto& stored) { return name.empty() || stored.first == name; });
}

int FakeServiceManager::Count(const std::string& begin) const {
  const std::lock_guard lock(mutex_);
  HandleSent();
  int count = 0;
  for (const std::string& text : texts_) count += absl::StartsWith(text, begin) ? 1 : 0;
  return count;
}

std::string FakeServiceManager::Next(const std::string& begin) {
  std::string found;
  WaitUntil("a notification of " + begin, [&] {
    const std::lock_guard lock(mutex_);
    HandleSent();
    while (next_ < texts_.size() && found.empty()) {
      const std::string& text = texts_[next_++];
      if (absl::StartsWith(text, begin)) found = text;
    }
    return !found.empty();
  });
  return found;
}

void FakeServiceManager::Run() {
  for (;;) {
    std::array<pollfd, 2> waits = {{{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    poll(waits.data(), waits.size(), -1);
    if (waits[1].revents != 0) return;
    const std::lock_guard lock(mutex_);
    HandleSent();
  }
}

void FakeServiceManager::HandleSent() const {
  for (;;) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    std::array<char, 4096> text;
    iovec data{text.data(), text.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return;
    Handle({text.data(), static_cast<size_t>(size)}, TakeDescriptors(&message));
  }
}

void FakeServiceManager::Handle(const std::string& text, std::vector<UniqueFd> descriptors) const {
  texts_.push_back(text);
  const std::string name = Field(text, "FDNAME");
  if (Field(text, "FDSTOREREMOVE") == "1") store_.erase(name);
  if (Field(text, "FDSTORE") != "1") return;
  for (UniqueFd& descriptor : descriptors) {
    // systemd would poll it, notice the hang-up, and close it.
    if (Field(text, "FDPOLL") != "0" && HungUp(descriptor.get())) continue;
    store_.emplace(name, std::move(descriptor));
  }
}

}  // namespace vmeventd::e2e
