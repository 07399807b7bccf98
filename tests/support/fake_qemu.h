#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace vmeventd {

// Behavior of a fake monitor. All text is sent verbatim, including line ends.
struct FakeMonitor {
  bool listen = true;  // false: bound only, until Listen()
  bool greet = true;   // false: the connection is accepted without a greeting
  bool answer = true;  // false: commands are read and not answered
  bool split = false;  // every byte is written alone
  // Stops reading after the greeting, until another connection comes, which it drops: a QEMU whose
  // main thread waits in accept(2), docs/internals/qemu.md.
  bool stuck = false;
  std::string greeting =
      "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
      "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
  std::string before_replies;                  // sent before each reply
  std::map<std::string, std::string> replies;  // keyed by command; override the default
  std::string status = "running";
  std::string uuid = "00000000-0000-0000-0000-000000000000";
  std::string name;
};

// A QEMU as far as its QMP sockets go: a separate process that serves one client at a time on each
// of its sockets and executes the test's requests step by step. Every method returns once the
// process has executed it; none depends on the client. A failure of the fake itself ends the test
// program.
class FakeQemu {
 public:
  // Starts the process, which dies with the test: `program`, whose main is RunFakeQemu; empty: a
  // copy of this one, for which the test must have one thread.
  explicit FakeQemu(const std::string& program = "");
  // Kills and reaps it unless that is done.
  ~FakeQemu();
  FakeQemu(const FakeQemu&) = delete;
  FakeQemu& operator=(const FakeQemu&) = delete;

  pid_t pid() const { return pid_; }

  // Binds a socket, whose path may be of any length, and returns its number.
  int AddMonitor(const std::string& path, const FakeMonitor& monitor = {});
  void Listen(int monitor);
  // Changes the behavior from now on.
  void SetBehavior(int monitor, const FakeMonitor& behavior);
  // Sends to the client once it reads.
  void Send(int monitor, const std::string& bytes);
  // Sends a line with `size` times 'x' in a member of a JSON object, without passing it through the
  // channel.
  void SendLongEvent(int monitor, size_t size);
  void CloseClient(int monitor);
  void CloseListener(int monitor);
  void Unlink(int monitor);

  // Returns whether a client is served.
  bool HasClient(int monitor);
  std::vector<std::string> Commands(int monitor);
  // Those of the present client.
  std::vector<std::string> CommandsOfClient(int monitor);

  // Forks a child that keeps all sockets open, as helpers of QEMU may; it dies with the test.
  void ForkHolder();
  // Forks a child that sends that to the connected client, once, and then lives on until the test
  // ends. Returns its pid.
  pid_t ForkSender(int monitor, const std::string& bytes);

  // Gives the process another name than a QEMU's, as a launcher's.
  void Rename(const std::string& name);

  // Moves the whole service to a child and returns its pid, like a launcher that listens and passes
  // its sockets to QEMU. The launcher exits; with `stay` it runs on as another program, and keeps
  // the sockets open.
  pid_t HandOver(bool stay = false);

  // Exits: its sockets close, their files stay. Not reaped.
  void Exit();
  // Sends to the client and exits without serving anything in between. Returns before that is done.
  void SendAndExit(int monitor, const std::string& bytes);
  void Kill(int signal) const;
  // Waits for the process to end after Exit or Kill.
  void Reap();
  void KillAndReap();

 private:
  void SendRequest(nlohmann::json request);
  nlohmann::json Request(nlohmann::json request);
  nlohmann::json Do(const char* what, int monitor);

  pid_t pid_ = -1;
  pid_t holder_ = -1;
  int channel_ = -1;
  int leash_ = -1;
  int requests_ = 0;
};

// The main function of a program for FakeQemu(program).
[[noreturn]] void RunFakeQemu();

}  // namespace vmeventd
