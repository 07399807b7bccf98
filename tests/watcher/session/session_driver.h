#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/proto_time.h"
#include "watcher/session/evidence.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// Drives a VmSession as the watcher does: carries out its effects at once and saves what it
// published. Time moves only by Advance(). After each input, the saved state that was published
// last must equal what Save() returns.
class SessionDriver {
 public:
  explicit SessionDriver(SessionOptions options = {}, bool process_tracked = true,
                         bool has_shutdown_file = true,
                         absl::Duration process_age = absl::InfiniteDuration(),
                         bool of_libvirt = false)
      : options_(std::move(options)) {
    RunInfo run;
    run.name = "web1";
    run.run_id = "boot-1-2-3";
    run.source_key = of_libvirt ? "libvirt" : "qmp";
    run.source = "qmp:/run/ctrl";
    run.monitor_path = run.raw_path = "/run/ctrl/web1.kvmd";
    run.has_shutdown_file = has_shutdown_file;
    run.pid = process_tracked ? 4711 : 0;
    run.process_tracked = process_tracked;
    run.process_start = now_.wall - process_age;
    run.has_manager = of_libvirt;
    if (of_libvirt) run.lost_problem = ProblemCode::kLibvirtLost;
    session_ = std::make_unique<VmSession>(run, &options_, now_);
  }

  // Advances the clock as if the timer were late.
  void AdvanceWithoutTick(absl::Duration time) {
    now_.wall += time;
    now_.monotonic += time;
  }
  void Advance(absl::Duration time) {
    AdvanceWithoutTick(time);
    if (session_->NextTick() <= now_.monotonic) Apply(session_->On(input::Tick{}, now_));
  }
  void Ready(const std::string& run_state = "running") {
    Apply(session_->On(input::MonitorReady{{"7.2.22", run_state, "uuid-1", "web1", traits}}, now_));
    if (agent_answer.has_value()) Agent(*agent_answer);
  }
  // An event as QEMU would send it; `data` is JSON.
  void Event(const std::string& name, const std::string& data = "") {
    const std::string line =
        data.empty() ? absl::StrCat(R"({"event": ")", name, R"("})")
                     : absl::StrCat(R"({"event": ")", name, R"(", "data": )", data, "}");
    Line(line);
  }
  void Line(absl::string_view line) {
    absl::StatusOr<QmpMessage> message = ParseQmpMessage(line);
    ASSERT_TRUE(message.ok()) << line << message.status();
    if (const QmpEvent* event = std::get_if<QmpEvent>(&*message)) {
      Apply(session_->On(input::Event{*event}, now_));
    }
  }
  // The same, sent at a time of its own.
  void EventAt(absl::Time time, const std::string& name, const std::string& data) {
    Line(absl::StrCat(R"({"timestamp": {"seconds": )", absl::ToUnixSeconds(time),
                      R"(, "microseconds": 0}, "event": ")", name, R"(", "data": )", data, "}"));
  }
  void Shutdown(const std::string& reason) {
    const bool guest = reason.rfind("guest", 0) == 0;
    Event("SHUTDOWN", absl::StrCat(R"({"guest": )", guest ? "true" : "false", R"(, "reason": ")",
                                   reason, R"("})"));
  }
  void RunState(const std::string& state) { Apply(session_->On(input::StateAnswer{state}, now_)); }
  void Agent(const GuestAgentInfo& info) { Apply(session_->On(input::AgentAnswer{info}, now_)); }
  void Held() { Apply(session_->On(input::MonitorHeld{}, now_)); }
  void Closed(const std::string& why = "EOF") {
    Apply(session_->On(input::MonitorClosed{why}, now_));
  }
  // The monitor accepts a connection, and has sent nothing on it yet.
  void Accepted() { Apply(session_->On(input::Socket{}, now_)); }
  void Reported(ManagerEnd end) { Apply(session_->On(input::ReportedEnd{end, "libvirt"}, now_)); }
  void Gone(const ProcessEnd& end = {}) { Apply(session_->On(input::ProcessGone{end}, now_)); }
  void End(const ProcessEnd& end = {}) {
    Closed();
    Gone(end);
  }
  void EndBy(const std::string& reason, const ProcessEnd& end = {}) {
    Shutdown(reason);
    End(end);
  }
  v1::Intent Declare(absl::Duration ttl = absl::Minutes(10), const std::string& id = "intent-1",
                     const std::string& request_id = "") {
    v1::Intent intent;
    intent.set_intent_id(id);
    intent.set_actor("ops");
    intent.set_reason("maintenance");
    intent.set_request_id(request_id);
    *intent.mutable_expire_time() = ToTimestamp(now_.wall + ttl);
    Apply(session_->On(input::IntentDeclared{intent}, now_));
    return intent;
  }
  void Withdraw() { Apply(session_->On(input::IntentWithdrawn{}, now_)); }
  void OomKills(uint64_t kills) { Apply(session_->On(input::OomKills{kills}, now_)); }
  void Sent(const SignalSender& sender) { Apply(session_->On(input::SignalSent{sender}, now_)); }
  void Host(bool shutting_down, const std::string& by) {
    Apply(session_->On(input::HostShutdown{shutting_down, by}, now_));
  }
  void NamedOomVictim(const OomVictim& victim) {
    Apply(session_->On(input::NamedOomVictim{victim}, now_));
  }
  // The node's clock is set, or the node was suspended for that long.
  void StepClock(absl::Duration step) { now_.wall += step; }

  void Rebooted() { Apply(session_->On(input::HostRebooted{}, now_)); }
  void SetWords(const std::string& line, LastWordsSource source) {
    facts.clear_last_words();
    facts.mutable_last_words()->add_lines(line);
    facts.mutable_last_words()->set_source(static_cast<v1::LastWordsSource>(source));
  }
  void AnswerWords() { Apply(session_->On(input::WordsRead{facts}, now_)); }
  void StaysDown() { Apply(session_->On(input::ArgumentsRead{.stays_down = true}, now_)); }
  void TrackingLost() { Apply(session_->On(input::TrackingLost{}, now_)); }

  // The daemon is started again: only the saved state of the run is left.
  void Restart(absl::Duration away = absl::Seconds(30)) {
    now_.wall += away;
    now_.monotonic += away;
    absl::StatusOr<VmSession> restored = VmSession::Restore(saved, &options_, now_);
    ASSERT_TRUE(restored.ok()) << restored.status();
    session_ = std::make_unique<VmSession>(*std::move(restored));
  }

  // The same, and the next daemon attaches its monitor.
  void RestartAndAttach(const std::string& run_state = "running") {
    Restart();
    Ready(run_state);
  }

  // The same, and its process has ended meanwhile.
  void EndDuringRestart(absl::Duration away = absl::Seconds(30)) {
    Restart(away);
    Gone();
  }

  // The same, and the next daemon has the monitor's connection, in which input of a time without a
  // daemon waits.
  void HandOver(absl::Duration away) {
    Apply(session_->On(input::DaemonStops{}, now_));
    if (away > absl::ZeroDuration()) options_.started = now_.wall + away;
    v1::Vm before = Status();
    Restart(away);
    CarryOut(session_->On(input::TakenOver{}, now_));
    before.set_attached(Status().attached());  // what QEMU was not yet asked may be known already
    EXPECT_EQ(Status().DebugString(), before.DebugString());
  }

  // The same, and the next daemon has other settings.
  void RestartWith(const SessionOptions& options) {
    options_ = options;
    Restart();
  }

  void SharedUuid(const std::string& problem) {
    Apply(session_->On(input::SharedUuid{problem}, now_));
  }

  void DirectoryHangs(bool hangs) { Apply(session_->On(input::DirectoryHangs{hangs}, now_)); }

  // The types of the published events.
  std::vector<EventType> Types() const {
    std::vector<EventType> types;
    for (const v1::Event& event : events) types.push_back(static_cast<EventType>(event.type()));
    return types;
  }
  // The last event; an empty one, and the test fails, if there is none.
  const v1::Event& Last() const {
    EXPECT_FALSE(events.empty());
    return events.empty() ? v1::Event::default_instance() : events.back();
  }
  const v1::ShutdownDetail& Stopped() const {
    EXPECT_EQ(Last().type(), EventType::kStopped);
    EXPECT_TRUE(done);
    return Last().shutdown();
  }
  // Returns the id of the open intent; of the one that a request declared. Empty: there is none.
  std::string OpenIntent() const { return IdOf(session_->open_intent()); }
  std::string IntentOfRequest(const std::string& request_id) const {
    return IdOf(session_->IntentOfRequest(request_id));
  }
  v1::Vm Status() const { return session_->Status(); }
  VmSession& session() { return *session_; }
  Instant now() const { return now_; }

  std::vector<v1::Event> events;
  std::vector<v1::Vm> statuses;  // one for each update, with an event or without
  std::vector<std::string> log;  // "file+", "file-", "STOPPED": their order
  int queries = 0;               // how often query-status was asked for
  int agent_queries = 0;
  std::string threads;  // their states, as they can be read
  std::string frozen_by;
  bool dumps_core = false;
  QemuTraits traits;  // as its command line says at an attach
  std::optional<GuestAgentInfo> agent_answer = GuestAgentInfo{};  // at an attach; unset: none comes
  v1::ShutdownDetail facts;                                       // the answer to ReadLastWords
  bool answers_words = true;                                      // at once
  int words_reads = 0;
  absl::Status file_status;         // what the shutdown file's step answers
  bool file_is_of_another = false;  // the name belongs to a later run
  std::optional<bool> file;         // as it stands; unset: never touched
  std::string saved;                // as published last
  bool done = false;

 private:
  static std::string IdOf(const v1::Intent* intent) {
    return intent == nullptr ? "" : intent->intent_id();
  }
  void Apply(Effects effects) {
    CarryOut(std::move(effects));
    const bool ends = words_reads > 0 && !done;  // what it saw since is not saved
    if (!session_->unsaved() && !ends) {
      EXPECT_EQ(saved, session_->Save());
    }
  }
  // The state and the problems change with events only.
  void CheckStatus(const VmUpdate& update) {
    if (update.event.has_value()) {
      published_state_ = update.status->state();
      published_problems_ = ProblemTexts(update.status->problems());
    }
    EXPECT_EQ(update.status->state(), published_state_);
    EXPECT_EQ(ProblemTexts(update.status->problems()), published_problems_);
    for (const v1::Problem& problem : update.status->problems()) {
      EXPECT_NE(problem.code(), v1::PROBLEM_CODE_UNSPECIFIED) << problem.text();
    }
    if (update.event.has_value()) {
      EXPECT_EQ(update.event->has_gap_reason(), update.event->type() == EventType::kGap);
    }
  }
  void CarryOut(Effects effects) {
    for (Effect& effect : effects) {
      ASSERT_FALSE(done) << "an effect after Done";
      if (Publish* publish = std::get_if<Publish>(&effect)) {
        ASSERT_TRUE(publish->update.status.has_value());
        CheckStatus(publish->update);
        statuses.push_back(*publish->update.status);
        if (publish->update.saved_run.has_value()) saved = *publish->update.saved_run;
        if (publish->update.event.has_value()) {
          if (publish->update.event->type() == EventType::kStopped) log.emplace_back("STOPPED");
          events.push_back(*std::move(publish->update.event));
        }
      } else if (const auto* file_step = std::get_if<SetShutdownFile>(&effect)) {
        FileStep(file_step->there);
      } else if (const auto* ask = std::get_if<AskQemu>(&effect)) {
        ++(ask->question == Question::kRunState ? queries : agent_queries);
      } else if (std::holds_alternative<ExamineThreads>(effect)) {
        CarryOut(session_->On(input::Threads{threads, frozen_by, dumps_core}, now_));
      } else if (std::holds_alternative<ReadLastWords>(effect)) {
        ++words_reads;
        if (answers_words) CarryOut(session_->On(input::WordsRead{facts}, now_));
      } else {
        done = true;
      }
    }
  }
  void FileStep(bool write) {
    if (file_is_of_another) return CarryOut(session_->On(input::FileDone{std::nullopt}, now_));
    log.emplace_back(write ? "file+" : "file-");
    if (file_status.ok()) file = write;
    CarryOut(session_->On(input::FileDone{file_status}, now_));
  }

  SessionOptions options_;
  Instant now_{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  std::unique_ptr<VmSession> session_;
  v1::VmState published_state_ = v1::VM_STATE_UNREACHABLE;
  std::vector<std::string> published_problems_;
};

}  // namespace vmeventd
