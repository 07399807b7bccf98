#ifndef VMEVENTD_TESTS_SUPPORT_FAKE_QEMU_H_
#define VMEVENTD_TESTS_SUPPORT_FAKE_QEMU_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace vmeventd {

// How a fake monitor behaves. All text is sent as it stands, line ends included.
struct FakeMonitor {
  bool listen = true;  // false: bound only, until Listen()
  bool greet = true;   // false: the connection is taken and nothing is said
  bool answer = true;  // false: commands are read and not answered
  bool split = false;  // every byte is written alone
  // After the greeting nothing is read until another connection comes, and is dropped: a QEMU whose
  // main thread waits in accept(2), docs/qemu.md.
  bool stuck = false;
  // Each client is served by a child of its own, which ends with the connection: a proxy such as
  // `socat UNIX-LISTEN:...,fork`. The fake's other methods do not reach these clients.
  bool proxy = false;
  std::string greeting =
      "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
      "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
  std::string before_replies;                  // sent before each reply
  std::map<std::string, std::string> replies;  // by command, in place of the usual one
  std::string status = "running";
  std::string uuid = "00000000-0000-0000-0000-000000000000";
  std::string name;
};

// Who is connected to a fake monitor.
struct FakeClient {
  pid_t pid = 0;                      // 0: nobody
  std::vector<std::string> commands;  // that it has sent
};

// A QEMU as far as its QMP sockets go: a process of its own, that serves one client at a time on
// each of its sockets and does what the test tells it, step by step. Every method returns once the
// process has done it; none needs the client to do anything. A failure of the fake itself ends the
// test program.
class FakeQemu {
 public:
  // Starts the process, which dies with the test. Not while the test has other threads.
  FakeQemu();
  // The same where the test has other threads: runs `program`, whose main is RunFakeQemu.
  explicit FakeQemu(const std::string& program);
  // Kills and reaps it, if that is still to be done.
  ~FakeQemu();
  FakeQemu(const FakeQemu&) = delete;
  FakeQemu& operator=(const FakeQemu&) = delete;

  pid_t pid() const { return pid_; }

  // Binds a socket, as long as its path may be, and returns its number.
  int AddMonitor(const std::string& path, const FakeMonitor& monitor = {});
  void Listen(int monitor);
  // Changes what is done from now on.
  void SetBehavior(int monitor, const FakeMonitor& behavior);
  // Sends to the client, as soon as it reads.
  void Send(int monitor, const std::string& bytes);
  // The same for a line of `size` times 'x' in a member of a JSON object, without sending it here.
  void SendLongEvent(int monitor, size_t size);
  void CloseClient(int monitor);
  void CloseListener(int monitor);
  void Unlink(int monitor);

  // Whether a client is served, and the commands that it and those before it have sent.
  bool HasClient(int monitor);
  std::vector<std::string> Commands(int monitor);
  // The one that is served now.
  FakeClient Client(int monitor);

  // Has a child that keeps all sockets open, as the helpers of QEMU may; it dies with the test.
  void ForkHolder();
  // The same of one that floods the client that is connected.
  void ForkFlooder(int monitor, const std::string& bytes);

  // Has a child do all that this process did until now, and returns its pid: a launcher that
  // listens and hands its sockets to QEMU. The launcher ends, but with `stay`.
  pid_t HandOver(bool stay = false);

  // Ends by itself: its sockets close, their files stay. Not reaped.
  void Exit();
  // Sends to the client and ends by itself, without serving anything between. Returns before that
  // is done.
  void SendAndExit(int monitor, const std::string& bytes);
  void Kill(int signal) const;
  // Waits for its end after Exit or Kill.
  void Reap();

 private:
  // Starts the process; `program` is null for a copy of this one.
  void Start(const char* program);
  void SendRequest(nlohmann::json request);
  nlohmann::json Request(nlohmann::json request);

  pid_t pid_ = -1;
  pid_t holder_ = -1;
  int channel_ = -1;
  int leash_ = -1;
  int requests_ = 0;
};

// The main of a program for FakeQemu(program).
[[noreturn]] void RunFakeQemu();

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_FAKE_QEMU_H_
