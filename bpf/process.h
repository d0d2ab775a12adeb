/* SPDX-License-Identifier: Dual MIT/GPL */
/*
 * The process that owns a socket. When a process is seen for the first time, its environment and the names of
 * its cgroups are copied to user space: it may have ended before user space could read /proc. After that,
 * only a map lookup is needed for it.
 */
#ifndef SOCKTALLY_PROCESS_H
#define SOCKTALLY_PROCESS_H

#define CGROUP_LEVELS 4
#define CGROUP_NAME_SIZE 96 /* with the final NUL; the names of container engines need 83 */
#define PROCESS_RING (1 << 20)
#define PROCESS_WAKEUP (PROCESS_RING / 4)

/* Most environments are short. In Kubernetes they may be long, because they name every service. */
#define ENVIRONMENT_SHORT (2 << 10)
#define ENVIRONMENT_LONG (16 << 10)
#define ENVIRONMENT_LONGEST (64 << 10)

/* One process. The copied part of its environment follows. */
struct process {
	__u64 start_id;
	__u64 cgroup; /* id of the cgroup v2; 0 if the names below are of cgroup v1 */
	__u32 pid;
	__u32 size;  /* of the copy */
	__u32 total; /* of the environment */
	__u32 pad;
	__u8 cgroups[CGROUP_LEVELS][CGROUP_NAME_SIZE]; /* names: the cgroup, then its parent, and so on */
};

struct process_short {
	struct process process;
	__u8 environment[ENVIRONMENT_SHORT];
};

struct process_long {
	struct process process;
	__u8 environment[ENVIRONMENT_LONG];
};

struct process_longest {
	struct process process;
	__u8 environment[ENVIRONMENT_LONGEST];
};

struct process_id {
	__u64 start_id;
	__u32 pid;
	__u32 pad;
};

/* Set before load: 0 where there is no ring buffer. */
const volatile __u8 report_processes = 1;

const struct process *unused_process __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PROCESS_RING);
} processes SEC(".maps");

/* Processes that were reported already. One that the LRU removes is reported again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct process_id);
	__type(value, __u8);
} reported_processes SEC(".maps");

/* A pid can be reused, and a process can execute another program; each has another id. The upper bits are the
 * start time, in units of 2^20 ns since boot. The lower 24 bits are the number of executions. */
static __always_inline __u64 start_id_of(const struct task_struct *task)
{
	return task->group_leader->start_boottime >> 20 << 24 | (task->self_exec_id & 0xffffff);
}

static __always_inline struct kernfs_node *parent_of(struct kernfs_node *node)
{
	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ(node, parent);
}

/* The cgroup v2 of a task or, if that is the root, its cgroup v1 under the controller pids. Where cgroup v1 is
 * in use, container engines put a container under every controller. */
static __always_inline struct kernfs_node *cgroup_of(struct task_struct *task, __u64 *id)
{
	struct css_set *set = task->cgroups;
	struct kernfs_node *node = set->dfl_cgrp->kn;
	struct cgroup_subsys_state *state = NULL;

	*id = BPF_CORE_READ(node, id);
	if (parent_of(node) || !bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return node;
	bpf_probe_read_kernel(&state, sizeof(state),
			      &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)]);
	if (!state)
		return node;
	*id = 0;
	return BPF_CORE_READ(state, cgroup, kn);
}

static __attribute__((noinline)) void describe_process(struct process *to, struct task_struct *task)
{
	struct kernfs_node *node;
	__u64 cgroup;

	to->start_id = start_id_of(task);
	to->pid = task->tgid;
	to->pad = 0;
	node = cgroup_of(task, &cgroup);
	to->cgroup = cgroup;
	for (int i = 0; i < CGROUP_LEVELS; i++) {
		to->cgroups[i][0] = 0;
		if (!node)
			continue;
		bpf_probe_read_kernel_str(to->cgroups[i], CGROUP_NAME_SIZE, BPF_CORE_READ(node, name));
		node = parent_of(node);
	}
}

/* If not all was copied, user space is woken at once: it can read /proc as long as the process lives. */
static __always_inline __u64 process_wakeup(bool whole)
{
	if (whole && bpf_ringbuf_query(&processes, BPF_RB_AVAIL_DATA) < PROCESS_WAKEUP)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

/* A program can read the memory of the current task only, and no page that is swapped out. */
#define REPORT(type, limit)                                                                          \
	do {                                                                                       \
		struct type *to = bpf_ringbuf_reserve(&processes, sizeof(*to), 0);                 \
		if (!to) {                                                                         \
			count_loss(LOSS_PROCESS);                                                        \
			return;                                                                    \
		}                                                                                  \
		describe_process(&to->process, task);                                              \
		__u32 size = total < limit ? total : limit;                                        \
		__u32 n = size - !!size;                                                           \
		barrier_var(n);                                                                    \
		n &= limit - 1; /* proves the bound to the verifier; limits are powers of 2 */     \
		if (!is_current || bpf_probe_read_user(to->environment, n + 1, (void *)start))     \
			size = 0;                                                                  \
		to->process.size = size;                                                           \
		to->process.total = total;                                                         \
		bpf_ringbuf_submit(to, process_wakeup(size == total));                             \
	} while (0)

static __attribute__((noinline)) void report_process(struct task_struct *task, __u64 start_id)
{
	struct process_id id = {.start_id = start_id, .pid = task->tgid};
	unsigned long start, length;
	bool is_current;
	__u32 total;
	__u8 yes = 1;

	if (!report_processes || bpf_map_lookup_elem(&reported_processes, &id))
		return;
	start = BPF_CORE_READ(task, mm, env_start); /* 0 for a kernel thread */
	length = BPF_CORE_READ(task, mm, env_end) - start;
	total = length < ~0U ? length : ~0U;
	is_current = bpf_get_current_pid_tgid() >> 32 == id.pid;
	if (!is_current || total <= ENVIRONMENT_SHORT)
		REPORT(process_short, ENVIRONMENT_SHORT);
	else if (total <= ENVIRONMENT_LONG)
		REPORT(process_long, ENVIRONMENT_LONG);
	else
		REPORT(process_longest, ENVIRONMENT_LONGEST);
	bpf_map_update_elem(&reported_processes, &id, &yes, BPF_ANY);
}

/* The name is that of the first thread, because programs often rename the others. */
static __always_inline void set_owner(__u8 *comm, __u64 *cgroup, __u64 *start_id, __u32 *pid,
				struct task_struct *task)
{
	*pid = task->tgid;
	*start_id = start_id_of(task);
	*cgroup = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel(comm, 16, task->group_leader->comm);
	report_process(task, *start_id);
}

#endif
