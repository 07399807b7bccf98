#pragma once

#include <string>

#include "tests/simulation/random.h"
#include "tests/support/fake_qemu.h"
#include "tests/system/crash/history.h"

namespace vmeventd::crash {

using simulation::Random;

// A fake QEMU that does what the harness requests, and its history. Main thread only.
class Vm {
 public:
  // The daemon watches `directory`. `program` is the fake QEMU's.
  Vm(const std::string& name, const std::string& directory, const std::string& program);

  const RunHistory& history() const { return history_; }
  void Log(const std::string& text) { history_.log.push_back(text); }
  bool ended() const { return ended_; }
  // Returns whether its end has begun and its process still exists.
  bool lingers() const { return lingers_; }

  // Sends events, and runs on. Returns what it did, for people.
  std::string Chat(Random* random);
  // Begins an end and returns as soon as that is under way; in one of four cases the process stays,
  // with its monitor closed, until FinishEnd. `by_guest`: the guest shuts down.
  std::string BeginEnd(Random* random, bool by_guest = false);
  // Waits until its process has ended.
  void FinishEnd();

 private:
  RunHistory history_;
  FakeQemu qemu_;
  FakeMonitor behavior_;
  int monitor_;
  bool ended_ = false;
  bool lingers_ = false;
};

}  // namespace vmeventd::crash
