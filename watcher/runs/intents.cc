#include "watcher/runs/intents.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_reason.h"

namespace vmeventd {
namespace {

// Quotes a value from outside for a message.
std::string Quote(absl::string_view value) {
  constexpr size_t kMaxBytes = 120;
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMaxBytes)),
                      value.size() > kMaxBytes ? "...\"" : "\"");
}

// The name of the VM in a request, for errors: its field, and "named "web1"" or "with that UUID".
std::pair<std::string, std::string> Described(const IntentRequest& request) {
  if (!request.uuid.has_value()) return {"vm_name", absl::StrCat("named ", Quote(request.vm_name))};
  if (request.vm_name.empty()) return {"uuid", "with that UUID"};
  return {"uuid", absl::StrCat("named ", Quote(request.vm_name), " with that UUID")};
}

absl::Status Ambiguous(const IntentRequest& request, const std::vector<VmRun*>& runs) {
  const auto [field, described] = Described(request);
  constexpr size_t kMaxListed = 10;
  std::vector<absl::string_view> ids;
  for (const VmRun* run : runs) {
    if (ids.size() < kMaxListed) ids.emplace_back(run->info().run_id);
  }
  return WithReason(
      "SEVERAL_VMS_RUN",
      absl::FailedPreconditionError(absl::StrCat(
          field, ": ", runs.size(), " VMs ", described, " run; set run_id to one of ",
          absl::StrJoin(ids, ", "), runs.size() > kMaxListed ? ", ..." : "")));
}

}  // namespace

IntentRequests::~IntentRequests() {
  for (const Task& task : Take()) task.done(absl::UnavailableError("the watcher has ended"));
}

void IntentRequests::Declare(IntentRequest request,
                             std::function<void(absl::StatusOr<Intent>)> done) {
  Add({std::move(request), "", std::move(done)});
}

void IntentRequests::Withdraw(std::string intent_id, std::function<void(absl::Status)> done) {
  Add({std::nullopt, std::move(intent_id),
       [done = std::move(done)](const absl::StatusOr<Intent>& withdrawn) {
         done(withdrawn.status());
       }});
}

void IntentRequests::Add(Task task) {
  if (unanswered_->fetch_add(1) >= kMaxIntentRequests) {
    --*unanswered_;
    return task.done(WithReason("TOO_MANY_INTENTS",
                                absl::ResourceExhaustedError(absl::StrCat(
                                    kMaxIntentRequests, " requests about intents wait already"))));
  }
  task.done = [unanswered = unanswered_, done = std::move(task.done)](absl::StatusOr<Intent> said) {
    --*unanswered;
    done(std::move(said));
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
  for (const Task& task : Take()) {
    if (task.declare.has_value()) {
      HandleDeclare(*task.declare, task.done);
    } else {
      HandleWithdraw(task.withdraw, task.done);
    }
  }
}

absl::StatusOr<VmRun*> IntentRequests::RunFor(const IntentRequest& request) {
  std::vector<VmRun*> runs;
  // Lives() may end a run, and with it its entry in the table.
  std::vector<VmRun*> named =
      request.uuid.has_value() ? runs_->WithUuid(*request.uuid) : runs_->Named(request.vm_name);
  for (VmRun* run : named) {
    const bool meant = (request.run_id.empty() || run->info().run_id == request.run_id) &&
                       (request.vm_name.empty() || run->info().name == request.vm_name);
    if (meant && run->Lives() && run->published()) runs.push_back(run);
  }
  if (runs.size() == 1) return runs.front();
  if (runs.size() > 1) return Ambiguous(request, runs);
  const auto [field, described] = Described(request);
  if (request.run_id.empty()) {
    return WithReason("NO_SUCH_VM",
                      absl::NotFoundError(absl::StrCat(field, ": no VM ", described, " runs")));
  }
  return WithReason("NO_SUCH_VM",
                    absl::NotFoundError(absl::StrCat("run_id: no run ", Quote(request.run_id),
                                                     " of a VM ", described, " is open")));
}

void IntentRequests::HandleDeclare(const IntentRequest& request, const Done& done) {
  const absl::StatusOr<VmRun*> run = RunFor(request);
  if (!run.ok()) return done(run.status());
  if (const Intent* own = (*run)->IntentOfRequest(request.request_id); own != nullptr) {
    if (own->actor == request.actor && own->reason == request.reason) {
      return (*run)->Confirm([done, intent = *own] { done(intent); });
    }
    return done(absl::AlreadyExistsError(
        absl::StrCat("request_id: ", Quote(request.request_id), " was used for the intent ",
                     own->intent_id, ", of another actor or reason: use a new one")));
  }
  if (const Intent* open = (*run)->open_intent(); open != nullptr) {
    return done(WithReason(
        "INTENT_IS_OPEN",
        absl::AlreadyExistsError(absl::StrCat("vm_name: the run has an open intent, ",
                                              open->intent_id, ", declared by ", Quote(open->actor),
                                              ": keep it, or withdraw it first with "
                                              "WithdrawIntent"))));
  }
  if (absl::Status counts = (*run)->CheckIntent(); !counts.ok()) return done(std::move(counts));
  if (limited_ && !node_intents_.Take(loop_->Now().monotonic)) {
    return done(
        WithReason("TOO_MANY_INTENTS",
                   absl::ResourceExhaustedError(absl::StrCat(
                       "too many intents were declared on this node: at most ", kNodeIntents.burst,
                       " at once and ", kNodeIntents.per_second, " a second; try again later"))));
  }
  Intent intent{request.intent_id, request.actor, request.reason, loop_->Now().wall + request.ttl,
                request.request_id};
  (*run)->DeclareIntent(intent, [done, intent] { done(intent); });
}

void IntentRequests::HandleWithdraw(const std::string& intent_id, const Done& done) {
  VmRun* const run = runs_->FindByIntent(intent_id);
  if (run == nullptr) {
    return done(WithReason(
        "NO_SUCH_INTENT",
        absl::NotFoundError(absl::StrCat("intent_id: no intent ", Quote(intent_id), " is open"))));
  }
  run->WithdrawIntent([done] { done(Intent()); });
}

}  // namespace vmeventd
