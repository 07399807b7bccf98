#include "watcher/signals/bpf_trace.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/proc_texts.h"
#include "watcher/signals/trace_record.h"

// bpf_trace.bpf.c, compiled.
extern "C" const char _binary_bpf_trace_bpf_o_start[];
extern "C" const char _binary_bpf_trace_bpf_o_end[];

namespace vmeventd {
namespace {

// The initial PID namespace of the kernel (PROC_PID_INIT_INO).
constexpr absl::string_view kHostPidNamespace = "pid:[4026531836]";
// The length of the uid map in the kernel's initial user namespace.
constexpr absl::string_view kAllUsers = "4294967295";
constexpr char kRing[] = "vmeventd_ring5";
constexpr size_t kRingBytes = size_t{512} << 10;
constexpr char kCounts[] = ".bss";
constexpr char kOffsets[] = ".data.offsets";
constexpr struct {
  const char* program;
  const char* tracepoint;
} kPrograms[] = {{"vmeventd_victim", "mark_victim"}, {"vmeventd_signal", "signal_generate"}};
constexpr size_t kMaps = 2;
static_assert(sizeof(TraceRecord) == 104 && std::has_unique_object_representations_v<TraceRecord>);

std::string MissingCapabilities() {
  const std::string status = ReadSmallFile("/proc/self/status").value_or("");
  uint64_t held = 0;
  if (!absl::SimpleHexAtoi(ValueInLine(status, "CapEff:"), &held)) return "";
  std::vector<absl::string_view> missing;
  if ((held >> CAP_BPF & 1) == 0) missing.emplace_back("CAP_BPF");
  if ((held >> CAP_PERFMON & 1) == 0) missing.emplace_back("CAP_PERFMON");
  return absl::StrJoin(missing, " and ");
}

// Returns why the kernel forbids bpf(2) to a process that may have the capabilities.
Problem ReasonOfRefusal() {
  const std::string missing = MissingCapabilities();
  if (!missing.empty()) {
    return {ProblemCode::kNoCapability, absl::StrCat("vmeventd has no ", missing)};
  }
  // In the host's user namespace the map has all user ids.
  const std::string users = ReadSmallFile("/proc/self/uid_map").value_or("");
  if (absl::c_linear_search(absl::StrSplit(users, absl::ByAnyChar(" \n"), absl::SkipEmpty()),
                            kAllUsers)) {
    return {ProblemCode::kSeccomp, "a seccomp filter forbids bpf"};
  }
  return {ProblemCode::kUserNamespace, "vmeventd runs in a user namespace"};
}

// Returns why a call of bpf(2) may have failed with `error`.
Problem ReasonOf(int error, const std::string& root) {
  if (error == EPERM || error == EACCES) return ReasonOfRefusal();
  if (error != EINVAL && error != ENOSYS) return {ProblemCode::kCannotTrace, ""};
  const std::string lockdown = ReadSmallFile(root + "/sys/kernel/security/lockdown").value_or("");
  if (absl::StrContains(lockdown, "[confidentiality]")) {
    return {ProblemCode::kKernelLockdown, "the kernel is locked down for confidentiality"};
  }
  return {ProblemCode::kCannotTrace,
          "it needs Linux 5.8 or later, not locked down for confidentiality"};
}

SignalTracing Failed(absl::string_view what, int error, const std::string& root) {
  Problem problem = ReasonOf(error, root);
  problem.text = absl::StrCat(what, ": ", ErrnoText(error),
                              problem.text.empty() ? "" : absl::StrCat(" (", problem.text, ")"));
  return {nullptr, std::move(problem)};
}

// Returns whether this process is in the host's PID namespace: in another one, the kernel's pids
// are not those that are followed here.
bool IsInHostPidNamespace(const std::string& root) {
  char target[64];
  const ssize_t size = readlink((root + "/proc/self/ns/pid").c_str(), target, sizeof(target));
  return size > 0 && absl::string_view(target, static_cast<size_t>(size)) == kHostPidNamespace;
}

// The kernel's types (BTF).

struct Member {
  uint32_t offset = 0;
  uint32_t type = 0;
};

std::optional<Member> FindMember(const btf* types, int structure, absl::string_view name) {
  const btf_type* const type = btf__type_by_id(types, static_cast<uint32_t>(structure));
  if (type == nullptr || !btf_is_composite(type)) return std::nullopt;
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    const btf_member& each = btf_members(type)[i];
    const uint32_t offset = btf_member_bit_offset(type, i) / 8;
    const absl::string_view its_name = btf__name_by_offset(types, each.name_off);
    if (its_name == name) return Member{offset, each.type};
    if (!its_name.empty()) continue;
    // The members of an unnamed one belong to the structure itself.
    const std::optional<Member> inner =
        FindMember(types, btf__resolve_type(types, each.type), name);
    if (inner.has_value()) return Member{offset + inner->offset, inner->type};
  }
  return std::nullopt;
}

std::optional<Member> FindMember(const btf* types, const char* structure, const char* name) {
  return FindMember(types, btf__find_by_name_kind(types, structure, BTF_KIND_STRUCT), name);
}

// Returns whether the first argument of oom:mark_victim is a task.
bool IsVictimATask(const btf* types) {
  const auto resolve = [&](uint32_t type) {
    return btf__type_by_id(types, static_cast<uint32_t>(btf__resolve_type(types, type)));
  };
  const int id = btf__find_by_name_kind(types, "btf_trace_mark_victim", BTF_KIND_TYPEDEF);
  if (id < 0) return false;
  const btf_type* const function = resolve(resolve(static_cast<uint32_t>(id))->type);
  constexpr uint32_t kFirst = 1;  // after the program's own context
  return btf_is_func_proto(function) && btf_vlen(function) > kFirst &&
         btf_is_ptr(resolve(btf_params(function)[kFirst].type));
}

// The offset of the count of anonymous pages in mm_struct. Since Linux 6.2 it is in an array of
// per-CPU counters.
std::optional<uint32_t> FindAnonRss(const btf* types) {
  constexpr uint32_t kAnonPages = 1;  // MM_ANONPAGES
  const std::optional<Member> all = FindMember(types, "mm_struct", "rss_stat");
  if (!all.has_value()) return std::nullopt;
  if (!btf_is_array(btf__type_by_id(types, all->type))) {
    return all->offset + kAnonPages * sizeof(long);
  }
  const std::optional<Member> count = FindMember(types, "percpu_counter", "count");
  const int counter = btf__find_by_name_kind(types, "percpu_counter", BTF_KIND_STRUCT);
  if (!count.has_value()) return std::nullopt;
  const auto size = static_cast<uint32_t>(btf__resolve_size(types, static_cast<uint32_t>(counter)));
  return all->offset + kAnonPages * size + count->offset;
}

absl::StatusOr<KernelOffsets> ReadOffsets(const std::string& root) {
  const std::string file = root + "/sys/kernel/btf/vmlinux";
  const std::unique_ptr<btf, decltype(&btf__free)> types(btf__parse(file.c_str(), nullptr),
                                                         btf__free);
  if (types == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot read the kernel's types (BTF): ", file, ": ",
                                               ErrnoText(errno),
                                               " (it needs a kernel with CONFIG_DEBUG_INFO_BTF)"));
  }
  KernelOffsets out{};
  out.has_memory = out.has_login = 1;
  struct Wanted {
    const char* structure;
    const char* member;
    __u64* offset;
    __u64* optional = nullptr;  // becomes 0 if it is missing
  };
  for (const Wanted& wanted :
       {Wanted{"kernel_siginfo", "si_code", &out.info_code},
        {"task_struct", "tgid", &out.task_tgid},
        {"task_struct", "real_parent", &out.task_parent},
        {"task_struct", "group_leader", &out.task_leader},
        {"task_struct", "comm", &out.task_comm},
        {"task_struct", "flags", &out.task_flags},
        {"task_struct", "real_cred", &out.task_cred},
        {"cred", "uid", &out.cred_uid},
        {"task_struct", "cgroups", &out.task_css_set},
        {"css_set", "dfl_cgrp", &out.css_set_cgroup},
        {"cgroup", "kn", &out.cgroup_node},
        {"kernfs_node", "id", &out.node_id},
        {"task_struct", "mm", &out.task_mm, &out.has_memory},
        {"mm_struct", "total_vm", &out.mm_total_vm, &out.has_memory},
        {"task_struct", "signal", &out.task_signal, &out.has_memory},
        {"signal_struct", "oom_score_adj", &out.signal_oom_score_adj, &out.has_memory},
        // The field exists only with CONFIG_AUDIT.
        {"task_struct", "loginuid", &out.task_login_uid, &out.has_login},
        {"task_struct", "sessionid", &out.task_login_session, &out.has_login}}) {
    const std::optional<Member> member = FindMember(types.get(), wanted.structure, wanted.member);
    if (member.has_value()) {
      *wanted.offset = member->offset;
    } else if (wanted.optional != nullptr) {
      *wanted.optional = 0;
    } else {
      return absl::UnavailableError(
          absl::StrCat(file, ": no member ", wanted.member, " in struct ", wanted.structure));
    }
  }
  out.victim_is_task = IsVictimATask(types.get()) ? 1 : 0;
  const std::optional<uint32_t> anon_rss = FindAnonRss(types.get());
  if (!anon_rss.has_value()) out.has_memory = 0;
  out.mm_anon_rss = anon_rss.value_or(0);
  return out;
}

struct FreeRing {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};
struct Unmap {
  void operator()(TraceCounts* counts) const { munmap(counts, sizeof(*counts)); }
};

class BpfTrace : public SignalTrace {
 public:
  // `descriptors`: the ring, the counts, and a link for each program.
  static absl::StatusOr<std::unique_ptr<SignalTrace>> Map(std::vector<UniqueFd> descriptors) {
    void* const memory =
        mmap(nullptr, sizeof(TraceCounts), PROT_READ, MAP_SHARED, descriptors[1].get(), 0);
    if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of the counts");
    std::unique_ptr<BpfTrace> trace(new BpfTrace);
    trace->counts_.reset(static_cast<TraceCounts*>(memory));
    trace->descriptors_ = std::move(descriptors);
    trace->ring_.reset(ring_buffer__new(trace->fd(), OnRecord, trace.get(), nullptr));
    if (trace->ring_ == nullptr) return absl::ErrnoToStatus(errno, "mmap of the ring");
    return trace;
  }

  std::vector<int> descriptors() const override {
    std::vector<int> out;
    for (const UniqueFd& descriptor : descriptors_) out.push_back(descriptor.get());
    return out;
  }
  int fd() const override { return descriptors_[0].get(); }
  uint64_t lost() const override {
    return std::atomic_ref(counts_->lost).load(std::memory_order_acquire);
  }
  void Read(std::vector<SignalRecord>* out) override {
    out_ = out;
    left_ = kRingBytes / sizeof(TraceRecord);  // all that were there before
    ring_buffer__consume(ring_.get());
  }

 private:
  BpfTrace() = default;
  // Takes one record. Returns an error after the maximum number of records, because the ring may
  // fill as fast as it is read.
  static int OnRecord(void* trace, void* data, size_t size) {
    auto* const self = static_cast<BpfTrace*>(trace);
    TraceRecord record;
    if (size >= sizeof(record)) {
      std::memcpy(&record, data, sizeof(record));
      self->out_->push_back(Decode(record));
    }
    return --self->left_ == 0 ? -ENOBUFS : 0;
  }

  std::vector<UniqueFd> descriptors_;
  std::unique_ptr<TraceCounts, Unmap> counts_;
  std::unique_ptr<ring_buffer, FreeRing> ring_;
  std::vector<SignalRecord>* out_ = nullptr;  // Read() appends to it
  size_t left_ = 0;                           // records that it still may read
};

}  // namespace

SignalRecord Decode(const TraceRecord& record) {
  SignalRecord out;
  out.time = absl::Nanoseconds(static_cast<int64_t>(record.time_ns));
  out.target = record.target.pid;
  if (record.kind != TRACE_SIGNAL) {
    out.kind = SignalRecord::Kind::kOomVictim;
    if (record.kind == TRACE_VICTIM_WITH_MEMORY) {
      const int64_t page_kib = sysconf(_SC_PAGESIZE) / 1024;
      out.victim = {.total_vm = record.total_vm_pages * page_kib,
                    .anon_rss = record.anon_rss_pages * page_kib,
                    .oom_score_adj = record.oom_score_adj};
    }
    return out;
  }
  out.signal = record.signal;
  out.target_mark = ProcessMark{record.target.uid, record.target.cgroup};
  // The kernel's own codes are above 0, and process 0 is none. What kill(2), tgkill(2) and
  // sigqueue(3) send has these three, in the context of the sender. The others are of timers and of
  // other things that a process has asked the kernel for, in an interrupt of whatever runs; but
  // rt_sigqueueinfo(2) lets every process claim them.
  out.by_kernel = record.code > 0 || record.sender.pid == 0;
  const auto* const comm = reinterpret_cast<const char*>(record.sender_comm);
  std::string name(comm, strnlen(comm, sizeof(record.sender_comm)));
  constexpr uint32_t kExiting = 4;  // PF_EXITING
  const bool exits = (record.sender_flags & kExiting) != 0;
  const std::string process = absl::StrCat(OneLine(name), " (pid ", record.sender.pid, ")");
  if (out.by_kernel) {
    out.context = record.sender.pid;
    // Such as the signal of a tracer (PTRACE_O_EXITKILL).
    if (exits && record.signal == SIGKILL && record.sender.pid != record.target.pid) {
      out.ended_with = absl::StrCat(process, " ended, which traced it or led its container");
    }
    return out;
  }
  // An exiting thread calls no kill(2): the kernel sends its children's death signals then, with
  // the code of kill(2).
  if (record.code == SI_USER && exits) {
    out.by_kernel = true;
    out.ended_with =
        absl::StrCat("its parent ", process, " or a thread of it ended (its death signal)");
    return out;
  }
  out.unclear = record.code != SI_USER && record.code != SI_QUEUE && record.code != SI_TKILL;
  out.sender = record.sender.pid;
  out.sender_parent = record.sender_parent;
  out.sender_mark = ProcessMark{record.sender.uid, record.sender.cgroup};
  out.sender_comm = std::move(name);
  if (record.login_uid != TRACE_NO_LOGIN) out.login_uid = record.login_uid;
  if (record.login_session != TRACE_NO_LOGIN) out.login_session = record.login_session;
  return out;
}

SignalTracing BeginTrace(const std::string& root) {
  if (!IsInHostPidNamespace(root)) {
    return {nullptr,
            {ProblemCode::kPidNamespace, "vmeventd does not run in the host's PID namespace"}};
  }
  libbpf_set_print(nullptr);
  const absl::StatusOr<KernelOffsets> offsets = ReadOffsets(root);
  if (!offsets.ok()) {
    return {nullptr, {ProblemCode::kNoKernelTypes, std::string(offsets.status().message())}};
  }
  const std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object(
      bpf_object__open_mem(
          _binary_bpf_trace_bpf_o_start,
          static_cast<size_t>(_binary_bpf_trace_bpf_o_end - _binary_bpf_trace_bpf_o_start),
          nullptr),
      bpf_object__close);
  if (object == nullptr) return Failed("cannot read the programs of the kernel", errno, root);
  const auto map = [&](const char* name) {
    return bpf_object__find_map_by_name(object.get(), name);
  };
  if (const int error = bpf_map__set_initial_value(map(kOffsets), &*offsets, sizeof(KernelOffsets));
      error != 0) {
    return Failed("cannot set the offsets of the programs", -error, root);
  }
  if (const int error = bpf_object__load(object.get()); error != 0) {
    return Failed("bpf, to load the programs", -error, root);
  }
  std::vector<UniqueFd> descriptors;
  for (const char* name : {kRing, kCounts}) {
    descriptors.emplace_back(fcntl(bpf_map__fd(map(name)), F_DUPFD_CLOEXEC, 0));
    if (!descriptors.back().valid()) return Failed("cannot copy a descriptor", errno, root);
  }
  for (const auto& [name, tracepoint] : kPrograms) {
    const int program = bpf_program__fd(bpf_object__find_program_by_name(object.get(), name));
    descriptors.emplace_back(bpf_raw_tracepoint_open(tracepoint, program));
    if (!descriptors.back().valid()) {
      return Failed(absl::StrCat("bpf, to attach a program to ", tracepoint), errno, root);
    }
  }
  absl::StatusOr<std::unique_ptr<SignalTrace>> trace = BpfTrace::Map(std::move(descriptors));
  if (!trace.ok()) {
    return {nullptr, {ProblemCode::kCannotTrace, std::string(trace.status().message())}};
  }
  return {*std::move(trace)};
}

absl::StatusOr<std::unique_ptr<SignalTrace>> ResumeTrace(std::vector<UniqueFd> descriptors) {
  bpf_map_info info{};
  uint32_t size = sizeof(info);
  if (descriptors.size() != kMaps + std::size(kPrograms) ||
      bpf_obj_get_info_by_fd(descriptors[0].get(), &info, &size) != 0 ||
      info.type != BPF_MAP_TYPE_RINGBUF || absl::string_view(info.name) != kRing) {
    return absl::InvalidArgumentError("the trace is of another version of vmeventd");
  }
  return BpfTrace::Map(std::move(descriptors));
}

}  // namespace vmeventd
