#include "client/sinks/exec.h"

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "client/cli/option.h"
#include "client/cli/option_text.h"
#include "client/output/enum_names.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "client/sinks/event_variables.h"
#include "client/sinks/sink_options.h"
#include "client/sinks/watch_sink.h"

namespace vmeventd::client {

absl::Status CommandRunner::Consume(Formatter::Events events) {
  const auto& [event, node, resume_after] = events.front();  // one by one
  if (!event.has_vm() && !env_.gaps) {
    env_.note(absl::StrCat("GAP: ", EscapeForTerminal(event.message())));
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> json = ToJson(event, node);
  if (!json.ok()) return json.status();
  const CommandCall call = {env_.command, EventVariables(event, node), absl::StrCat(*json, "\n")};
  Backoff backoff(kFirstPause, kLongestPause);
  for (int retries = 0;; ++retries) {
    absl::Status status = env_.run(call);
    if (status.ok() || absl::IsCancelled(status)) return status;
    const std::string vm =
        event.has_vm() ? absl::StrCat(EscapeForTerminal(event.vm().name()), " ") : "";
    const std::string failed =
        absl::StrCat("the command ", status.message(), " for event ", event.sequence(), " (", vm,
                     ShortName(event.type()), ")");
    if (env_.on_failure == OnFailure::kSkip) {
      env_.note(absl::StrCat(failed, "; skipping the event"));
      return absl::OkStatus();
    }
    if (env_.on_failure == OnFailure::kStop || retries == kMaxRetries) {
      return absl::AbortedError(
          absl::StrCat(failed, retries == 0 ? "" : absl::StrCat(" ", retries + 1, " times")));
    }
    const absl::Duration pause = backoff.Next(env_.random());
    env_.note(absl::StrCat(failed, "; running it again"));
    if (env_.wait(pause)) return absl::CancelledError("stopped");
  }
}

namespace {

constexpr char kExec[] = "--exec";
constexpr char kOnFailure[] = "--exec-on-failure";
constexpr char kAction[] = "ACTION";

constexpr char kExecHelp[] =
    R"(With --exec it runs COMMAND with /bin/sh for each event, one at a time: the
event's fields are in $VMEVENTS_TYPE, _VM, _CLASS, _CAUSE and so on, its JSON is
on standard input.)";

void AddExecOptions(CLI::App* watch, SinkOptions* options) {
  CLI::Option* exec =
      AddValue(watch, kExec, "COMMAND",
               "run this shell command for each event instead of printing it", &(*options)[kExec]);
  std::string* const on_failure = &(*options)[kOnFailure];
  AddOption(watch, kOnFailure, kAction,

            "if COMMAND fails: stop, retry (up to 10 times, after 1s to 1m) or skip the event "
            "(default stop)",
            [on_failure](const std::string& text) {
              ReadChoice(kAction, text);  // checks it
              *on_failure = text;
            })
      ->needs(exec);
}

OnFailure OnFailureOf(const SinkOptions& options) {
  const std::string action = OptionOf(options, kOnFailure);
  return action.empty() ? OnFailure::kStop : static_cast<OnFailure>(ReadChoice(kAction, action));
}

std::unique_ptr<EventSink> MakeExecSink(const WatchRun& run) {
  StopSource* const stop = run.stop;
  return std::make_unique<CommandRunner>(CommandRunner::Environment{
      .command = OptionOf(run.command.sink_options, kExec),
      .on_failure = OnFailureOf(run.command.sink_options),
      .gaps = run.command.asks_for_gaps(),
      .run = [stop](const CommandCall& call) { return RunCommandCall(call, stop->token()); },
      .wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); },
      .note = run.note});
}

}  // namespace

extern const WatchSinkKind kExecSink = {
    .flag = kExec, .help = kExecHelp, .options = AddExecOptions, .make = MakeExecSink};

}  // namespace vmeventd::client
