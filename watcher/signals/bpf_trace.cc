#include "watcher/signals/bpf_trace.h"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "watcher/signals/trace_records.h"

namespace vmeventd {
namespace {

// Room for 5,400 records between two turns of the loop, or while no daemon runs.
constexpr uint32_t kRingBytes = uint32_t{512} << 10;
constexpr size_t kMaxFormatBytes = size_t{64} << 10;
// The PID namespace that the kernel begins with (PROC_PID_INIT_INO).
constexpr absl::string_view kHostPidNamespace = "pid:[4026531836]";
// Names of the maps for the tools of the kernel, with the layout's version: another version of
// TraceRecord has another one.
constexpr char kRingName[] = "vmeventd_ring1";
constexpr char kCountsName[] = "vmeventd_lost1";
constexpr char kProgramName[] = "vmeventd";

// Memory of the second map.
struct Counts {
  uint64_t lost = 0;  // records for which the ring had no room, as the programs count them
  uint64_t told = 0;  // those of them that a daemon has reported
};

// ---- Programs, as instructions of the kernel's machine.

constexpr bpf_insn Instruction(int code, int to, int from, int offset, int32_t number) {
  bpf_insn out{};
  out.code = static_cast<uint8_t>(code);
  out.dst_reg = static_cast<uint8_t>(to & 0xf);
  out.src_reg = static_cast<uint8_t>(from & 0xf);
  out.off = static_cast<int16_t>(offset);
  out.imm = number;
  return out;
}
constexpr bpf_insn Move(int to, int from) {
  return Instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}
constexpr bpf_insn Set(int to, int32_t number) {
  return Instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, number);
}
constexpr bpf_insn Add(int to, int32_t number) {
  return Instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, number);
}
constexpr bpf_insn Shift(int direction, int to, int bits) {
  return Instruction(BPF_ALU64 | direction | BPF_K, to, 0, 0, bits);
}
constexpr bpf_insn Load(int size, int to, int from, int offset) {
  return Instruction(BPF_LDX | BPF_MEM | size, to, from, offset, 0);
}
constexpr bpf_insn Store(int to, int offset, int from) {
  return Instruction(BPF_STX | BPF_MEM | BPF_DW, to, from, offset, 0);
}
constexpr bpf_insn AddInMemory(int to, int from) {
  return Instruction(BPF_STX | BPF_XADD | BPF_DW, to, from, 0, 0);
}
constexpr bpf_insn Jump(int comparison, int left, int32_t right, size_t instructions) {
  return Instruction(BPF_JMP | comparison | BPF_K, left, 0, static_cast<int>(instructions), right);
}
constexpr bpf_insn Call(int function) { return Instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
constexpr bpf_insn Exit() { return Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

// Registers: the results of calls and their arguments; kContext is kept over calls; the top of the
// stack.
enum : int { kResult = 0, kFirst = 1, kSecond = 2, kThird = 3, kFourth = 4 };
constexpr int kContext = 6;
constexpr int kStack = 10;
constexpr int kRecord = -static_cast<int>(sizeof(TraceRecord));  // its place on the stack

class Program {
 public:
  void Put(bpf_insn instruction) { code_.push_back(instruction); }
  // Puts the address of a map, or of its memory, into `to`.
  void PutMap(int to, int map, int kind) {
    Put(Instruction(BPF_LD | BPF_DW | BPF_IMM, to, kind, 0, map));
    Put({});
  }
  void PutField(int to, const TraceField& field) {
    const int size = field.size == 8 ? BPF_DW : field.size == 4 ? BPF_W : BPF_H;
    Put(Load(size, to, kContext, field.offset));
    const int missing_bits = 64 - 8 * field.size;
    if (!field.is_signed || missing_bits == 0) return;
    Put(Shift(BPF_LSH, to, missing_bits));
    Put(Shift(BPF_ARSH, to, missing_bits));
  }
  void PutStore(size_t offset, int from) {
    Put(Store(kStack, kRecord + static_cast<int>(offset), from));
  }
  // Goes on only with one of `numbers` in `value`.
  void PutOnlyIf(int value, absl::Span<const int> numbers) {
    constexpr size_t kLeaving = 2;
    for (size_t i = 0; i < numbers.size(); ++i) {
      Put(Jump(BPF_JEQ, value, numbers[i], numbers.size() - i - 1 + kLeaving));
    }
    PutLeave();
  }
  // Leaves with 1: the kernel would hide the event from all others that have asked for it
  // otherwise.
  void PutLeave() {
    Put(Set(kResult, 1));
    Put(Exit());
  }
  const std::vector<bpf_insn>& code() const { return code_; }

 private:
  std::vector<bpf_insn> code_;
};

// Signals that end a process.
constexpr std::array<int, 6> kSignals = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGTERM};

// The program at the tracepoint of `format`.
Program MakeProgram(TraceRecord::Kind kind, const TraceFormat& format, int ring, int counter) {
  Program out;
  out.Put(Move(kContext, kFirst));
  if (kind == TraceRecord::kSignal) {
    // Skip those that were ignored or wait already: TRACE_SIGNAL_DELIVERED is 0.
    out.PutField(kFirst, *format.values[3]);
    out.PutOnlyIf(kFirst, {0});
  }
  if (kind != TraceRecord::kVictim) {
    out.PutField(kFirst, *format.values[0]);
    out.PutOnlyIf(kFirst, kSignals);
  }
  out.Put(Set(kFirst, kind));
  out.PutStore(offsetof(TraceRecord, kind), kFirst);
  out.Put(Call(BPF_FUNC_ktime_get_boot_ns));
  out.PutStore(offsetof(TraceRecord, time_ns), kResult);
  out.Put(Call(BPF_FUNC_get_current_pid_tgid));
  out.PutStore(offsetof(TraceRecord, process_and_thread), kResult);
  out.Put(Call(BPF_FUNC_get_current_uid_gid));
  out.PutStore(offsetof(TraceRecord, gid_and_uid), kResult);
  out.Put(Call(BPF_FUNC_get_current_cgroup_id));
  out.PutStore(offsetof(TraceRecord, cgroup), kResult);
  out.Put(Move(kFirst, kStack));
  out.Put(Add(kFirst, kRecord + static_cast<int>(offsetof(TraceRecord, comm))));
  out.Put(Set(kSecond, sizeof(TraceRecord::comm)));
  out.Put(Call(BPF_FUNC_get_current_comm));
  for (size_t i = 0; i < format.values.size(); ++i) {
    if (const std::optional<TraceField>& field = format.values[i]; field.has_value()) {
      out.PutField(kFirst, *field);
    } else {
      out.Put(Set(kFirst, TraceRecord::kNoValue));
    }
    out.PutStore(offsetof(TraceRecord, values) + i * sizeof(int64_t), kFirst);
  }
  out.PutMap(kFirst, ring, BPF_PSEUDO_MAP_FD);
  out.Put(Move(kSecond, kStack));
  out.Put(Add(kSecond, kRecord));
  out.Put(Set(kThird, sizeof(TraceRecord)));
  out.Put(Set(kFourth, 0));
  out.Put(Call(BPF_FUNC_ringbuf_output));
  constexpr size_t kCounting = 4;
  out.Put(Jump(BPF_JEQ, kResult, 0, kCounting));
  out.PutMap(kFirst, counter, BPF_PSEUDO_MAP_VALUE);
  out.Put(Set(kSecond, 1));
  out.Put(AddInMemory(kFirst, kSecond));
  out.PutLeave();
  return out;
}

// ---- Calls of the kernel.

int Bpf(bpf_cmd command, bpf_attr* attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, sizeof(*attributes)));
}

absl::Status Failed(absl::string_view what, int error) {
  const bool right = error == EPERM || error == EACCES;
  const bool old = error == EINVAL || error == ENOSYS;
  return absl::UnavailableError(absl::StrCat(
      what, ": ", ErrnoText(error),
      right ? " (it needs CAP_BPF and CAP_PERFMON, and a seccomp filter that permits bpf and "
              "perf_event_open)"
            : "",
      old ? " (it needs Linux 5.8 or later)" : ""));
}

void SetName(absl::string_view name, char (&field)[BPF_OBJ_NAME_LEN]) {
  std::memcpy(field, name.data(), std::min(name.size(), sizeof(field) - 1));
}

// Attributes of the maps, as they are made and have to be.
bpf_attr RingAttributes() {
  bpf_attr out{};
  out.map_type = BPF_MAP_TYPE_RINGBUF;
  out.max_entries = kRingBytes;
  SetName(kRingName, out.map_name);
  return out;
}
bpf_attr CountsAttributes() {
  bpf_attr out{};
  out.map_type = BPF_MAP_TYPE_ARRAY;
  out.key_size = sizeof(uint32_t);
  out.value_size = sizeof(Counts);
  out.max_entries = 1;
  out.map_flags = BPF_F_MMAPABLE;
  SetName(kCountsName, out.map_name);
  return out;
}

bool IsMapOf(const bpf_attr& attributes, int map) {
  bpf_map_info info{};
  bpf_attr query{};
  query.info.bpf_fd = static_cast<uint32_t>(map);
  query.info.info_len = sizeof(info);
  query.info.info = reinterpret_cast<uint64_t>(&info);
  return Bpf(BPF_OBJ_GET_INFO_BY_FD, &query) == 0 && info.type == attributes.map_type &&
         info.key_size == attributes.key_size && info.value_size == attributes.value_size &&
         info.max_entries == attributes.max_entries &&
         absl::string_view(info.name) == absl::string_view(attributes.map_name);
}

bool IsPerfEvent(int event) {
  uint64_t id = 0;
  return ioctl(event, PERF_EVENT_IOC_ID, &id) == 0;
}

// Attaches a program to a tracepoint for as long as the descriptor is held. It runs on all
// processors, those that come later included: the one that the event is of is of no account.
absl::StatusOr<UniqueFd> Attach(const Program& program, uint64_t tracepoint) {
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_TRACEPOINT;
  load.insns = reinterpret_cast<uint64_t>(program.code().data());
  load.insn_cnt = static_cast<uint32_t>(program.code().size());
  load.license = reinterpret_cast<uint64_t>("Apache-2.0");
  SetName(kProgramName, load.prog_name);
  const UniqueFd loaded(Bpf(BPF_PROG_LOAD, &load));
  if (!loaded.valid()) return Failed("bpf, to load a program", errno);
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.config = tracepoint;
  attributes.sample_period = 1;
  attributes.disabled = 1;  // and stays so: it is to hold the program, and counts nothing
  constexpr int kEveryProcess = -1;
  constexpr int kNoGroup = -1;
  UniqueFd event(static_cast<int>(syscall(SYS_perf_event_open, &attributes, kEveryProcess,
                                          sched_getcpu(), kNoGroup, PERF_FLAG_FD_CLOEXEC)));
  if (!event.valid()) return Failed("perf_event_open", errno);
  if (ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, loaded.get()) != 0) {
    return Failed("cannot attach a program to a tracepoint", errno);
  }
  return event;
}

// The tracepoints that this kernel has, in the order in which programs are attached to them.
using TraceFormats = std::vector<std::pair<TraceRecord::Kind, TraceFormat>>;

// Reads the formats from the mounted tracefs.
absl::StatusOr<TraceFormats> ReadFormats(const std::string& root) {
  absl::Status status;
  for (const char* mount : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::string events = absl::StrCat(root, mount, "/events");
    const absl::StatusOr<std::string> signal =
        ReadSmallFile(events + "/signal/signal_generate/format", kMaxFormatBytes);
    if (!signal.ok()) {
      if (status.ok()) status = signal.status();
      continue;
    }
    absl::StatusOr<TraceFormat> parsed = ParseSignalFormat(*signal);
    if (!parsed.ok()) return parsed.status();
    TraceFormats formats;
    const auto read_further = [&](absl::string_view event, TraceRecord::Kind kind,
                                  const auto& parse) {
      const absl::StatusOr<std::string> text =
          ReadSmallFile(absl::StrCat(events, event, "/format"), kMaxFormatBytes);
      if (!text.ok()) return;
      absl::StatusOr<TraceFormat> format = parse(*text);
      if (format.ok()) formats.emplace_back(kind, *std::move(format));
    };
    // The process of a thread that a signal was sent to is read from /proc without it.
    read_further("/signal/signal_deliver", TraceRecord::kDelivery, ParseDeliveryFormat);
    // The kernel's OOM kills are known by their cgroup's count without it.
    read_further("/oom/mark_victim", TraceRecord::kVictim, ParseVictimFormat);
    formats.emplace_back(TraceRecord::kSignal, *std::move(parsed));
    return formats;
  }
  return absl::UnavailableError(
      absl::StrCat("no tracefs: ", status.message(),
                   " (mount -t tracefs tracefs /sys/kernel/tracing, and the right to read it)"));
}

// Requires the host's PID namespace: in another one the kernel reports other pids than those
// followed.
absl::Status CheckPidNamespace(const std::string& root) {
  char target[64];
  const ssize_t size = readlink((root + "/proc/self/ns/pid").c_str(), target, sizeof(target));
  if (size > 0 && absl::string_view(target, static_cast<size_t>(size)) == kHostPidNamespace) {
    return absl::OkStatus();
  }
  return absl::UnavailableError("vmeventd does not run in the host's PID namespace");
}

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

uint64_t LoadFrom(uint64_t* number) {
  return std::atomic_ref(*number).load(std::memory_order_acquire);
}

}  // namespace

struct BpfTrace::Maps {
  // Memory of a map in this process.
  class Mapping {
   public:
    Mapping(int map, size_t offset, size_t size, int rights)
        : size_(size),
          begin_(mmap(nullptr, size, rights, MAP_SHARED, map, static_cast<off_t>(offset))) {}
    ~Mapping() {
      if (valid()) munmap(begin_, size_);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    bool valid() const { return begin_ != MAP_FAILED; }
    void* begin() const { return begin_; }
    uint64_t* number() const { return static_cast<uint64_t*>(begin_); }

   private:
    const size_t size_;
    void* const begin_;
  };

  Maps(int ring, int counters)
      : consumed(ring, 0, PageBytes(), PROT_READ | PROT_WRITE),
        produced(ring, PageBytes(), PageBytes() + 2 * size_t{kRingBytes}, PROT_READ),
        counts(counters, 0, PageBytes(), PROT_READ | PROT_WRITE) {}
  bool valid() const { return consumed.valid() && produced.valid() && counts.valid(); }
  absl::string_view records() const {
    return {static_cast<const char*>(produced.begin()) + PageBytes(), 2 * size_t{kRingBytes}};
  }
  Counts* all() const { return static_cast<Counts*>(counts.begin()); }

  const Mapping consumed;  // end of what was read, up to where the kernel may write again
  const Mapping produced;  // end of what was written; from the next page on, the records
  const Mapping counts;
};

BpfTrace::BpfTrace(UniqueFd ring, UniqueFd counters, std::vector<UniqueFd> events,
                   std::unique_ptr<Maps> maps)
    : ring_(std::move(ring)),
      counters_(std::move(counters)),
      events_(std::move(events)),
      maps_(std::move(maps)),
      told_before_(LoadFrom(&maps_->all()->told)),
      reader_(maps_->records(), LoadFrom(maps_->consumed.number())) {}

BpfTrace::~BpfTrace() = default;

absl::StatusOr<std::unique_ptr<BpfTrace>> BpfTrace::Map(UniqueFd ring, UniqueFd counters,
                                                        std::vector<UniqueFd> events) {
  auto maps = std::make_unique<Maps>(ring.get(), counters.get());
  if (!maps->valid()) return Failed("mmap of the ring", errno);
  return std::unique_ptr<BpfTrace>(
      new BpfTrace(std::move(ring), std::move(counters), std::move(events), std::move(maps)));
}

absl::StatusOr<std::unique_ptr<BpfTrace>> BpfTrace::Begin(const std::string& root) {
  if (absl::Status status = CheckPidNamespace(root); !status.ok()) return status;
  const absl::StatusOr<TraceFormats> formats = ReadFormats(root);
  if (!formats.ok()) return formats.status();
  bpf_attr ring_attributes = RingAttributes();
  UniqueFd ring(Bpf(BPF_MAP_CREATE, &ring_attributes));
  if (!ring.valid()) return Failed("bpf, to make a ring", errno);
  bpf_attr counts_attributes = CountsAttributes();
  UniqueFd counters(Bpf(BPF_MAP_CREATE, &counts_attributes));
  if (!counters.valid()) return Failed("bpf, to make a counter", errno);
  std::vector<UniqueFd> events;
  for (const auto& [kind, format] : *formats) {
    absl::StatusOr<UniqueFd> event =
        Attach(MakeProgram(kind, format, ring.get(), counters.get()), format.id);
    if (!event.ok()) return event.status();
    events.push_back(*std::move(event));
  }
  return Map(std::move(ring), std::move(counters), std::move(events));
}

absl::StatusOr<std::unique_ptr<BpfTrace>> BpfTrace::GoOn(std::vector<UniqueFd> descriptors) {
  constexpr size_t kMaps = 2;
  const bool its_own = descriptors.size() > kMaps &&
                       IsMapOf(RingAttributes(), descriptors[0].get()) &&
                       IsMapOf(CountsAttributes(), descriptors[1].get()) &&
                       std::all_of(descriptors.begin() + kMaps, descriptors.end(),
                                   [](const UniqueFd& event) { return IsPerfEvent(event.get()); });
  if (!its_own) return absl::InvalidArgumentError("no trace of this version of vmeventd");
  UniqueFd ring = std::move(descriptors[0]);
  UniqueFd counters = std::move(descriptors[1]);
  descriptors.erase(descriptors.begin(), descriptors.begin() + kMaps);
  return Map(std::move(ring), std::move(counters), std::move(descriptors));
}

std::vector<int> BpfTrace::descriptors() const {
  std::vector<int> out = {ring_.get(), counters_.get()};
  for (const UniqueFd& event : events_) out.push_back(event.get());
  return out;
}

uint64_t BpfTrace::lost() const { return LoadFrom(&maps_->all()->lost) - told_before_; }

void BpfTrace::Read(std::vector<SignalRecord>* out) {
  const size_t before = out->size();
  SignalledThreads reached;
  const uint64_t read =
      reader_.Read(LoadFrom(maps_->produced.number()),
                   [&](absl::string_view record) { DecodeRecord(record, out, &reached); });
  std::atomic_ref(*maps_->consumed.number()).store(read, std::memory_order_release);
  std::atomic_ref(maps_->all()->told).store(told_before_ + lost(), std::memory_order_relaxed);
  ResolveThreads(reached, before, out, &waiting_);
}

}  // namespace vmeventd
