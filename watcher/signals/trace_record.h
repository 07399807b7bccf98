#pragma once

#include <linux/types.h>

// The layouts that the kernel's programs (bpf_trace.bpf.c) and their loader share: C and C++.

enum TraceKind { TRACE_SIGNAL = 1, TRACE_VICTIM = 2 };

// A process as the kernel knew it then. Host's pid, real user, id in cgroup v2.
struct TracedProcess {
  __u64 cgroup;
  __u32 pid;
  __u32 uid;
};

// A record in the ring. A change takes another name of the ring: a restarted vmeventd reads the
// records of the one before it.
struct TraceRecord {
  __u64 time_ns;                // CLOCK_BOOTTIME
  struct TracedProcess sender;  // the process that ran
  struct TracedProcess target;
  __u32 kind;
  __s32 signal;
  __s32 code;            // si_code
  __u8 sender_comm[16];  // the thread's that ran
  // TRACE_VICTIM, if has_memory.
  __u32 has_memory;
  __s32 oom_score_adj;
  __s64 total_vm_pages;
  __s64 anon_rss_pages;
};

// The memory of the second map.
struct TraceCounts {
  __u64 lost;      // records for which the ring had no room, as the programs count them
  __u64 reported;  // those of them that a vmeventd has reported
};

// The places of members in this kernel's structures, by its BTF.
struct KernelOffsets {
  __u32 info_code;
  __u32 task_tgid;
  __u32 task_cred;
  __u32 cred_uid;
  __u32 task_css_set;
  __u32 css_set_cgroup;
  __u32 cgroup_node;
  __u32 node_id;
  __u32 victim_is_task;  // oom:mark_victim passes the task, and no pid
  __u32 has_memory;      // with it, the next ones are there
  __u32 task_mm;
  __u32 mm_total_vm;
  __u32 mm_anon_rss;
  __u32 task_signal;
  __u32 signal_oom_score_adj;
};
