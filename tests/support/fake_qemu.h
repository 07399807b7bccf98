#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace vmeventd {

// Behavior of a fake monitor. All texts are sent unchanged, with their line ends.
struct FakeMonitor {
  bool listen = true;  // false: bound only, until Listen()
  bool greet = true;   // false: the connection is accepted without a greeting
  bool answer = true;  // false: commands are read, but not answered
  bool split = false;  // writes each byte separately
  // Stops reading after the greeting, until another connection arrives, which it drops. This is a
  // QEMU whose main thread waits in accept(2), see docs/internals/qemu.md.
  bool stuck = false;
  std::string greeting =
      "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
      "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
  std::string before_replies;                  // sent before each reply
  std::map<std::string, std::string> replies;  // keyed by command; override the default replies
  std::string status = "running";
  std::string uuid = "00000000-0000-0000-0000-000000000000";
  std::string name;
};

// A fake QEMU that has only QMP sockets: a separate process that serves one client at a time on
// each of its sockets, and executes the test's requests one by one. Each method returns after the
// process has executed it, unless it says otherwise; none depends on the client. A failure of the
// fake itself ends the test program.
class FakeQemu {
 public:
  // Starts the process, which dies with the test. `program`: a program whose main() calls
  // RunFakeQemu(); empty: forks this program, which must have only one thread.
  explicit FakeQemu(const std::string& program = "");
  // Kills and reaps the process, unless that is already done.
  ~FakeQemu();
  FakeQemu(const FakeQemu&) = delete;
  FakeQemu& operator=(const FakeQemu&) = delete;

  pid_t pid() const { return pid_; }

  // Binds a socket at `path`, which may have any length, and returns the monitor's number.
  int AddMonitor(const std::string& path, const FakeMonitor& monitor = {});
  void Listen(int monitor);
  // Changes the monitor's behavior from now on.
  void SetBehavior(int monitor, const FakeMonitor& behavior);
  // Queues bytes for the client, and sends them when the client reads.
  void Send(int monitor, const std::string& bytes);
  // Sends a line with a JSON object, one member of which has `size` times 'x'. The fake makes the
  // line itself; it does not pass through the channel from the test.
  void SendLongEvent(int monitor, size_t size);
  void CloseClient(int monitor);
  void CloseListener(int monitor);
  void Unlink(int monitor);

  // Returns whether the monitor serves a client.
  bool HasClient(int monitor);
  std::vector<std::string> Commands(int monitor);
  // The commands of the present client.
  std::vector<std::string> CommandsOfClient(int monitor);

  // Forks a child that keeps all sockets open, like some helpers of QEMU; it dies with the test.
  void ForkHolder();
  // Forks a child that sends `bytes` to the connected client once, and then lives until the test
  // ends. Returns its pid.
  pid_t ForkSender(int monitor, const std::string& bytes);

  // Gives the process a name that is not a QEMU's, such as a launcher's.
  void Rename(const std::string& name);

  // Moves the whole service to a child and returns its pid, like a launcher that listens and passes
  // its sockets to QEMU. The launcher exits; with `stay` it continues as another program, and keeps
  // the sockets open.
  pid_t HandOver(bool stay = false);

  // Makes the process exit: its sockets close, their files stay. Does not reap it.
  void Exit(int code = 0);
  // Sends to the client and exits, without serving anything in between. Returns before this is
  // done.
  void SendAndExit(int monitor, const std::string& bytes);
  void Kill(int signal) const;
  // After Exit() or Kill(): waits until the process has ended, and reaps it.
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

// The body of main() of a program for FakeQemu(program).
[[noreturn]] void RunFakeQemu();

}  // namespace vmeventd
