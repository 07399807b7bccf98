// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
#pragma once

#include <linux/types.h>

// The layouts that the kernel's programs (bpf_trace.bpf.c) and their loader share: C and C++.

enum TraceKind { TRACE_SIGNAL = 1, TRACE_VICTIM = 2, TRACE_VICTIM_WITH_MEMORY = 3 };

// A process as the kernel knew it then. Host's pid, real user, id in cgroup v2.
struct TracedProcess {
  __u64 cgroup;
  __u32 pid;
  __u32 uid;
};

// A record in the ring, without gaps: the kernel refuses a program that copies memory it has not
// set. After a change of the layout, give the ring another name: a restarted vmeventd reads the
// records of the previous one.
struct TraceRecord {
  __u64 time_ns;                // CLOCK_BOOTTIME
  struct TracedProcess sender;  // the process that ran
  struct TracedProcess target;
  __u32 kind;
  __s32 signal;
  __s32 code;            // si_code
  __u8 sender_comm[16];  // the process's name: its first thread's
  __u32 sender_parent;   // the parent's pid
  __u32 sender_flags;    // the thread's, as field 9 of proc(5) has them
  // TRACE_VICTIM_WITH_MEMORY.
  __s32 oom_score_adj;
  __s64 total_vm_pages;
  __s64 anon_rss_pages;
  // The sender's login: all bits are set where there was none. Only with KernelOffsets::has_login.
  __u32 login_uid;
  __u32 login_session;
};

// The number that means "no login" (AUDIT_UID_UNSET, AUDIT_SID_UNSET).
#define TRACE_NO_LOGIN 0xffffffffU

// The memory of the second map.
struct TraceCounts {
  __u64 lost;  // records for which the ring had no room, since the trace began
};

// The offsets of members in this kernel's structures, from its BTF. All have 64 bits, because
// gcc-bpf does not widen smaller numbers correctly.
struct KernelOffsets {
  __u64 info_code;
  __u64 task_tgid;
  __u64 task_parent;
  __u64 task_leader;
  __u64 task_comm;
  __u64 task_flags;
  __u64 task_cred;
  __u64 cred_uid;
  __u64 task_css_set;
  __u64 css_set_cgroup;
  __u64 cgroup_node;
  __u64 node_id;
  __u64 victim_is_task;  // oom:mark_victim passes the task, and no pid
  __u64 has_memory;      // the next members are set
  __u64 task_mm;
  __u64 mm_total_vm;
  __u64 mm_anon_rss;
  __u64 task_signal;
  __u64 signal_oom_score_adj;
  __u64 has_login;  // the next two members are set
  __u64 task_login_uid;
  __u64 task_login_session;
};
