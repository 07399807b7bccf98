#pragma once

#include <optional>
#include <string>
#include <utility>

#include "watcher/core/qmp_message.h"
#include "watcher/core/signal_sender.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/question.h"
#include "watcher/session/session_input.h"

namespace vmeventd {

// A run whose monitor is a test.
class FakeRun : public VmRun {
 public:
  using VmRun::VmRun;
  // A signal to its process was recorded.
  void Signal(const SignalSender& sender) { process().OnSignal(sender); }
  // One was recorded of which it is not clear who sent it.
  void UnclearSignal(int signal, const std::string& why) { process().OnUnclearSignal(signal, why); }
  void BecomeReady() { Feed(input::MonitorReady{{"7.2", "running", "", ""}}); }

  bool connected() const override { return true; }
  std::optional<HandedRun> HandOver() override {
    HandedRun handed;
    HandOverTo(&handed);
    return handed;
  }
  bool ResumeFrom(HandedRun*) override { return false; }
  void ReadNow() override {
    restored = true;
    if (waits.has_value()) HandleQmpEvent(*std::exchange(waits, std::nullopt));
  }
  std::optional<QmpEvent> waits;  // until it is read
  int agent_questions = 0;
  int process_ends = 0;
  bool awaits_report = false;  // of the end of its process, like a domain's run
  bool disconnected = false;
  bool restored = false;

 private:
  void OnProcessGone() override {
    ++process_ends;
    if (!awaits_report) process().AwaitEnd();
  }
  void Ask(Question question) override { agent_questions += question == Question::kGuestAgent; }
  void Disconnect() override { disconnected = true; }
};

}  // namespace vmeventd
