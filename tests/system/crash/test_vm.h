#ifndef VMEVENTD_TESTS_SYSTEM_CRASH_TEST_VM_H_
#define VMEVENTD_TESTS_SYSTEM_CRASH_TEST_VM_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "tests/system/crash/history.h"
#include "tests/system/crash/random.h"
#include "tests/system/crash/sightings.h"

namespace vmeventd::crash {

// The daemon that runs now.
struct DaemonNow {
  pid_t pid = 0;  // 0: none
  int life = -1;  // its number in History::lives
  absl::Time begin;
};

// One QEMU, a fake or a real one, that does what the harness tells it and writes that down. The
// main thread alone.
class TestVm {
 public:
  virtual ~TestVm() = default;

  const RunHistory& history() const { return history_; }
  RunHistory& history() { return history_; }
  bool ended() const { return ended_; }
  // Its end has begun and its process is still there.
  bool lingers() const { return lingers_; }

  // What it can do now: deeds that leave it running, and ends.
  virtual std::vector<Deed> Deeds() const = 0;
  virtual std::vector<Deed> Ends() const = 0;

  void Do(Deed deed, const DaemonNow& daemon);
  // Begins an end and returns as soon as that is on its way. `linger`: the process stays, its
  // monitor closed, until FinishEnd; where the VM can do that.
  void BeginEnd(Deed deed, bool linger, const DaemonNow& daemon);
  // Waits for its process.
  void FinishEnd();
  // Events that do not bear on the end.
  void Chat(Random* random, const DaemonNow& daemon);

  // The life that is attached to its monitor for sure and reads all that comes from now on; -1.
  virtual int Witness(const DaemonNow& daemon) = 0;

  // Where the log's lines come from: the round.
  void set_round(int round) { round_ = round; }

 protected:
  TestVm(std::string name, int round) : round_(round) { history_.name = std::move(name); }
  void Log(const std::string& text);

  virtual void CarryOut(Deed deed) = 0;
  // Returns whether the process lingers.
  virtual bool CarryOutEnd(Deed deed, bool linger) = 0;
  virtual std::string CarryOutChat(Random* random) = 0;
  virtual void LetGo() = 0;
  // Waits for its end. False: it hung at its end and was killed.
  virtual bool Reap() = 0;

 private:
  void Note(Deed deed, const DaemonNow& daemon);

  RunHistory history_;
  bool ended_ = false;
  bool lingers_ = false;
  int round_;
};

// `directory` is watched by the daemon. `program` is the fake QEMU's.
std::unique_ptr<TestVm> MakeFakeVm(const std::string& name, const std::string& directory,
                                   const std::string& program, int round);
// A real QEMU without memory and processor. `sightings` outlives it.
std::unique_ptr<TestVm> MakeRealVm(const std::string& name, const std::string& directory,
                                   const Sightings* sightings, int round);

}  // namespace vmeventd::crash

#endif  // VMEVENTD_TESTS_SYSTEM_CRASH_TEST_VM_H_
