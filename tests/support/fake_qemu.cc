#include "tests/support/fake_qemu.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unix_address.h"

namespace vmeventd {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(FakeMonitor, listen, greet, answer, split, stuck,
                                                greeting, before_replies, replies, status, uuid,
                                                name)

namespace {

using nlohmann::json;

// Descriptors of the fake's process.
constexpr int kChannel = 3;
constexpr int kLeash = 4;

constexpr size_t kMaxRequestBytes = 128 << 10;
constexpr size_t kSendPieceBytes = 64 << 10;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fake QEMU: %s: %s\n", what, std::strerror(errno));
  std::abort();
}

std::vector<uint8_t> TextOf(const json& message) {
  const std::string text = message.dump();
  return {text.begin(), text.end()};
}

// Tests in C++ use CBOR, which unlike JSON's text can carry bytes that are not UTF-8.
void SendJson(int channel, const json& message, bool as_text = false) {
  const std::vector<uint8_t> bytes = as_text ? TextOf(message) : json::to_cbor(message);
  Check(
      send(channel, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()),
      "send on the channel");
}

// Forks a child, which the kernel reaps.
pid_t Fork() {
  signal(SIGCHLD, SIG_IGN);
  const pid_t child = fork();
  Check(child >= 0, "fork");
  return child;
}

// Exits when the test ends, which closes the leash.
[[noreturn]] void AwaitLeash() {
  pollfd leash{kLeash, POLLIN, 0};
  while (poll(&leash, 1, -1) != 1) {
  }
  _exit(0);
}

// A socket of the fake's process.
class Monitor {
 public:
  Monitor(std::string path, FakeMonitor behavior)
      : path_(std::move(path)), behavior_(std::move(behavior)) {
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    Check(listener_ >= 0, "socket");
    const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path_);
    Check(address.ok() && address->Bind(listener_) == 0, "bind");
    if (behavior_.listen) Listen();
  }

  void Listen() {
    Check(listen(listener_, 1) == 0, "listen");
    listening_ = true;
  }
  void SetBehavior(FakeMonitor behavior) { behavior_ = std::move(behavior); }
  void Queue(const std::string& bytes) {
    if (client_ < 0) return;
    output_ += bytes;
    Flush();
  }
  // `cut`: the rest of the line comes with the next call, and no answer before it.
  void Send(const std::string& bytes, bool cut) {
    within_line_ = cut;
    Queue(bytes);
    if (!cut) Queue(std::exchange(held_answers_, ""));
  }
  void CloseClient() {
    if (client_ >= 0) close(std::exchange(client_, -1));
    stuck_ = false;
    client_commands_ = 0;
    input_.clear();
    output_.clear();
    held_answers_.clear();
  }
  void CloseListener() {
    close(std::exchange(listener_, -1));
    listening_ = false;
  }
  void Unlink() { Check(unlink(path_.c_str()) == 0, "unlink"); }

  // Sends at once.
  void Write(const std::string& bytes) const {
    send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  bool has_client() const { return client_ >= 0; }
  const std::vector<std::string>& commands() const { return commands_; }
  std::vector<std::string> commands_of_client() const {
    return {commands_.end() - static_cast<std::ptrdiff_t>(client_commands_), commands_.end()};
  }

  // The descriptor to poll. QEMU accepts no second client before the first is gone.
  pollfd Poll() const {
    if (client_ < 0 || stuck_) return {listening_ ? listener_ : -1, POLLIN, 0};
    return {client_, static_cast<short>(POLLIN | (output_.empty() ? 0 : POLLOUT)), 0};
  }

  void Handle(short events) {
    if (events == 0) return;
    if (client_ < 0 || stuck_) return Accept();
    if (events & POLLOUT) Flush();
    if (events & (POLLIN | POLLHUP | POLLERR)) ReadClient();
  }

 private:
  void Accept() {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) return;
    if (std::exchange(stuck_, false)) {
      close(connection);
      return;
    }
    client_ = connection;
    stuck_ = behavior_.stuck;
    if (behavior_.greet) Queue(behavior_.greeting);
  }

  void ReadClient() {
    char buffer[4096];
    const ssize_t size = recv(client_, buffer, sizeof(buffer), 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return CloseClient();
    input_.append(buffer, static_cast<size_t>(size));
    size_t end;
    while ((end = input_.find('\n')) != std::string::npos) {
      const std::string line = input_.substr(0, end);
      input_.erase(0, end + 1);
      commands_.push_back(line);
      ++client_commands_;
      if (behavior_.answer) Answer(json::parse(line).at("execute"));
    }
  }

  void Answer(const std::string& command) {
    const std::string answer = behavior_.before_replies + AnswerTo(command);
    if (within_line_) {
      held_answers_ += answer;
    } else {
      Queue(answer);
    }
  }

  std::string AnswerTo(const std::string& command) const {
    if (const auto it = behavior_.replies.find(command); it != behavior_.replies.end()) {
      return it->second;
    }
    json value = json::object();
    if (command == "query-status") value = {{"status", behavior_.status}, {"running", true}};
    if (command == "query-uuid") value = {{"UUID", behavior_.uuid}};
    if (command == "query-name" && !behavior_.name.empty()) value = {{"name", behavior_.name}};
    return json{{"return", value}}.dump() + "\r\n";
  }

  void Flush() {
    while (!output_.empty() && client_ >= 0) {
      const size_t piece = behavior_.split ? 1 : output_.size();
      const ssize_t size = send(client_, output_.data(), piece, MSG_NOSIGNAL);
      if (size < 0) {
        if (errno != EAGAIN) CloseClient();
        return;
      }
      output_.erase(0, static_cast<size_t>(size));
    }
  }

  const std::string path_;
  FakeMonitor behavior_;
  int listener_ = -1;
  int client_ = -1;
  bool listening_ = false;
  bool stuck_ = false;
  std::string input_;
  std::string output_;
  bool within_line_ = false;  // the last piece of Send ends within a line
  std::string held_answers_;  // answers held back until Send ends its line
  std::vector<std::string> commands_;
  size_t client_commands_ = 0;  // number of the last ones, which this client sent
};

// The fake's process: serves its sockets and executes the requests of the channel.
class Server {
 public:
  explicit Server(int channel) : channel_(channel) {}

  [[noreturn]] void Run() {
    while (true) {
      std::vector<pollfd> polls = {{channel_, POLLIN, 0}};
      for (const Monitor& monitor : monitors_) polls.push_back(monitor.Poll());
      if (poll(polls.data(), polls.size(), -1) < 0) continue;
      for (size_t i = 1; i < polls.size(); ++i) monitors_[i - 1].Handle(polls[i].revents);
      if (polls[0].revents != 0) HandleRequest();
    }
  }

 private:
  void HandleRequest() {
    std::vector<uint8_t> buffer(kMaxRequestBytes);
    const ssize_t size = recv(channel_, buffer.data(), buffer.size(), 0);
    if (size <= 0) _exit(0);
    buffer.resize(static_cast<size_t>(size));
    const bool is_text = buffer.front() == '{';
    const json request = is_text ? json::parse(buffer) : json::from_cbor(buffer);
    SendJson(channel_, {{"number", request.at("number")}, {"result", Do(request)}}, is_text);
  }

  json Do(const json& request) {
    const std::string& what = request.at("do").get_ref<const std::string&>();
    if (what == "exit") _exit(request.value("code", 0));
    if (what == "fork") return ForkHolder();
    if (what == "rename") {
      prctl(PR_SET_NAME, request.at("name").get<std::string>().c_str());
      return json::object();
    }
    if (what == "hand over") return HandOver(request.at("stay").get<bool>());
    if (what == "add") {
      monitors_.emplace_back(request.at("path").get<std::string>(),
                             request.at("behavior").get<FakeMonitor>());
      return monitors_.size() - 1;
    }
    Monitor& monitor = monitors_.at(request.at("monitor").get<size_t>());
    if (what == "speak") return ForkSender(monitor, request.at("bytes").get<std::string>());
    if (what == "listen") monitor.Listen();
    if (what == "behave") monitor.SetBehavior(request.at("behavior").get<FakeMonitor>());
    if (what == "send")
      monitor.Send(request.at("bytes").get<std::string>(), request.value("cut", false));
    if (what == "send long") {
      monitor.Queue("{\"event\": \"LONG\", \"data\": {\"text\": \"" +
                    std::string(request.at("size").get<size_t>(), 'x') +
                    "\"}, \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n");
    }
    if (what == "close client") monitor.CloseClient();
    if (what == "close listener") monitor.CloseListener();
    if (what == "unlink") monitor.Unlink();
    if (what == "send and exit") {
      monitor.Queue(request.at("bytes").get<std::string>());
      _exit(0);
    }
    if (what == "has client") return monitor.has_client();
    if (what == "commands of client") return monitor.commands_of_client();
    if (what == "commands") return monitor.commands();
    return json::object();
  }

  // The child answers the request. The process that stays has its new name by then.
  static json HandOver(bool stay) {
    std::array<char, 16> name{};
    prctl(PR_GET_NAME, name.data());
    if (stay) prctl(PR_SET_NAME, "launcher");
    if (Fork() == 0) {
      prctl(PR_SET_NAME, name.data());
      return getpid();
    }
    if (!stay) _exit(0);
    close(kChannel);
    AwaitLeash();
  }

  json ForkSender(const Monitor& monitor, const std::string& bytes) const {
    std::array<int, 2> sent{};  // the child closes its end
    Check(pipe(sent.data()) == 0, "pipe");
    const pid_t child = Fork();
    close(sent[child > 0 ? 1 : 0]);
    if (child > 0) {
      char byte;
      Check(read(sent[0], &byte, 1) == 0, "read");
      close(sent[0]);
      return child;
    }
    close(channel_);
    monitor.Write(bytes);
    close(sent[1]);
    AwaitLeash();
  }

  json ForkHolder() const {
    const pid_t child = Fork();
    if (child > 0) return child;
    close(channel_);
    AwaitLeash();
  }

  const int channel_;
  std::vector<Monitor> monitors_;
};

}  // namespace

FakeQemu::FakeQemu(const std::string& program) {
  int ends[2];
  Check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  int leash[2];
  Check(pipe2(leash, O_CLOEXEC) == 0, "pipe2");
  const pid_t parent = getpid();
  pid_ = fork();
  Check(pid_ >= 0, "fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    // Close the test's other descriptors here, whose peers wait for their end. First move both
    // out of the way, so that neither overwrites the other.
    const int channel = fcntl(ends[1], F_DUPFD, kLeash + 1);
    const int leash_end = fcntl(leash[0], F_DUPFD, kLeash + 1);
    Check(dup2(channel, kChannel) == kChannel && dup2(leash_end, kLeash) == kLeash, "dup2");
    Check(close_range(kLeash + 1, ~0U, 0) == 0, "close_range");
    if (program.empty()) RunFakeQemu();
    execl(program.c_str(), program.c_str(), nullptr);
    Check(false, program.c_str());
  }
  close(leash[0]);
  leash_ = leash[1];
  close(ends[1]);
  channel_ = ends[0];
}

FakeQemu::~FakeQemu() {
  if (holder_ > 0) kill(holder_, SIGKILL);
  if (pid_ > 0) KillAndReap();
  close(channel_);
  close(leash_);
}

void FakeQemu::SendRequest(json request) {
  request["number"] = ++requests_;
  SendJson(channel_, request);
}

json FakeQemu::Request(json request) {
  SendRequest(std::move(request));
  std::vector<uint8_t> buffer(kMaxRequestBytes);
  const ssize_t size = recv(channel_, buffer.data(), buffer.size(), 0);
  Check(size > 0, "no answer on the channel");
  buffer.resize(static_cast<size_t>(size));
  json answer = json::from_cbor(buffer);
  Check(answer.at("number") == requests_, "the answer to another request");
  return std::move(answer.at("result"));
}

json FakeQemu::Do(const char* what, int monitor) {
  return Request({{"do", what}, {"monitor", monitor}});
}

int FakeQemu::AddMonitor(const std::string& path, const FakeMonitor& monitor) {
  return Request({{"do", "add"}, {"path", path}, {"behavior", monitor}}).get<int>();
}

void FakeQemu::Listen(int monitor) { Do("listen", monitor); }

void FakeQemu::SetBehavior(int monitor, const FakeMonitor& behavior) {
  Request({{"do", "behave"}, {"monitor", monitor}, {"behavior", behavior}});
}

void FakeQemu::Send(int monitor, const std::string& bytes) {
  for (size_t begin = 0; begin < bytes.size();) {
    size_t size = std::min(kSendPieceBytes, bytes.size() - begin);
    // A whole number of lines where that is possible, because the fake may answer a command in
    // between; it does not where a line is longer.
    const size_t line_end = bytes.rfind('\n', begin + size - 1);
    const bool is_last = begin + size == bytes.size();
    if (!is_last && line_end != std::string::npos && line_end >= begin) size = line_end + 1 - begin;
    const bool cut = !is_last && bytes[begin + size - 1] != '\n';
    Request(
        {{"do", "send"}, {"monitor", monitor}, {"bytes", bytes.substr(begin, size)}, {"cut", cut}});
    begin += size;
  }
}

void FakeQemu::SendLongEvent(int monitor, size_t size) {
  Request({{"do", "send long"}, {"monitor", monitor}, {"size", size}});
}

void FakeQemu::CloseClient(int monitor) { Do("close client", monitor); }

void FakeQemu::CloseListener(int monitor) { Do("close listener", monitor); }

void FakeQemu::Unlink(int monitor) { Do("unlink", monitor); }

bool FakeQemu::HasClient(int monitor) { return Do("has client", monitor); }

std::vector<std::string> FakeQemu::Commands(int monitor) { return Do("commands", monitor); }

std::vector<std::string> FakeQemu::CommandsOfClient(int monitor) {
  return Do("commands of client", monitor);
}

void FakeQemu::ForkHolder() { holder_ = Request({{"do", "fork"}}).get<pid_t>(); }

pid_t FakeQemu::ForkSender(int monitor, const std::string& bytes) {
  return Request({{"do", "speak"}, {"monitor", monitor}, {"bytes", bytes}}).get<pid_t>();
}

pid_t FakeQemu::HandOver(bool stay) {
  return Request({{"do", "hand over"}, {"stay", stay}}).get<pid_t>();
}

void FakeQemu::Rename(const std::string& name) { Request({{"do", "rename"}, {"name", name}}); }

void FakeQemu::Exit(int code) { SendRequest({{"do", "exit"}, {"code", code}}); }

void FakeQemu::SendAndExit(int monitor, const std::string& bytes) {
  SendRequest({{"do", "send and exit"}, {"monitor", monitor}, {"bytes", bytes}});
}

void FakeQemu::Kill(int signal) const { kill(pid_, signal); }

void FakeQemu::Reap() {
  int status;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void FakeQemu::KillAndReap() {
  Kill(SIGKILL);
  Reap();
}

[[noreturn]] void RunFakeQemu() {
  // vmeventd knows a QEMU by its name until the QEMU sends something.
  prctl(PR_SET_NAME, "qemu-system-x86");
  Server(kChannel).Run();
}

}  // namespace vmeventd
