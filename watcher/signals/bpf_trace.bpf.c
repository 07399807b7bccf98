// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The programs that the kernel runs at its tracepoints signal_generate and mark_victim. They are
// compiled for its machine (BPF); bpf_trace.cc loads them.

#include <linux/bpf.h>
#include <linux/signal.h>

#include "watcher/signals/trace_record.h"

#define SECTION(name) __attribute__((section(name), used))
#define HELPER(name) __attribute__((kernel_helper(BPF_FUNC_##name)))
#define INLINE static inline __attribute__((always_inline))

__u64 KtimeGetBootNs(void) HELPER(ktime_get_boot_ns);
__u64 GetCurrentPidTgid(void) HELPER(get_current_pid_tgid);
__u64 GetCurrentTask(void) HELPER(get_current_task);
__u64 GetCurrentUidGid(void) HELPER(get_current_uid_gid);
__u64 GetCurrentCgroupId(void) HELPER(get_current_cgroup_id);
long ProbeReadKernel(void* to, __u32 size, const void* from) HELPER(probe_read_kernel);
long RingbufOutput(void* ring, void* record, __u64 size, __u64 flags) HELPER(ringbuf_output);

// The kernel requires this license for the helpers that read its memory.
const unsigned char license_name[] SECTION("license") = "GPL";

// Set by the loader.
volatile struct KernelOffsets offsets SECTION(".data.offsets");

// Room for 5,000 records between two turns of the loop, or while no daemon runs.
struct {
  int (*type)[BPF_MAP_TYPE_RINGBUF];
  int (*max_entries)[512 << 10];
} vmeventd_ring5 SECTION(".maps");

struct TraceCounts counts;

INLINE __u64 Word(__u64 base, __u64 offset) {
  __u64 value = 0;
  ProbeReadKernel(&value, sizeof(value), (const void*)(base + offset));
  return value;
}
INLINE __u32 Half(__u64 base, __u64 offset) {
  __u32 value = 0;
  ProbeReadKernel(&value, sizeof(value), (const void*)(base + offset));
  return value;
}
INLINE __s16 Quarter(__u64 base, __u64 offset) {
  __s16 value = 0;
  ProbeReadKernel(&value, sizeof(value), (const void*)(base + offset));
  return value;
}

INLINE void Describe(__u64 task, struct TracedProcess* process) {
  process->pid = Half(task, offsets.task_tgid);
  process->uid = Half(Word(task, offsets.task_cred), offsets.cred_uid);
  const __u64 cgroup = Word(Word(task, offsets.task_css_set), offsets.css_set_cgroup);
  process->cgroup = Word(Word(cgroup, offsets.cgroup_node), offsets.node_id);
}

INLINE void Put(struct TraceRecord* record) {
  record->time_ns = KtimeGetBootNs();
  if (RingbufOutput(&vmeventd_ring5, record, sizeof(*record), 0) != 0) {
    __sync_fetch_and_add(&counts.lost, 1);
  }
}

// Called with (signal, siginfo, task, group, result).
SECTION("raw_tp/signal_generate")
int vmeventd_signal(struct bpf_raw_tracepoint_args* context) {
  const __u64 kEnding =
      1 << SIGHUP | 1 << SIGINT | 1 << SIGQUIT | 1 << SIGABRT | 1 << SIGKILL | 1 << SIGTERM;
  const __u64 kDelivered = 0;  // and neither ignored nor waiting already
  const __u64 kNoInfo = 0;     // SEND_SIG_NOINFO
  const __u64 kPrivate = 1;    // SEND_SIG_PRIV
  const __u64 signal = context->args[0];
  const __u64 info = context->args[1];
  if (context->args[4] != kDelivered || signal > 63 || (kEnding >> signal & 1) == 0) {
    return 0;
  }
  struct TraceRecord record = {};
  record.kind = TRACE_SIGNAL;
  record.signal = (__s32)signal;
  record.code = info == kNoInfo    ? SI_USER
                : info == kPrivate ? SI_KERNEL
                                   : (__s32)Half(info, offsets.info_code);
  const __u64 sender = GetCurrentTask();
  record.sender.pid = GetCurrentPidTgid() >> 32;
  record.sender.uid = (__u32)GetCurrentUidGid();
  record.sender.cgroup = GetCurrentCgroupId();
  ProbeReadKernel(record.sender_comm, sizeof(record.sender_comm),
                  (const void*)(Word(sender, offsets.task_leader) + offsets.task_comm));
  record.sender_flags = Half(sender, offsets.task_flags);
  record.login_uid = record.login_session = TRACE_NO_LOGIN;
  if (offsets.has_login) {
    record.login_uid = Half(sender, offsets.task_login_uid);
    record.login_session = Half(sender, offsets.task_login_session);
  }
  record.sender_parent = Half(Word(sender, offsets.task_parent), offsets.task_tgid);
  Describe(context->args[2], &record.target);
  Put(&record);
  return 0;
}

// Called with (pid), or in later kernels with (task, uid).
SECTION("raw_tp/mark_victim")
int vmeventd_victim(struct bpf_raw_tracepoint_args* context) {
  struct TraceRecord record = {};
  record.kind = TRACE_VICTIM;
  const __u64 task = context->args[0];
  if (offsets.victim_is_task) {
    record.target.pid = Half(task, offsets.task_tgid);
    if (offsets.has_memory) record.kind = TRACE_VICTIM_WITH_MEMORY;
    const __u64 memory = Word(task, offsets.task_mm);
    record.total_vm_pages = (__s64)Word(memory, offsets.mm_total_vm);
    record.anon_rss_pages = (__s64)Word(memory, offsets.mm_anon_rss);
    record.oom_score_adj = Quarter(Word(task, offsets.task_signal), offsets.signal_oom_score_adj);
  } else {
    record.target.pid = (__u32)task;
  }
  Put(&record);
  return 0;
}
