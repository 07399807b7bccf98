#include "client/consume/command_runner.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "client/output/enum_names.h"
#include "client/output/format_programs.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

std::string NameOf(const v1::Event& event) {
  return absl::StrCat("event ", event.sequence(), " (",
                      event.has_vm() ? absl::StrCat(EscapeForTerminal(event.vm().name()), " ") : "",
                      ShortName(event.type()), ")");
}

}  // namespace

absl::Status CommandRunner::Consume(const Formatter::Events& events,
                                    const Formatter::Nodes& nodes) {
  for (int i = 0; i < events.size(); ++i) {
    absl::Status status =
        ConsumeOne(events[i], nodes.empty() ? MessageNode() : nodes[static_cast<size_t>(i)]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CommandRunner::ConsumeOne(const v1::Event& event, const MessageNode& node) {
  if (event.type() == v1::EVENT_TYPE_GAP && !env_.gaps) {
    env_.note(absl::StrCat("GAP: ", EscapeForTerminal(event.message())));
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> json = ToJson(event, node);
  if (!json.ok()) return json.status();
  const MessageNode shown = node.name.empty() ? MessageNode{env_.node} : node;
  const CommandCall call = {env_.command, EventVariables(event, shown), absl::StrCat(*json, "\n")};
  Backoff backoff(kFirstPause, kLongestPause);
  for (int retries = 0;; ++retries) {
    absl::Status status = env_.run(call);
    if (status.ok() || absl::IsCancelled(status)) return status;
    const std::string failed =
        absl::StrCat("the command ", status.message(), " for ", NameOf(event));
    if (env_.on_failure == OnFailure::kSkip) {
      env_.note(absl::StrCat(failed, "; skipping the event"));
      return absl::OkStatus();
    }
    if (env_.on_failure == OnFailure::kStop || retries == kMostRetries) {
      return absl::AbortedError(
          absl::StrCat(failed, retries == 0 ? "" : absl::StrCat(" ", retries + 1, " times")));
    }
    const absl::Duration pause = backoff.Next(env_.random());
    env_.note(absl::StrCat(failed, "; running it again"));
    if (env_.wait(pause)) return absl::CancelledError("stopped");
  }
}

}  // namespace vmeventd::client
