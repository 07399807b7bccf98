#include "watcher/session/run_state.h"

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "absl/status/status.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {
namespace {

constexpr uint32_t kFormat = 8;
constexpr int64_t kNotKnown = std::numeric_limits<int64_t>::min();

// clang-format off
// Each message has one list of its fields, for both directions: F is a field with one value, O one
// that may be unset, S a message, M one that may be missing, R a list of messages.
#define SAVE_F(field) to->set_##field(ToSaved(from.field));
#define SAVE_O(field) \
  if (from.field.has_value()) to->set_##field(ToSaved(*from.field));
#define SAVE_S(field) Save(from.field, to->mutable_##field());
#define SAVE_M(field) \
  if (from.field.has_value()) Save(*from.field, to->mutable_##field());
#define SAVE_R(field) \
  for (const auto& each : from.field) Save(each, to->add_##field());
#define LOAD_F(field) FromSaved(from.field(), &to->field);
#define LOAD_O(field) \
  if (from.has_##field()) FromSaved(from.field(), &to->field.emplace());
#define LOAD_S(field) Load(from.field(), &to->field);
#define LOAD_M(field) \
  if (from.has_##field()) Load(from.field(), &to->field.emplace());
#define LOAD_R(field) \
  for (const auto& each : from.field()) Load(each, &to->field.emplace_back());
#define CONVERT(Struct, FIELDS)                         \
  void Save(const Struct& from, internal::Struct* to) { \
    FIELDS(SAVE_F, SAVE_O, SAVE_S, SAVE_M, SAVE_R)      \
  }                                                     \
  void Load(const internal::Struct& from, Struct* to) { \
    FIELDS(LOAD_F, LOAD_O, LOAD_S, LOAD_M, LOAD_R)      \
  }

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

// A message of the contract's is saved as it is.
template <std::derived_from<google::protobuf::Message> T>
void Save(const T& from, T* to) {
  *to = from;
}
template <std::derived_from<google::protobuf::Message> T>
void Load(const T& from, T* to) {
  *to = from;
}

using Label = Labels::value_type;

#define INSTANT(F, O, S, M, R) F(wall) F(monotonic)
CONVERT(Instant, INSTANT)

#define SOCKET_IDENTITY(F, O, S, M, R) F(device) F(inode) F(made_ns)
CONVERT(SocketIdentity, SOCKET_IDENTITY)

#define SHUTDOWN_FACT(F, O, S, M, R) \
  F(reason) O(guest) O(powerdown_age) F(powerdown_cleared) F(while_paused) F(after_signal) \
  F(host_shutdown) F(powerdown_in_host_shutdown) O(unseen_age) O(caveat)
CONVERT(ShutdownFact, SHUTDOWN_FACT)

#define SIGNAL_SENDER(F, O, S, M, R) \
  F(signal) F(by_kernel) F(pid) O(uid) F(command) F(executable) F(cgroup) F(of_qemu) \
  F(of_qemus_user) F(first_process) F(first_signal) F(descent_unproven) \
  F(ended_with)
CONVERT(SignalSender, SIGNAL_SENDER)

#define EVIDENCE(F, O, S, M, R) \
  M(shutdown) F(guest_panicked) F(watchdog_expired) F(watchdog_paused) F(internal_error) \
  F(panic_doubted) F(watchdog_doubted) F(powerdown_doubted) F(hibernating) F(migrated) \
  F(finishing_migration) F(never_ran) F(incoming) F(down_before_attach) F(host_shutdown) \
  O(manager_end) F(oom_victim) M(killer) M(signaller) F(paused) F(guest_can_exit) F(intended) \
  F(stop_unexplained) F(stays_down)
CONVERT(Evidence, EVIDENCE)

#define EVIDENCE_ENTRY(F, O, S, M, R) F(time) F(what) F(id)
CONVERT(EvidenceEntry, EVIDENCE_ENTRY)

#define DECLARED_INTENT(F, O, S, M, R) S(intent) F(request_id) F(declared) F(deadline)
CONVERT(DeclaredIntent, DECLARED_INTENT)

#define RUN_PROBLEM(F, O, S, M, R) F(subject) F(code) F(text)
CONVERT(RunProblem, RUN_PROBLEM)

#define GUEST_AGENT(F, O, S, M, R) \
  F(unknown) F(present) F(open) F(reported) F(port) M(opened) M(closed)
CONVERT(GuestAgent, GUEST_AGENT)

#define EVIDENCE_LOG(F, O, S, M, R) \
  S(facts) R(timeline) M(powerdown_at) F(powerdown_cleared) M(panic) M(host_shutdown_at) \
  F(migrating) O(shutdown_qemu_time) F(shutdown_json) M(watchdog_at)
CONVERT(EvidenceLog, EVIDENCE_LOG)

#define LABEL(F, O, S, M, R) F(first) F(second)
CONVERT(Label, LABEL)

#define RUN_INFO(F, O, S, M, R) \
  F(name) F(run_id) F(source) F(domain_id) F(reported_by) F(monitor_path) F(raw_path) \
  F(raw_name) F(process_tracked) F(pid) F(start_ticks) F(pidfd_inode) F(pid_namespace) \
  F(process_start) S(socket) F(oom_file) F(oom_kills) F(unit)
CONVERT(RunInfo, RUN_INFO)

#define RUN_STATE(F, O, S, M, R) \
  S(run) S(attached_at) F(monitor) F(state) F(published_state) F(state_before_loss) \
  F(state_time) F(published_state_time) F(uuid) F(qemu_version) R(problems) R(labels) \
  S(evidence) M(intent) M(counted_intent) S(agent) M(exiting_since) F(file_written) M(unseen_until)
CONVERT(RunState, RUN_STATE)
// clang-format on

}  // namespace

std::string SaveRunState(const RunState& state) {
  static thread_local internal::RunState saved;  // its memory is used again
  saved.Clear();
  saved.set_format(kFormat);
  Save(state, &saved);
  const bool lost = state.monitor == RunState::Monitor::kLost;
  saved.set_monitor(static_cast<int>(lost ? state.monitor : RunState::Monitor::kUnseen));
  // A process without a number here is found again by its socket alone.
  if (state.run.pid <= 0) saved.mutable_run()->set_process_tracked(false);
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
  if (state.run.run_id.empty()) return absl::InvalidArgumentError("a saved run without a run_id");
  for (const VmState each : {state.state, state.published_state, state.state_before_loss}) {
    if (each < VmState::kUnspecified || each > kLastVmState) {
      return absl::InvalidArgumentError("a saved run in a state that is none");
    }
  }
  return state;
}

}  // namespace vmeventd
