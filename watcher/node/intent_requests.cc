#include "watcher/node/intent_requests.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/error_reason.h"
#include "base/quote.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/shutting_down.h"
#include "watcher/node/intent_request.h"
#include "watcher/node/several_vms_run.h"
#include "watcher/runs/process.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// Describes the VM in a request, for errors: the request's field, and "named "web1"" or "with that
// UUID".
std::pair<std::string, std::string> Described(const IntentRequest& request) {
  if (!request.uuid.has_value()) return {"vm_name", absl::StrCat("named ", Quote(request.vm_name))};
  if (request.vm_name.empty()) return {"uuid", "with that UUID"};
  return {"uuid", absl::StrCat("named ", Quote(request.vm_name), " with that UUID")};
}

// Makes the intent of a request, without the time at which it expires.
v1::Intent IntentOf(const IntentRequest& request) {
  v1::Intent intent;
  intent.set_intent_id(request.intent_id);
  intent.set_actor(request.actor);
  intent.set_reason(request.reason);
  intent.set_declared_by(request.declared_by);
  intent.set_request_id(request.request_id);
  return intent;
}

// The start time of the run's process, by the present wall clock; if not known, the time at which
// the run was found.
absl::Time StartOf(const VmRun& run) {
  const uint64_t ticks = run.info().start_ticks;
  return ticks != 0 ? ProcessStartTime(ticks) : run.session().attached_at().wall;
}

absl::Status Ambiguous(const IntentRequest& request, const std::vector<VmRun*>& runs) {
  const auto [field, described] = Described(request);
  std::vector<absl::string_view> ids;
  ids.reserve(runs.size());
  for (const VmRun* run : runs) ids.emplace_back(run->info().run_id);
  return SeveralVmsRun(field, described, std::move(ids));
}

}  // namespace

IntentRequests::~IntentRequests() {
  for (const Task& task : Take()) task.done(ShuttingDown());
}

void IntentRequests::Declare(IntentRequest request,
                             std::function<void(absl::StatusOr<v1::Intent>)> done) {
  Add({[this, request = std::move(request)](const Done& then) { HandleDeclare(request, then); },
       std::move(done)});
}

void IntentRequests::Withdraw(std::string intent_id, std::function<void(absl::Status)> done) {
  Add({[this, id = std::move(intent_id)](const Done& then) { HandleWithdraw(id, then); },
       [done = std::move(done)](const absl::StatusOr<v1::Intent>& withdrawn) {
         done(withdrawn.status());
       }});
}

void IntentRequests::Add(Task task) {
  if (unanswered_->fetch_add(1) >= kMaxIntentRequests) {
    --*unanswered_;
    return task.done(WithReason(
        "TOO_MANY_INTENTS",
        absl::ResourceExhaustedError(absl::StrCat(
            kMaxIntentRequests, " requests about intents are waiting already; try again later"))));
  }
  task.done = [unanswered = unanswered_,
               done = std::move(task.done)](absl::StatusOr<v1::Intent> result) {
    --*unanswered;
    done(std::move(result));
  };
  {
    MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  loop_->Wake();
}

std::vector<IntentRequests::Task> IntentRequests::Take() {
  MutexLock lock(&mutex_);
  return std::exchange(tasks_, {});
}

void IntentRequests::Handle() {
  for (const Task& task : Take()) task.handle(task.done);
}

absl::StatusOr<VmRun*> IntentRequests::RunFor(const IntentRequest& request,
                                              std::optional<v1::VmRef>* ending) {
  std::vector<VmRun*> runs;
  const auto later = [&](const VmRun* run) { return StartOf(*run) >= request.started_before; };
  // Lives() may end a run, and with it its entry in the table.
  std::vector<VmRun*> named =
      request.uuid.has_value() ? runs_->WithUuid(*request.uuid) : runs_->Named(request.vm_name);
  for (VmRun* run : named) {
    const bool meant = (request.run_id.empty() || run->info().run_id == request.run_id) &&
                       (request.vm_name.empty() || run->info().name == request.vm_name);
    if (!meant) continue;
    std::optional<v1::VmRef> of_start;
    if (request.has_start() && run->published() && !later(run)) {
      of_start = run->session().Status().ref();
    }
    if (!run->Lives()) {
      if (of_start.has_value()) *ending = std::move(of_start);
    } else if (run->published()) {
      runs.push_back(run);
    }
  }
  const bool any_later = std::erase_if(runs, later) > 0;
  if (runs.size() == 1) return runs.front();
  if (runs.size() > 1) return Ambiguous(request, runs);
  const auto [field, described] = Described(request);
  if (any_later) {
    return WithReason("RUN_IS_LATER",
                      absl::FailedPreconditionError(
                          "the present run started after the operation began (started_before)"));
  }
  if (request.run_id.empty()) {
    return WithReason("NO_SUCH_VM",
                      absl::NotFoundError(absl::StrCat(field, ": no VM ", described, " runs")));
  }
  return WithReason("NO_SUCH_VM",
                    absl::NotFoundError(absl::StrCat("run_id: no run ", Quote(request.run_id),
                                                     " of a VM ", described, " is open")));
}

absl::Status IntentRequests::TakeToken() {
  if (!limited_ || node_intents_.Take(loop_->Now().monotonic)) return absl::OkStatus();
  return WithReason("TOO_MANY_INTENTS",
                    absl::ResourceExhaustedError(absl::StrCat(
                        "too many intents were declared on this node: at most ", kNodeIntents.burst,
                        " at once and ", kNodeIntents.per_second, " a second; try again later")));
}

void IntentRequests::RecordLate(const v1::Vm& vm, std::optional<std::string> saved_run,
                                const IntentRequest& request, const absl::Status& why,
                                const Done& done) {
  if (absl::Status taken = TakeToken(); !taken.ok()) return done(std::move(taken));
  v1::Event event =
      MakeEvent(EventType::kIntentLate,
                absl::StrCat(request.actor,
                             " intended to end the VM, which came too late: ", request.reason));
  *event.mutable_observe_time() = ToTimestamp(loop_->Now().wall);
  *event.mutable_intent() = IntentOf(request);
  // A run that has stopped stays as its STOPPED left it.
  const bool lives = vm.state() != v1::VM_STATE_STOPPED;
  if (!lives) {
    *event.mutable_vm() = vm.ref();
    event.set_state(vm.state());
  }
  sink_->Push({.status = lives ? std::optional(vm) : std::nullopt,
               .event = std::move(event),
               .saved_run = std::move(saved_run),
               .on_public = [done, why] { done(why); }});
}

void IntentRequests::HandleDeclare(const IntentRequest& request, const Done& done) {
  std::optional<v1::VmRef> ended;
  const absl::StatusOr<VmRun*> run = RunFor(request, &ended);
  if (!run.ok()) {
    // If several VMs of the name run, the intent may be for one of them.
    if (HasReason(run.status(), "SEVERAL_VMS_RUN")) return done(run.status());
    if (!ended.has_value()) ended = request.ended;
    if (!ended.has_value() && request.has_start()) {
      return sink_->Push({.status = std::nullopt,
                          .event = std::nullopt,
                          .on_public = [done, why = run.status()] { done(why); }});
    }
    if (!ended.has_value()) return done(run.status());
    v1::Vm stopped;
    *stopped.mutable_ref() = *ended;
    stopped.set_state(v1::VM_STATE_STOPPED);
    return RecordLate(
        stopped, /*saved_run=*/std::nullopt, request,
        WithReason("INTENT_IS_LATE",
                   absl::FailedPreconditionError(absl::StrCat(
                       "the run that lived when the operation began, at started_before, has ended; "
                       "the intent changes nothing, and INTENT_LATE of the run ",
                       ended->run_id(), " records it"))),
        done);
  }
  const auto of_vm = [&name = (*run)->info().name](absl::Status status) {
    return WithFact("vm_name", name, std::move(status));
  };
  if (const v1::Intent* own = (*run)->session().IntentOfRequest(request.request_id);
      own != nullptr) {
    if (own->actor() == request.actor && own->reason() == request.reason) {
      return (*run)->Confirm([done, intent = *own] { done(intent); });
    }
    const absl::Status used =
        WithReason("REQUEST_ID_USED",
                   absl::AlreadyExistsError(absl::StrCat(
                       "request_id: ", Quote(request.request_id), " was used for the intent ",
                       own->intent_id(), ", of another actor or reason: use a new one")));
    return done(of_vm(WithFact("intent_id", own->intent_id(), used)));
  }
  if (const v1::Intent* open = (*run)->session().open_intent();
      open != nullptr && open->actor() != request.actor) {
    const absl::Status refused = WithReason(
        "INTENT_IS_OPEN",
        absl::AlreadyExistsError(absl::StrCat(
            "the run has an open intent, ", open->intent_id(), ", declared by ",
            Quote(open->actor()), ": leave it open, or withdraw it first with WithdrawIntent")));
    return done(
        of_vm(WithFact("intent_id", open->intent_id(), WithFact("actor", open->actor(), refused))));
  }
  if (absl::Status counts = (*run)->CheckIntent(); !counts.ok()) {
    if (!HasReason(counts, "END_IS_DECIDED")) return done(std::move(counts));
    const VmSession& session = (*run)->session();
    return RecordLate(session.Status(), session.Save(), request, of_vm(counts), done);
  }
  if (absl::Status taken = TakeToken(); !taken.ok()) return done(std::move(taken));
  v1::Intent intent = IntentOf(request);
  *intent.mutable_expire_time() = ToTimestamp(loop_->Now().wall + request.ttl);
  (*run)->DeclareIntent(intent, [done, intent] { done(intent); });
}

void IntentRequests::HandleWithdraw(const std::string& intent_id, const Done& done) {
  VmRun* const run = runs_->FindByIntent(intent_id);
  if (run == nullptr) {
    return done(WithReason(
        "NO_SUCH_INTENT",
        absl::NotFoundError(absl::StrCat("intent_id: no intent ", Quote(intent_id), " is open"))));
  }
  run->WithdrawIntent([done] { done(v1::Intent()); });
}

}  // namespace vmeventd
