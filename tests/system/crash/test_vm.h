#pragma once

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

// The running daemon.
struct DaemonNow {
  pid_t pid = 0;  // 0: none
  int life = -1;  // its number in History::lives
  absl::Time begin;
};

// One QEMU, fake or real, that does what the harness requests and records it. Main thread only.
class TestVm {
 public:
  virtual ~TestVm() = default;

  const RunHistory& history() const { return history_; }
  RunHistory& history() { return history_; }
  bool ended() const { return ended_; }
  // Whether its end has begun while its process still exists.
  bool lingers() const { return lingers_; }

  // What it can do now: deeds that leave it running, and ends.
  virtual std::vector<Deed> Deeds() const = 0;
  virtual std::vector<Deed> Ends() const = 0;

  void Do(Deed deed, const DaemonNow& daemon);
  // Begins an end and returns as soon as that is under way. `linger`: the process stays, with its
  // monitor closed, until FinishEnd; if the VM supports that.
  void BeginEnd(Deed deed, bool linger, const DaemonNow& daemon);
  // Waits until its process has ended.
  void FinishEnd();
  // Sends events that do not affect the verdict.
  void Chat(Random* random, const DaemonNow& daemon);

  // The life that is certainly attached to its monitor and reads everything from now on; -1: none.
  virtual int Witness(const DaemonNow& daemon) = 0;

  // The round, which each line of the log names.
  void set_round(int round) { round_ = round; }

 protected:
  TestVm(std::string name, int round) : round_(round) { history_.name = std::move(name); }
  void Log(const std::string& text);

  virtual void CarryOut(Deed deed) = 0;
  // Returns whether the process lingers.
  virtual bool CarryOutEnd(Deed deed, bool linger) = 0;
  virtual std::string CarryOutChat(Random* random) = 0;
  virtual void LetGo() = 0;
  // Waits for its end. False: it hung and was killed.
  virtual bool Reap() = 0;

 private:
  void Note(Deed deed, const DaemonNow& daemon);

  RunHistory history_;
  bool ended_ = false;
  bool lingers_ = false;
  int round_;
};

// The daemon watches `directory`. `program` is the fake QEMU's.
std::unique_ptr<TestVm> MakeFakeVm(const std::string& name, const std::string& directory,
                                   const std::string& program, int round);
// A real QEMU without memory and processor. `sightings` must outlive it.
std::unique_ptr<TestVm> MakeRealVm(const std::string& name, const std::string& directory,
                                   const Sightings* sightings, int round);

}  // namespace vmeventd::crash
