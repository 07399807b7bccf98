// Intents that were declared with the run: DeclareIntent in vm_events.proto.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

absl::Status VmSession::CheckIntent(Instant now) const {
  if (!evidence_.decided()) {
    if (!options_->event_limits || !intents_.has_value() || intents_->Has(now.monotonic)) {
      return absl::OkStatus();
    }
    return absl::ResourceExhaustedError(
        "vm_name: too many intents were declared for this run: at most 100 at once and one each "
        "2 s; declare one for as long as the work takes");
  }
  const Verdict verdict = CurrentVerdict();
  return absl::FailedPreconditionError(absl::StrCat(
      "vm_name: the intent would not count, because what decides the end of the run was seen "
      "already: ",
      CauseSentence(verdict.cause), " (rule ", verdict.rule,
      "); declare an intent before the VM is asked to end"));
}

const Intent* VmSession::IntentOfRequest(absl::string_view request_id) const {
  for (const auto* intent : {&intent_, &counted_intent_}) {
    if (intent->has_value() && !request_id.empty() && (*intent)->intent.request_id == request_id) {
      return &(*intent)->intent;
    }
  }
  return nullptr;
}

Effects VmSession::OnIntentDeclared(Intent intent, Instant now) {
  return Step(now, [&] {
    const absl::Duration deadline = now.monotonic + (intent.expire_time - now.wall);
    VmEvent event =
        MakeEvent(EventType::kIntentDeclared,
                  absl::StrCat(intent.actor, " intends to end the VM: ", intent.reason), now);
    event.intent = intent;
    if (!intents_.has_value()) intents_ = TokenBucket(kIntents);
    intents_->Spend(now.monotonic);
    intent_ = DeclaredIntent{std::move(intent), now.wall, deadline};
    ReconsiderIntent();
    EmitAlways(std::move(event), now);
  });
}

Effects VmSession::OnIntentWithdrawn(Instant now) {
  return Step(now, [&] {
    if (intent_.has_value()) CloseIntent(IntentEnd::kWithdrawn, now);
  });
}

bool VmSession::IntentIsOver(Instant now) const {
  return intent_.has_value() && now.monotonic >= intent_->deadline;
}

void VmSession::CloseIntent(IntentEnd end, Instant now) {
  VmEvent event =
      MakeEvent(EventType::kIntentWithdrawn,
                absl::StrCat("the intent of ", intent_->intent.actor,
                             end == IntentEnd::kExpired ? " has expired" : " was withdrawn"),
                now);
  event.intent = intent_->intent;
  event.intent_end = end;
  if (evidence_.facts().intended && !counted_intent_.has_value()) {
    counted_intent_ = std::move(intent_);
  }
  intent_.reset();
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::ReconsiderIntent() {
  if (evidence_.decided()) return;  // what came first stands
  evidence_.SetIntended(intent_.has_value());
  counted_intent_.reset();
}

}  // namespace vmeventd
