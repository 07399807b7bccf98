// Intents that were declared with a run: DeclareIntent in vm_events.proto.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "watcher/core/causes.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

absl::Status VmSession::CheckIntent(Instant now) const {
  if (!saved_.evidence.decided()) {
    if (!options_->event_limits || intent_limit_.Has(now.monotonic)) return absl::OkStatus();
    return WithReason("TOO_MANY_INTENTS", absl::ResourceExhaustedError(
                                              "vm_name: too many intents were declared for this "
                                              "run: at most 100 at once and one each "
                                              "2 s; declare one for as long as the work takes"));
  }
  const Verdict verdict = CurrentVerdict();
  return WithReason("END_IS_DECIDED", absl::FailedPreconditionError(absl::StrCat(
                                          "the intent would have no effect: what decides "
                                          "the end of the run was already seen: ",
                                          TraitsOf(verdict.cause).sentence, " (rule ", verdict.rule,
                                          "); declare an intent before the VM is asked to end")));
}

void VmSession::Handle(const input::IntentDeclared& input, Instant now) {
  if (saved_.intents.open.has_value()) CloseIntent(IntentEnd::kReplaced, now);
  const v1::Intent& intent = input.intent;
  v1::Event event =
      MakeEvent(EventType::kIntentDeclared,
                absl::StrCat(intent.actor(), " intends to end the VM: ", intent.reason()));
  *event.mutable_intent() = intent;
  intent_limit_.Spend(now.monotonic);
  saved_.intents.Open(intent, now);
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::CloseIntent(IntentEnd end, Instant now) {
  v1::Intent intent = saved_.intents.Close(saved_.evidence.facts);
  ReconsiderIntent();
  v1::Event event =
      MakeEvent(EventType::kIntentEnded,
                absl::StrCat("the intent of ", intent.actor(),
                             end == IntentEnd::kExpired    ? " has expired"
                             : end == IntentEnd::kReplaced ? " was replaced by a newer one"
                                                           : " was withdrawn"));
  *event.mutable_intent() = std::move(intent);
  event.set_intent_end(ToProto(end));
  EmitAlways(std::move(event), now);
}

}  // namespace vmeventd
