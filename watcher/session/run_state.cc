#include "watcher/session/run_state.h"

#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "absl/status/status.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {
namespace {

constexpr uint32_t kFormat = 15;
constexpr int64_t kNotKnown = std::numeric_limits<int64_t>::min();

// clang-format off
// Each struct has one list of its fields, for both directions: F is a field with one value, O one
// that may be unset, S a message, M one that may be missing, R a list of messages, B a base, whose
// fields are saved in the same message, N a field that is not saved. A struct with a field more than
// its list does not compile.
#define SAVE_F(field) to->set_##field(ToSaved(from.field));
#define SAVE_O(field) \
  if (from.field.has_value()) to->set_##field(ToSaved(*from.field));
#define SAVE_S(field) Save(from.field, to->mutable_##field());
#define SAVE_M(field) \
  if (from.field.has_value()) Save(*from.field, to->mutable_##field());
#define SAVE_R(field) \
  for (const auto& each : from.field) Save(each, to->add_##field());
#define SAVE_B(Base) Save(static_cast<const Base&>(from), to);
#define SAVE_N(field) static_cast<void>(from.field);
#define LOAD_F(field) FromSaved(from.field(), &to->field);
#define LOAD_O(field) \
  if (from.has_##field()) FromSaved(from.field(), &to->field.emplace());
#define LOAD_S(field) Load(from.field(), &to->field);
#define LOAD_M(field) \
  if (from.has_##field()) Load(from.field(), &to->field.emplace());
#define LOAD_R(field) \
  for (const auto& each : from.field()) Load(each, &to->field.emplace_back());
// NOLINTBEGIN(bugprone-macro-parentheses): types take none
#define LOAD_B(Base) Load(from, static_cast<Base*>(to));
#define LOAD_N(field)
#define EMPTY(field) {},
#define INITIALIZERS(FIELDS) FIELDS(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY)
#define CONVERT(Struct, FIELDS)                                                  \
  template <typename Saved>                                                      \
  void Save(const Struct& from, Saved* to) {                                     \
    FIELDS(SAVE_F, SAVE_O, SAVE_S, SAVE_M, SAVE_R, SAVE_B, SAVE_N)               \
  }                                                                              \
  template <typename Saved>                                                      \
  void Load(const Saved& from, Struct* to) {                                     \
    FIELDS(LOAD_F, LOAD_O, LOAD_S, LOAD_M, LOAD_R, LOAD_B, LOAD_N)               \
  }                                                                              \
  template <typename T>                                                          \
  constexpr bool kLists##Struct = requires { T{INITIALIZERS(FIELDS)}; } &&       \
                                  !requires { T{INITIALIZERS(FIELDS) {}}; };     \
  static_assert(kLists##Struct<Struct>, "not the list of the fields of " #Struct);
// NOLINTEND(bugprone-macro-parentheses)

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

#define INSTANT(F, O, S, M, R, B, N) F(wall) F(monotonic)
CONVERT(Instant, INSTANT)

#define SOCKET_IDENTITY(F, O, S, M, R, B, N) F(device) F(inode) F(made_ns)
CONVERT(SocketIdentity, SOCKET_IDENTITY)

#define SHUTDOWN_FACT(F, O, S, M, R, B, N) \
  F(reason) O(guest) O(powerdown_age) F(powerdown_cleared) F(while_paused) F(after_signal) \
  F(host_shutdown) F(powerdown_in_host_shutdown) O(unseen_age) O(caveat)
CONVERT(ShutdownFact, SHUTDOWN_FACT)

#define SIGNAL_SENDER(F, O, S, M, R, B, N) \
  F(signal) F(by_kernel) F(pid) O(uid) F(command) F(executable) F(cgroup) F(of_qemu) \
  F(of_qemus_user) F(first_process) F(first_signal) F(descent_unproven) \
  F(ended_with) O(login_uid) O(login_session) F(login_user) F(remote_host) N(sent) N(from_last_words)
CONVERT(SignalSender, SIGNAL_SENDER)

#define EVIDENCE(F, O, S, M, R, B, N) \
  M(shutdown) F(panic) F(watchdog) F(powerdown) F(watchdog_paused) F(watchdog_ended) F(internal_error) \
  F(hibernating) F(migrated) \
  F(finishing_migration) F(never_ran) F(incoming) F(down_before_attach) F(host_shutdown) \
  O(manager_end) F(oom_victim) M(killer) M(signaller) F(paused) F(guest_can_exit) F(intended) \
  F(stop_unexplained) F(stays_down) F(no_panic_device) N(never_greeted) N(monitored) N(unfollowed) \
  N(host_rebooted) N(exit_status) N(oom_killed) N(words_name_signaller) N(managed)
CONVERT(Evidence, EVIDENCE)

#define EVIDENCE_ENTRY(F, O, S, M, R, B, N) F(time) F(what) F(id) F(signal)
CONVERT(EvidenceEntry, EVIDENCE_ENTRY)

#define VM_STATE_RECORD(F, O, S, M, R, B, N) \
  F(state) F(state_time) F(pause_reason) F(published_state) F(published_state_time) \
  F(state_before_loss) F(state_time_before_loss) N(pause_reason_changed)
CONVERT(VmStateRecord, VM_STATE_RECORD)

#define DECLARED_INTENT(F, O, S, M, R, B, N) S(intent) F(declared) F(deadline)
CONVERT(DeclaredIntent, DECLARED_INTENT)

#define RUN_INTENTS(F, O, S, M, R, B, N) M(open) M(counted)
CONVERT(RunIntents, RUN_INTENTS)

#define EXIT_WAIT(F, O, S, M, R, B, N) M(since) N(report_after)
CONVERT(ExitWait, EXIT_WAIT)

#define PROBLEM(F, O, S, M, R, B, N) F(code) F(text)
CONVERT(Problem, PROBLEM)

#define RUN_PROBLEM(F, O, S, M, R, B, N) B(Problem) F(subject)
CONVERT(RunProblem, RUN_PROBLEM)

#define RUN_PROBLEMS(F, O, S, M, R, B, N) R(all) N(published)
CONVERT(RunProblems, RUN_PROBLEMS)

#define GUEST_AGENT_INFO(F, O, S, M, R, B, N) \
  F(present) F(open) F(reported) F(port) N(other_ports)
CONVERT(GuestAgentInfo, GUEST_AGENT_INFO)

#define GUEST_AGENT(F, O, S, M, R, B, N) B(GuestAgentInfo) F(unknown) M(opened) M(closed) N(asked_about)
CONVERT(GuestAgent, GUEST_AGENT)

#define EVIDENCE_LOG(F, O, S, M, R, B, N) \
  S(facts) R(timeline) M(powerdown_at) M(panic) M(host_shutdown_at) \
  F(migrating) O(shutdown_qemu_time) F(shutdown_json) M(watchdog_at) N(earlier_signaller)
CONVERT(EvidenceLog, EVIDENCE_LOG)

#define LABEL(F, O, S, M, R, B, N) F(first) F(second)
CONVERT(Label, LABEL)

#define PROCESS_INFO(F, O, S, M, R, B, N) \
  F(pid) F(start_ticks) F(pidfd_inode) F(process_start) F(oom_file) F(oom_kills) F(unit)
CONVERT(ProcessInfo, PROCESS_INFO)

#define MANAGER_LOG(F, O, S, M, R, B, N) F(directory) F(format)
CONVERT(ManagerLog, MANAGER_LOG)

#define RUN_INFO(F, O, S, M, R, B, N) \
  B(ProcessInfo) F(name) F(run_id) F(source_key) F(source) F(domain_id) F(has_manager) F(is_container) \
  F(lost_problem) S(log) F(has_shutdown_file) F(monitor_path) F(raw_path) F(raw_name) F(process_tracked) F(pid_namespace) S(socket)
CONVERT(RunInfo, RUN_INFO)

#define RUN_STATE(F, O, S, M, R, B, N) \
  S(run) S(attached_at) F(monitor_lost) S(vm) F(uuid) F(qemu_version) S(problems) R(labels) \
  S(evidence) S(intents) S(agent) S(exit) F(file_written) M(unseen_until)
CONVERT(RunState, RUN_STATE)
// clang-format on

}  // namespace

bool WasAttached(const RunState& state) {
  return !state.qemu_version.empty() || state.run.has_manager;
}

std::string SaveRunState(const RunState& state) {
  static thread_local internal::RunState saved;  // its memory is used again
  saved.Clear();
  saved.set_format(kFormat);
  Save(state, &saved);
  // A process without a pid here can only be found again by its socket.
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
  for (const VmState each :
       {state.vm.state, state.vm.published_state, state.vm.state_before_loss}) {
    if (each < VmState::kUnspecified || each > kLastVmState) {
      return absl::InvalidArgumentError("a saved run with an unknown state");
    }
  }
  return state;
}

}  // namespace vmeventd
