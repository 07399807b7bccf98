// For any inputs in any order: STARTED is the first event of a run, STOPPED the last and only one,
// and nothing follows Done.

#include <cstdint>
#include <cstdlib>
#include <variant>

#include "tests/support/problem_texts.h"
#include "watcher/core/proto_time.h"
#include "watcher/session/vm_session.h"

namespace {

using vmeventd::Effects;
using vmeventd::EventType;
using vmeventd::Instant;
using vmeventd::VmSession;

class Run {
 public:
  Run(const vmeventd::SessionOptions* options, bool tracked)
      : session_(MakeRun(tracked), options, now_) {}

  bool done() const { return done_; }

  void Step(uint8_t input, uint8_t argument) {
    static constexpr const char* kEvents[] = {
        "SHUTDOWN",       "POWERDOWN",      "RESET",          "STOP",   "RESUME",
        "GUEST_PANICKED", "WATCHDOG",       "SUSPEND",        "WAKEUP", "SUSPEND_DISK",
        "MIGRATION",      "BLOCK_IO_ERROR", "VSERPORT_CHANGE"};
    static constexpr const char* kData[] = {"null",
                                            R"({"guest":true,"reason":"guest-shutdown"})",
                                            R"({"guest":false,"reason":"host-signal"})",
                                            R"({"guest":true})",
                                            R"({"action":"pause"})",
                                            R"({"action":"poweroff","status":"completed"})",
                                            R"({"reason":7,"guest":"x","action":[]})",
                                            R"({"id":"agent","open":true})",
                                            R"({"id":"agent","open":false})"};
    static constexpr const char* kRunStates[] = {
        "running", "paused",         "shutdown",  "postmigrate",
        "",        "finish-migrate", "suspended", "guest-panicked"};
    switch (input % 8) {
      case 0: {
        vmeventd::QmpEvent event;
        event.name = kEvents[argument % std::size(kEvents)];
        event.data = vmeventd::QmpObject::parse(kData[(argument / 16) % std::size(kData)]);
        return Apply(session_.On(vmeventd::input::Event{event}, now_));
      }
      case 1:
        return Apply(session_.On(
            vmeventd::input::MonitorReady{
                {"7.2.0", kRunStates[argument % std::size(kRunStates)], "", ""}},
            now_));
      case 2:
        return Apply(session_.On(vmeventd::input::MonitorHeld{}, now_));
      case 3:
        return Apply(session_.On(vmeventd::input::MonitorClosed{"EOF"}, now_));
      case 4:
        now_.wall += absl::Milliseconds(argument * 40);
        now_.monotonic += absl::Milliseconds(argument * 40);
        return Apply(session_.On(vmeventd::input::Tick{}, now_));
      case 5:
        return Apply(session_.On(
            vmeventd::input::StateAnswer{kRunStates[argument % std::size(kRunStates)]}, now_));
      case 6:
        if (argument % 2 == 0)
          return Apply(session_.On(vmeventd::input::MonitorProblem{vmeventd::Problem{
                                       vmeventd::ProblemCode::kNoMonitor, "a problem"}},
                                   now_));
        return Apply(session_.On(
            vmeventd::input::AgentAnswer{
                {(argument & 2) != 0, (argument & 4) != 0, (argument & 8) != 0, "agent", {}}},
            now_));
      default:
        return MeddleWith(argument);
    }
  }

  // The end of the process, and intents.
  void MeddleWith(uint8_t argument) {
    const bool open = session_.open_intent() != nullptr;
    if (argument % 4 == 0) {
      vmeventd::ProcessEnd end;
      if (argument >= 64) end.status = {argument % 3, argument % 16};
      end.oom_killed = argument >= 128;
      Apply(session_.On(vmeventd::input::ProcessGone{end}, now_));
    } else if (argument % 4 == 1 && !open) {
      vmeventd::v1::Intent intent;
      *intent.mutable_expire_time() = vmeventd::ToTimestamp(now_.wall + absl::Seconds(argument));
      Apply(session_.On(vmeventd::input::IntentDeclared{intent}, now_));
    } else if (argument % 4 == 2) {
      Apply(session_.On(vmeventd::input::IntentWithdrawn{}, now_));
    }
    if (!done_ && argument % 4 == 2 && session_.open_intent() != nullptr) std::abort();
  }

  void End() {
    if (!done_) Apply(session_.On(vmeventd::input::ProcessGone{}, now_));
    if (!done_ || stopped_ != 1) std::abort();
  }

 private:
  static vmeventd::RunInfo MakeRun(bool tracked) {
    vmeventd::RunInfo run;
    run.name = "vm";
    run.run_id = "run";
    run.process_tracked = tracked;
    return run;
  }

  void Apply(const Effects& effects) {
    for (const vmeventd::Effect& effect : effects) {
      if (done_) std::abort();
      if (const auto* publish = std::get_if<vmeventd::Publish>(&effect)) {
        if (publish->update.event.has_value()) Check(*publish->update.event);
        CheckStatus(publish->update);
      } else if (std::holds_alternative<vmeventd::Done>(effect)) {
        done_ = true;
      } else if (std::holds_alternative<vmeventd::SetShutdownFile>(effect)) {
        Apply(session_.On(vmeventd::input::FileDone{absl::OkStatus()}, now_));
      }
    }
  }

  void Check(const vmeventd::v1::Event& event) {
    if (stopped_ > 0) std::abort();
    if ((event.type() == EventType::kStarted) != (events_ == 0)) std::abort();
    if (event.type() == EventType::kStopped) ++stopped_;
    ++events_;
  }

  // State and problems change only with events.
  void CheckStatus(const vmeventd::VmUpdate& update) {
    if (update.event.has_value()) told_ = *update.status;
    if (update.status->state() != told_.state()) std::abort();
    if (vmeventd::ProblemTexts(update.status->problems()) !=
        vmeventd::ProblemTexts(told_.problems()))
      std::abort();
  }

  Instant now_{absl::FromUnixSeconds(1795157000), absl::Seconds(1)};
  VmSession session_;
  int events_ = 0;
  int stopped_ = 0;
  vmeventd::v1::Vm told_;
  bool done_ = false;
};

}  // namespace

void Fuzz_vm_session(absl::string_view input) {
  if (input.empty()) return;
  vmeventd::SessionOptions options;
  Run run(&options, (input[0] & 2) != 0);
  for (size_t i = 1; i + 1 < input.size() && !run.done(); i += 2) {
    run.Step(static_cast<uint8_t>(input[i]), static_cast<uint8_t>(input[i + 1]));
  }
  run.End();
}
