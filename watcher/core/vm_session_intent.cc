// What somebody declared to intend with the run: DeclareIntent in vm_events.proto.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watcher/core/vm_session.h"

namespace vmeventd {

Effects VmSession::OnIntentDeclared(Intent intent, Instant now) {
  Effects effects;
  const absl::Duration deadline = now.monotonic + (intent.expire_time - now.wall);
  VmEvent event =
      MakeEvent(EventType::kIntentDeclared,
                absl::StrCat(intent.actor, " intends to end the VM: ", intent.reason), now);
  event.intent = intent;
  intent_ = {std::move(intent), now.wall, deadline};
  WeighIntent();
  Emit(std::move(event), now, &effects);
  return Kept(std::move(effects));
}

Effects VmSession::OnIntentWithdrawn(Instant now) {
  Effects effects;
  if (!intent_.has_value()) return effects;
  CloseIntent(absl::StrCat("the intent of ", intent_->intent.actor, " was withdrawn"), now,
              &effects);
  return Kept(std::move(effects));
}

void VmSession::ExpireIntent(Instant now, Effects* effects) {
  if (!intent_.has_value() || now.monotonic < intent_->deadline) return;
  CloseIntent(absl::StrCat("the intent of ", intent_->intent.actor, " has expired"), now, effects);
}

void VmSession::CloseIntent(std::string message, Instant now, Effects* effects) {
  VmEvent event = MakeEvent(EventType::kIntentWithdrawn, std::move(message), now);
  event.intent = intent_->intent;
  if (evidence_.intended && !counted_intent_.has_value()) counted_intent_ = std::move(intent_);
  intent_.reset();
  WeighIntent();
  Emit(std::move(event), now, effects);
}

void VmSession::WeighIntent() {
  if (IsDecided(evidence_)) return;  // what came first stands
  evidence_.intended = intent_.has_value();
  counted_intent_.reset();
}

const VmSession::DeclaredIntent* VmSession::IntentOfTheEnd() const {
  if (counted_intent_.has_value()) return &*counted_intent_;
  return intent_.has_value() ? &*intent_ : nullptr;
}

}  // namespace vmeventd
