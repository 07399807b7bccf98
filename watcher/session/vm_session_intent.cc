// Intents that were declared with a run: DeclareIntent in vm_events.proto.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

absl::Status VmSession::CheckIntent(Instant now) const {
  if (!saved_.evidence.decided()) {
    if (!options_->event_limits || intents_.Has(now.monotonic)) return absl::OkStatus();
    return WithReason("TOO_MANY_INTENTS", absl::ResourceExhaustedError(
                                              "vm_name: too many intents were declared for this "
                                              "run: at most 100 at once and one each "
                                              "2 s; declare one for as long as the work takes"));
  }
  const Verdict verdict = CurrentVerdict();
  return WithReason("END_IS_DECIDED", absl::FailedPreconditionError(absl::StrCat(
                                          "the intent would have no effect: what decides "
                                          "the end of the run was already seen: ",
                                          CauseSentence(verdict.cause), " (rule ", verdict.rule,
                                          "); declare an intent before the VM is asked to end")));
}

const v1::Intent* VmSession::IntentOfRequest(absl::string_view request_id) const {
  for (const auto* intent : {&saved_.intent, &saved_.counted_intent}) {
    if (intent->has_value() && !request_id.empty() &&
        (*intent)->intent.request_id() == request_id) {
      return &(*intent)->intent;
    }
  }
  return nullptr;
}

void VmSession::Handle(const input::IntentDeclared& input, Instant now) {
  if (saved_.intent.has_value()) CloseIntent(IntentEnd::kReplaced, now);
  const v1::Intent& intent = input.intent;
  const absl::Duration deadline = now.monotonic + (FromTimestamp(intent.expire_time()) - now.wall);
  v1::Event event =
      MakeEvent(EventType::kIntentDeclared,
                absl::StrCat(intent.actor(), " intends to end the VM: ", intent.reason()));
  *event.mutable_intent() = intent;
  intents_.Spend(now.monotonic);
  saved_.intent = DeclaredIntent{intent, now.wall, deadline};
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::CloseIntent(IntentEnd end, Instant now) {
  v1::Event event =
      MakeEvent(EventType::kIntentEnded,
                absl::StrCat("the intent of ", saved_.intent->intent.actor(),
                             end == IntentEnd::kExpired    ? " has expired"
                             : end == IntentEnd::kReplaced ? " was replaced by a newer one"
                                                           : " was withdrawn"));
  *event.mutable_intent() = saved_.intent->intent;
  event.set_intent_end(ToProto(end));
  if (saved_.evidence.facts.intended && !saved_.counted_intent.has_value()) {
    saved_.counted_intent = std::move(saved_.intent);
  }
  saved_.intent.reset();
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::ReconsiderIntent() {
  if (saved_.evidence.decided()) return;  // what came first stands
  saved_.evidence.facts.intended = saved_.intent.has_value();
  saved_.counted_intent.reset();
}

}  // namespace vmeventd
