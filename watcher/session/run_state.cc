#include "watcher/session/run_state.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {
namespace {

constexpr uint32_t kFormat = 3;
constexpr int64_t kNotKnown = std::numeric_limits<int64_t>::min();

// clang-format off
// Each message has one list of its fields, for both directions: F is a field with one value, O one
// that may be unset, S a message, M one that may be missing.
#define SAVE_F(field) to->set_##field(ToSaved(from.field));
#define SAVE_O(field) \
  if (from.field.has_value()) to->set_##field(ToSaved(*from.field));
#define SAVE_S(field) Save(from.field, to->mutable_##field());
#define SAVE_M(field) \
  if (from.field.has_value()) Save(*from.field, to->mutable_##field());
#define LOAD_F(field) FromSaved(from.field(), &to->field);
#define LOAD_O(field) \
  if (from.has_##field()) FromSaved(from.field(), &to->field.emplace());
#define LOAD_S(field) Load(from.field(), &to->field);
#define LOAD_M(field) \
  if (from.has_##field()) Load(from.field(), &to->field.emplace());
#define CONVERT(Struct, FIELDS)                                                               \
  void Save(const Struct& from, internal::Struct* to) { FIELDS(SAVE_F, SAVE_O, SAVE_S, SAVE_M) } \
  void Load(const internal::Struct& from, Struct* to) { FIELDS(LOAD_F, LOAD_O, LOAD_S, LOAD_M) }

const std::string& ToSaved(const std::string& text) { return text; }
int64_t ToSaved(absl::Time time) {
  return time == absl::InfinitePast() ? kNotKnown : absl::ToUnixNanos(time);
}
int64_t ToSaved(absl::Duration duration) { return absl::ToInt64Nanoseconds(duration); }
template <typename T>
auto ToSaved(T value) {
  if constexpr (std::is_enum_v<T>) {
    return static_cast<int>(value);
  } else {
    return value;
  }
}

void FromSaved(const std::string& saved, std::string* to) { *to = saved; }
void FromSaved(int64_t saved, absl::Time* to) {
  *to = saved == kNotKnown ? absl::InfinitePast() : absl::FromUnixNanos(saved);
}
void FromSaved(int64_t saved, absl::Duration* to) { *to = absl::Nanoseconds(saved); }
template <typename Saved, typename T>
void FromSaved(Saved saved, T* to) {
  *to = static_cast<T>(saved);
}

// The structs by the names of their messages.
using Moment = Instant;
using Socket = SocketIdentity;
using Run = RunInfo;
using Shutdown = ShutdownFact;
using Sender = SignalSender;
using Facts = Evidence;
using Entry = EvidenceEntry;

#define MOMENT(F, O, S, M) F(wall) F(monotonic)
CONVERT(Moment, MOMENT)

#define SOCKET(F, O, S, M) F(device) F(inode) F(made_ns)
CONVERT(Socket, SOCKET)

#define SHUTDOWN(F, O, S, M)                                                             \
  F(reason) O(guest) O(powerdown_age) F(while_paused) F(after_signal) F(host_shutdown) \
  F(powerdown_in_host_shutdown) O(caveat)
CONVERT(Shutdown, SHUTDOWN)

#define SENDER(F, O, S, M)                                                                \
  F(signal) F(by_kernel) F(pid) O(uid) F(command) F(executable) F(cgroup) F(of_qemu)       \
  F(of_qemus_user) F(first_process) F(first_signal)
CONVERT(Sender, SENDER)

#define FACTS(F, O, S, M)                                                                 \
  M(shutdown) F(guest_panicked) F(watchdog_expired) F(watchdog_paused) F(internal_error)   \
  F(panic_doubted) F(watchdog_doubted) F(powerdown_doubted) F(hibernating) F(migrated)     \
  F(finishing_migration) F(never_ran) F(incoming) F(down_before_attach)                    \
  F(shutdown_file_found) F(host_shutdown) O(manager_end) F(oom_victim) M(killer)           \
  M(signaller) F(paused) F(guest_can_exit) F(intended)
CONVERT(Facts, FACTS)

#define ENTRY(F, O, S, M) F(time) F(what) F(id)
CONVERT(Entry, ENTRY)

#define INTENT(F, O, S, M) F(intent_id) F(actor) F(reason) F(expire_time) F(request_id) \
  F(declared_by)
CONVERT(Intent, INTENT)

#define DECLARED_INTENT(F, O, S, M) S(intent) F(declared) F(deadline)
CONVERT(DeclaredIntent, DECLARED_INTENT)

#define PROBLEM(F, O, S, M) F(code) F(text)
CONVERT(Problem, PROBLEM)

#define GUEST_AGENT(F, O, S, M) \
  F(unknown) F(present) F(open) F(reported) F(port) M(opened) M(closed)
CONVERT(GuestAgent, GUEST_AGENT)

#define S390_PANIC(F, O, S, M) F(core) F(psw_mask) F(psw_addr) F(reason)
CONVERT(S390Panic, S390_PANIC)

#define TDX_PANIC(F, O, S, M) F(error_code) F(message) O(gpa)
CONVERT(TdxPanic, TDX_PANIC)

void Save(const GuestPanic& from, internal::GuestPanic* to) {
  to->set_action(from.action);
  if (const auto* hyper_v = std::get_if<HyperVPanic>(&from.info)) {
    for (const uint64_t arg : hyper_v->args) to->mutable_hyper_v()->add_args(arg);
  } else if (const auto* s390 = std::get_if<S390Panic>(&from.info)) {
    Save(*s390, to->mutable_s390());
  } else if (const auto* tdx = std::get_if<TdxPanic>(&from.info)) {
    Save(*tdx, to->mutable_tdx());
  }
}

void Load(const internal::GuestPanic& from, GuestPanic* to) {
  to->action = from.action();
  if (from.has_hyper_v()) {
    auto& args = to->info.emplace<HyperVPanic>().args;
    for (int i = 0; i < std::min<int>(from.hyper_v().args_size(), args.size()); ++i) {
      args[i] = from.hyper_v().args(i);
    }
  } else if (from.has_s390()) {
    Load(from.s390(), &to->info.emplace<S390Panic>());
  } else if (from.has_tdx()) {
    Load(from.tdx(), &to->info.emplace<TdxPanic>());
  }
}

#define RUN(F, O, S, M)                                                                         \
  F(name) F(run_id) F(source) F(domain_id) F(reported_by) F(monitor_path)   \
  F(unescaped_path) F(unescaped_name) F(process_tracked) F(pid) F(start_ticks) F(pidfd_inode)    \
  F(pid_namespace) F(boot_id) F(process_start) S(socket) F(oom_file) F(oom_kills)                \
  F(shutdown_file_mark)
CONVERT(Run, RUN)

#define RUN_STATE(F, O, S, M)                                                                   \
  S(run) S(attached_at) F(monitor) F(state) F(published_state) F(state_before_loss)              \
  F(state_time) F(published_state_time) F(uuid) F(qemu_version) S(monitor_problem) S(run_problem) \
  S(file_problem) S(exit_problem) S(silence_problem) S(uuid_problem) M(intent)                   \
  M(counted_intent) S(agent) M(exiting_since)
CONVERT(RunState, RUN_STATE)
// clang-format on

template <typename T>
bool IsBetween(T first, T value, T last) {
  return first <= value && value <= last;
}

bool HasKnownNumbers(const RunState& state) {
  const Evidence& facts = state.evidence.facts();
  for (const VmState each : {state.state, state.published_state, state.state_before_loss}) {
    if (!IsBetween(VmState::kRunning, each, VmState::kUnreachable)) return false;
  }
  for (const Problem* problem :
       {&state.monitor_problem, &state.run_problem, &state.file_problem, &state.exit_problem,
        &state.silence_problem, &state.uuid_problem}) {
    if (!IsBetween(ProblemCode::kNone, problem->code, kLastProblemCode)) return false;
  }
  for (const EvidenceEntry& entry : state.evidence.timeline()) {
    if (!IsBetween(EvidenceId::kOther, entry.id, kLastEvidenceId)) return false;
  }
  if (facts.shutdown.has_value()) {
    const auto caveat = facts.shutdown->caveat.value_or(ShutdownCaveat::kGuestAgentPossible);
    if (!IsBetween(ShutdownReason::kMissing, facts.shutdown->reason, ShutdownReason::kOther) ||
        !IsBetween(ShutdownCaveat::kGuestAgentConnected, caveat,
                   ShutdownCaveat::kGuestAgentPossible)) {
      return false;
    }
  }
  return IsBetween(RunState::Monitor::kLost, state.monitor, RunState::Monitor::kUnseen) &&
         IsBetween(ReportedBy::kMonitor, state.run.reported_by, ReportedBy::kContainerLibvirt) &&
         IsBetween(ManagerEnd::kShutdown, facts.manager_end.value_or(ManagerEnd::kShutdown),
                   ManagerEnd::kCrashed);
}

// Names what of a run would lead the watcher to somewhere else than to that run; "" if nothing.
absl::string_view WrongWith(const RunState& state) {
  const RunInfo& run = state.run;
  if (run.run_id.empty()) return "it has no run_id";
  if (run.domain_id < 0) return "its domain_id is no libvirt's";
  if (run.reported_by == ReportedBy::kMonitor) {
    const absl::string_view path = run.raw_path();
    if (!absl::StartsWith(path, "/") || absl::StrContains(path, '\0')) {
      return "its monitor_path is no path";
    }
  }
  const absl::string_view name = run.raw_name();
  if (name.empty() || absl::StrContains(name, '/') || absl::StrContains(name, '\0')) {
    return "its name is no file name";
  }
  if (run.process_tracked && run.pid <= 0) return "it has no pid";
  return HasKnownNumbers(state) ? "" : "it has a number that is not known";
}

}  // namespace

// Takes an EvidenceLog apart, and puts it together again.
struct EvidenceCodec {
  static void Save(const EvidenceLog& from, internal::EvidenceState* to) {
    vmeventd::Save(from.facts_, to->mutable_facts());
    for (const EvidenceEntry& entry : from.timeline_) vmeventd::Save(entry, to->add_timeline());
    if (from.powerdown_at_.has_value()) {
      vmeventd::Save(*from.powerdown_at_, to->mutable_powerdown_at());
    }
    if (from.panic_.has_value()) vmeventd::Save(*from.panic_, to->mutable_panic());
    if (from.host_shutdown_at_.has_value()) {
      vmeventd::Save(*from.host_shutdown_at_, to->mutable_host_shutdown_at());
    }
    to->set_migrating(from.migrating_);
    if (from.shutdown_qemu_time_.has_value()) {
      to->set_shutdown_qemu_time(ToSaved(*from.shutdown_qemu_time_));
    }
    to->set_shutdown_json(ToSaved(from.shutdown_json_));
  }
  static void Load(const internal::EvidenceState& from, EvidenceLog* to) {
    vmeventd::Load(from.facts(), &to->facts_);
    for (const internal::Entry& entry : from.timeline()) {
      vmeventd::Load(entry, &to->timeline_.emplace_back());
    }
    if (from.has_powerdown_at()) vmeventd::Load(from.powerdown_at(), &to->powerdown_at_.emplace());
    if (from.has_panic()) vmeventd::Load(from.panic(), &to->panic_.emplace());
    if (from.has_host_shutdown_at()) {
      vmeventd::Load(from.host_shutdown_at(), &to->host_shutdown_at_.emplace());
    }
    to->migrating_ = from.migrating();
    if (from.has_shutdown_qemu_time()) {
      FromSaved(from.shutdown_qemu_time(), &to->shutdown_qemu_time_.emplace());
    }
    FromSaved(from.shutdown_json(), &to->shutdown_json_);
  }
};

std::string SaveRunState(const RunState& state) {
  internal::RunState saved;
  saved.set_format(kFormat);
  Save(state, &saved);
  const bool lost = state.monitor == RunState::Monitor::kLost;
  saved.set_monitor(static_cast<int>(lost ? state.monitor : RunState::Monitor::kUnseen));
  // A process without a number here is found again by its socket alone.
  if (state.run.pid <= 0) saved.mutable_run()->set_process_tracked(false);
  for (const auto& [key, value] : state.labels) {
    internal::Label* const label = saved.add_labels();
    label->set_key(key);
    label->set_value(value);
  }
  EvidenceCodec::Save(state.evidence, saved.mutable_evidence());
  return saved.SerializeAsString();
}

absl::StatusOr<RunState> RestoreRunState(absl::string_view saved) {
  internal::RunState message;
  if (!message.ParseFromArray(saved.data(), static_cast<int>(saved.size()))) {
    return absl::InvalidArgumentError("not a saved run");
  }
  if (message.format() != kFormat) {
    return absl::InvalidArgumentError("a saved run of another format");
  }
  RunState state;
  Load(message, &state);
  for (const internal::Label& label : message.labels()) {
    state.labels.emplace_back(label.key(), label.value());
  }
  EvidenceCodec::Load(message.evidence(), &state.evidence);
  if (const absl::string_view wrong = WrongWith(state); !wrong.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("not a saved run: ", wrong));
  }
  return state;
}

}  // namespace vmeventd
