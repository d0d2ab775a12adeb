/* SPDX-License-Identifier: Dual MIT/GPL */
/*
 * Processes: which one owns a socket, and what it says of itself. The first time that a process is
 * met, its environment and the names of its cgroups are copied for user space, because it
 * may be gone before anybody could read them in /proc. After that it costs one look into a table.
 */
#ifndef SOCKTALLY_PROCESS_H
#define SOCKTALLY_PROCESS_H

#define GROUPS 4
#define GROUP_NAME 96 /* with NUL; container engines need 83 */
#define PROCESS_RING (1 << 20)
#define PROCESS_WAKEUP (PROCESS_RING / 4)

/* Most environments are short; those of Kubernetes name every service. */
#define ENVIRONMENT_SHORT (2 << 10)
#define ENVIRONMENT_LONG (16 << 10)
#define ENVIRONMENT_LONGEST (64 << 10)

/* One process, followed by what of its environment was copied. */
struct process {
	__u64 start_id;
	__u64 cgroup; /* whose names follow; 0: those of version 1 do, as version 2 has none */
	__u32 pid;
	__u32 size;  /* of the copy */
	__u32 total; /* of the environment */
	__u32 pad;
	__u8 groups[GROUPS][GROUP_NAME]; /* the cgroup, the one around it, and so on */
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

/* Setting, written before load: 0 where the kernel has no ring buffer for them. */
const volatile __u8 tell_processes = 1;

const struct process *unused_process __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PROCESS_RING);
} processes SEC(".maps");

/* Those that user space has been told of. One that falls out of it is told of again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct process_id);
	__type(value, __u8);
} known_processes SEC(".maps");

/* Tells the processes apart that have had one pid, and what one was before it executed another
 * program: the start, in units of 2^20 ns since boot, above the number of executions. */
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

/* Where version 2 has only its root, cgroups may be of version 1: there, engines put a
 * container under every controller. */
static __always_inline struct kernfs_node *group_of(struct task_struct *task, __u64 *id)
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
	node = group_of(task, &cgroup);
	to->cgroup = cgroup;
	for (int i = 0; i < GROUPS; i++) {
		to->groups[i][0] = 0;
		if (!node)
			continue;
		bpf_probe_read_kernel_str(to->groups[i], GROUP_NAME, BPF_CORE_READ(node, name));
		node = parent_of(node);
	}
}

/* User space is woken to read in /proc what could not be copied, while the process lives. */
static __always_inline __u64 process_wakeup(bool whole)
{
	if (whole && bpf_ringbuf_query(&processes, BPF_RB_AVAIL_DATA) < PROCESS_WAKEUP)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

/* Another task's memory cannot be read from here, nor a page that has been swapped out. */
#define TELL(type, limit)                                                                          \
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
		n &= limit - 1; /* says nothing new but to the verifier; limits are powers of 2 */ \
		if (!is_current || bpf_probe_read_user(to->environment, n + 1, (void *)start))     \
			size = 0;                                                                  \
		to->process.size = size;                                                           \
		to->process.total = total;                                                         \
		bpf_ringbuf_submit(to, process_wakeup(size == total));                             \
	} while (0)

static __attribute__((noinline)) void tell_process(struct task_struct *task, __u64 start_id)
{
	struct process_id id = {.start_id = start_id, .pid = task->tgid};
	unsigned long start, length;
	bool is_current;
	__u32 total;
	__u8 yes = 1;

	if (!tell_processes || bpf_map_lookup_elem(&known_processes, &id))
		return;
	start = BPF_CORE_READ(task, mm, env_start); /* 0 of a thread of the kernel */
	length = BPF_CORE_READ(task, mm, env_end) - start;
	total = length < ~0U ? length : ~0U;
	is_current = bpf_get_current_pid_tgid() >> 32 == id.pid;
	if (!is_current || total <= ENVIRONMENT_SHORT)
		TELL(process_short, ENVIRONMENT_SHORT);
	else if (total <= ENVIRONMENT_LONG)
		TELL(process_long, ENVIRONMENT_LONG);
	else
		TELL(process_longest, ENVIRONMENT_LONGEST);
	bpf_map_update_elem(&known_processes, &id, &yes, BPF_ANY);
}

/* The process's name is its first thread's: threads are often renamed. */
static __always_inline void set_owner(__u8 *comm, __u64 *cgroup, __u64 *start_id, __u32 *pid,
				struct task_struct *task)
{
	*pid = task->tgid;
	*start_id = start_id_of(task);
	*cgroup = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel(comm, 16, task->group_leader->comm);
	tell_process(task, *start_id);
}

#endif
