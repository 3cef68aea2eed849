/*
 * usage - see usage.h.
 *
 * All processes of the host are in one table, ordered by pid. A sample makes the next table out of the list of processes
 * and the table before, reads, decides who belongs to whom, and only then adds up: what could not be read stays as it was.
 */
#include "supervisor/usage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AGAIN       16 /* samples from one look at a process that belongs to nobody to the next */
#define GENERATIONS_MAX  16 /* of new processes, in one sample, each the child of the one before */
#define DEAD_IN_LINE_MAX 64 /* ancestors that ended together */

enum standing {
	STRANGER, /* not looked at yet, or its parent was not */
	OTHER,    /* belongs to no root */
	MEMBER,   /* belongs to one */
	SETTLED,  /* what it has used was taken down by usage_before_reap */
	GONE,     /* found to be gone during this sample */
};

struct root {
	uint64_t id;
	pid_t pid;
	bool wanted;      /* is among those of this sample */
	int64_t lost_ns;  /* of members that ended where no member's sum has them */
	int64_t sum_ns;   /* of all that is known now */
	int64_t total_ns; /* never shrinks */
	int64_t rss_kib;
	int n_processes;
};

struct process {
	pid_t pid;
	pid_t parent;
	pid_t group;
	enum standing standing;
	bool is_root;
	bool is_read;     /* in this sample */
	bool is_unlisted; /* must be read to know whether it is gone */
	bool has_ended;   /* in the table before: is gone, or its pid is another process now */
	uint64_t start;   /* 0: never read */
	struct root *root;
	int64_t own_ns;
	int64_t reaped_ns;  /* the kernel's sum of children that it waited for */
	int64_t dead_ns;    /* of all below it that have ended */
	int64_t pending_ns; /* of those that were found to have ended in this sample */
	int64_t rss_kib;
};

struct table {
	struct process *processes;
	size_t n, room;
};

struct usage {
	size_t reads_max;
	uint64_t n_samples;
	pid_t self;
	pid_t *pids;
	size_t n_pids, pids_room;
	pid_t cursor;       /* where the next sample goes on, when the last one could not read all */
	struct table known; /* as of the last sample */
	struct table next;  /* of the one that is being made */
	struct root **roots;
	size_t n_roots;
	const struct usage_root *given; /* the caller's roots, during a sample */
	size_t n_given;
	int error; /* of this sample: the first that is not "gone" */
};

/* ---- the table ---- */

/* Index of the first process with that pid or a larger one. */
static size_t
lower_bound(const struct table *table, pid_t pid)
{
	size_t low = 0, high = table->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table->processes[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct process *
find(const struct table *table, pid_t pid)
{
	size_t i = lower_bound(table, pid);

	return i < table->n && table->processes[i].pid == pid ? &table->processes[i] : NULL;
}

static int
make_room(struct table *table, size_t n)
{
	struct process *larger;

	if (n <= table->room)
		return 0;
	larger = realloc(table->processes, sizeof(*larger) * n * 2);
	if (!larger)
		return -ENOMEM;
	table->processes = larger;
	table->room = n * 2;
	return 0;
}

/* The next table: all that are listed, and members that are not, to be looked at. */
static int
merge(struct usage *usage)
{
	struct table *next = &usage->next, *known = &usage->known;
	size_t k = 0, p = 0;

	if (make_room(next, usage->n_pids + known->n) < 0)
		return -ENOMEM;
	next->n = 0;
	while (p < usage->n_pids || k < known->n) {
		struct process *old = k < known->n ? &known->processes[k] : NULL;
		bool listed = p < usage->n_pids && (!old || usage->pids[p] <= old->pid);

		if (listed && (!old || old->pid != usage->pids[p])) {
			next->processes[next->n++] = (struct process){.pid = usage->pids[p++]};
			continue;
		}
		k++;
		p += listed;
		old->is_read = false;
		old->is_unlisted = !listed;
		old->has_ended = false;
		if (listed || old->standing == MEMBER)
			next->processes[next->n++] = *old;
	}
	return 0;
}

/* ---- roots ---- */

static struct root *
find_root(const struct usage *usage, uint64_t id)
{
	for (size_t i = 0; i < usage->n_roots; i++)
		if (usage->roots[i]->id == id)
			return usage->roots[i];
	return NULL;
}

static void
forget(struct table *table)
{
	for (size_t i = 0; i < table->n; i++) {
		struct process *process = &table->processes[i];

		if (!process->root || process->root->wanted)
			continue;
		process->root = NULL;
		process->is_root = false;
		if (process->standing == MEMBER)
			process->standing = OTHER;
	}
}

static void
forget_unwanted(struct usage *usage)
{
	size_t n = 0;

	forget(&usage->next);
	forget(&usage->known);
	for (size_t i = 0; i < usage->n_roots; i++) {
		if (usage->roots[i]->wanted)
			usage->roots[n++] = usage->roots[i];
		else
			free(usage->roots[i]);
	}
	usage->n_roots = n;
}

static void
add_root(struct usage *usage, const struct usage_root *given)
{
	struct process *process = find(&usage->next, given->pid), *old = find(&usage->known, given->pid);
	struct root *root = xcalloc(1, sizeof(*root));

	root->id = given->id;
	root->pid = given->pid;
	root->wanted = true;
	usage->roots = xrealloc(usage->roots, usage->n_roots + 1, sizeof(*usage->roots));
	usage->roots[usage->n_roots++] = root;
	if (old)
		old->has_ended = true;
	if (process)
		*process = (struct process){.pid = given->pid, .standing = MEMBER, .root = root, .is_root = true};
}

static void
take_roots(struct usage *usage)
{
	const struct usage_root *given = usage->given;
	size_t n = usage->n_given;

	for (size_t i = 0; i < usage->n_roots; i++)
		usage->roots[i]->wanted = false;
	for (size_t i = 0; i < n; i++) {
		struct root *root = find_root(usage, given[i].id);

		if (root)
			root->wanted = true;
	}
	forget_unwanted(usage);
	for (size_t i = 0; i < n; i++)
		if (!find_root(usage, given[i].id))
			add_root(usage, &given[i]);
}

/* ---- reading ---- */

static bool
is_keeper(const struct proc_stat *stat)
{
	return strcmp(stat->name, "cortexd-keeper") == 0;
}

static void
note_error(struct usage *usage, int error)
{
	if (usage->error == 0)
		usage->error = error;
}

static void
has_gone(struct usage *usage, struct process *process)
{
	struct process *old = find(&usage->known, process->pid);

	if (old)
		old->has_ended = true;
	process->standing = GONE;
}

static void
read_stat(struct usage *usage, struct process *process)
{
	struct proc_stat stat;
	int r = proc_read_stat(process->pid, &stat);

	if (r == -ESRCH) {
		has_gone(usage, process);
		return;
	}
	if (r < 0) {
		note_error(usage, r);
		return;
	}
	if (process->start != 0 && process->start != stat.start) {
		has_gone(usage, process);
		*process = (struct process){.pid = process->pid, .standing = STRANGER};
	}
	process->is_read = true;
	process->start = stat.start;
	process->parent = stat.parent;
	process->group = stat.group;
	process->reaped_ns = stat.reaped_ns;
	process->rss_kib = stat.rss_kib;
	if (process->standing == OTHER)
		process->standing = STRANGER;
	if (process->standing != SETTLED && !process->is_root && is_keeper(&stat)) {
		process->standing = OTHER;
		process->root = NULL;
	}
}

static bool
is_due(const struct usage *usage, const struct process *process)
{
	return process->standing != OTHER || ((uint64_t)process->pid + usage->n_samples) % LOOK_AGAIN == 0;
}

/* What must be read, and as many as may be of those that should. */
static void
read_all(struct usage *usage)
{
	const struct table *next = &usage->next;
	size_t first = lower_bound(next, usage->cursor), n_left = usage->reads_max;

	for (size_t i = 0; i < next->n; i++)
		if (next->processes[i].is_root || next->processes[i].is_unlisted)
			read_stat(usage, &next->processes[i]);
	usage->cursor = 0;
	for (size_t i = 0; i < next->n; i++) {
		struct process *process = &next->processes[(first + i) % next->n];

		if (process->is_root || process->is_unlisted || !is_due(usage, process))
			continue;
		if (n_left == 0) {
			usage->cursor = process->pid;
			break;
		}
		n_left--;
		read_stat(usage, process);
	}
}

/* After all sums: who has no clock any more may be in one of them. */
static void
read_clocks(struct usage *usage)
{
	for (size_t i = 0; i < usage->next.n; i++) {
		struct process *process = &usage->next.processes[i];
		int64_t ns;
		int r;

		if (process->standing != MEMBER || !process->is_read)
			continue;
		r = proc_read_cpu(process->pid, &ns);
		if (r == 0)
			process->own_ns = MAX(process->own_ns, ns);
		else if (r == -ESRCH)
			has_gone(usage, process);
		else
			note_error(usage, r);
	}
}

/* ---- who belongs to whom ---- */

static void
join(struct process *process, struct root *root)
{
	process->standing = root ? MEMBER : OTHER;
	process->root = root;
}

/* The process group that a root leads. */
static struct root *
root_of_group(const struct table *table, pid_t group)
{
	const struct process *leader = find(table, group);

	return leader && leader->is_root ? leader->root : NULL;
}

static bool
has_marks(const struct usage *usage)
{
	for (size_t i = 0; i < usage->n_given; i++)
		if (usage->given[i].mark)
			return true;
	return false;
}

static struct root *
root_of_mark(const struct usage *usage, const char *text, size_t length)
{
	for (const char *at = text; at < text + length; at += strlen(at) + 1)
		for (size_t i = 0; i < usage->n_given; i++)
			if (usage->given[i].mark && strcmp(at, usage->given[i].mark) == 0)
				return find_root(usage, usage->given[i].id);
	return NULL;
}

/* A child of ours that nobody knew. */
static void
place_orphan(struct usage *usage, struct process *process)
{
	struct root *root = root_of_group(&usage->next, process->group);
	char *text = NULL;
	size_t length;
	int r;

	if (root || !has_marks(usage)) {
		join(process, root);
		return;
	}
	r = proc_read_environment(process->pid, &text, &length);
	if (r == -EACCES || r == -EPERM || r == -EFBIG)
		join(process, NULL);
	else if (r < 0 && r != -ESRCH)
		note_error(usage, r);
	else if (r == 0 && length > 0)
		join(process, root_of_mark(usage, text, length));
	free(text);
}

/* True: it is decided. */
static bool
place_stranger(struct usage *usage, struct process *process)
{
	const struct process *parent;

	if (process->parent == usage->self) {
		place_orphan(usage, process);
		return true;
	}
	parent = find(&usage->next, process->parent);
	if (parent && (parent->standing == STRANGER || parent->standing == GONE))
		return false;
	join(process, parent && parent->standing == MEMBER ? parent->root : NULL);
	return true;
}

/* Parents are before their children in the table, unless pids have begun anew in between: then it takes another round. */
static void
place_strangers(struct usage *usage)
{
	bool again = true;

	for (int round = 0; again && round < GENERATIONS_MAX; round++) {
		again = false;
		for (size_t i = 0; i < usage->next.n; i++) {
			struct process *process = &usage->next.processes[i];

			if (process->standing == STRANGER && process->is_read)
				again = !place_stranger(usage, process) || again;
		}
	}
}

/* ---- adding up ---- */

static int64_t
worth_ns(const struct process *process)
{
	return process->own_ns + process->dead_ns;
}

/* A member has ended: add what it had used to its nearest ancestor that lives, in whose sum it may be, or else to the root. */
static void
bury(struct usage *usage, const struct process *dead)
{
	pid_t pid = dead->parent;

	for (int i = 0; i < DEAD_IN_LINE_MAX; i++) {
		const struct process *old = find(&usage->known, pid);
		struct process *process = find(&usage->next, pid);

		if (process && process->standing == MEMBER && process->root == dead->root) {
			process->pending_ns += worth_ns(dead);
			return;
		}
		if (!old || old->standing != MEMBER || old->root != dead->root || !old->has_ended)
			break;
		pid = old->parent;
	}
	dead->root->lost_ns += worth_ns(dead);
}

static void
bury_all(struct usage *usage)
{
	for (size_t i = 0; i < usage->known.n; i++) {
		const struct process *process = &usage->known.processes[i];

		if (process->has_ended && process->standing == MEMBER)
			bury(usage, process);
	}
}

/* Take over those below that have ended, and forget them. */
static void
close_books(struct process *process)
{
	process->dead_ns = MAX(process->reaped_ns, process->dead_ns + process->pending_ns);
	process->pending_ns = 0;
}

static void
add_up(struct usage *usage)
{
	for (size_t i = 0; i < usage->n_roots; i++) {
		struct root *root = usage->roots[i];

		root->sum_ns = root->lost_ns;
		root->rss_kib = 0;
		root->n_processes = 0;
	}
	for (size_t i = 0; i < usage->known.n; i++) {
		const struct process *process = &usage->known.processes[i];

		if (process->standing != MEMBER)
			continue;
		process->root->sum_ns += worth_ns(process);
		process->root->rss_kib += process->rss_kib;
		process->root->n_processes++;
	}
	for (size_t i = 0; i < usage->n_roots; i++)
		usage->roots[i]->total_ns = MAX(usage->roots[i]->total_ns, usage->roots[i]->sum_ns);
}

/* The next table becomes the known one. */
static void
turn_over(struct usage *usage)
{
	struct table old = usage->known;
	size_t n = 0;

	for (size_t i = 0; i < usage->next.n; i++) {
		struct process *process = &usage->next.processes[i];

		if (process->standing == GONE)
			continue;
		close_books(process);
		usage->next.processes[n++] = *process;
	}
	usage->next.n = n;
	usage->known = usage->next;
	usage->next = old;
}

/* ---- for the caller ---- */

struct usage *
usage_new(size_t reads_max)
{
	struct usage *usage = xcalloc(1, sizeof(*usage));

	ASSERT(reads_max > 0);
	usage->reads_max = reads_max;
	usage->self = getpid();
	return usage;
}

void
usage_free(struct usage *usage)
{
	if (!usage)
		return;
	for (size_t i = 0; i < usage->n_roots; i++)
		free(usage->roots[i]);
	free(usage->roots);
	free(usage->known.processes);
	free(usage->next.processes);
	free(usage->pids);
	free(usage);
}

int
usage_sample(struct usage *usage, struct usage_root *roots, size_t n_roots)
{
	int r;

	usage->n_samples++;
	usage->error = 0;
	usage->given = roots;
	usage->n_given = n_roots;
	r = proc_list(USAGE_PROCESSES_MAX, &usage->pids, &usage->pids_room, &usage->n_pids);
	if (r == 0)
		r = merge(usage);
	if (r == 0) {
		take_roots(usage);
		read_all(usage);
		place_strangers(usage);
		read_clocks(usage);
		bury_all(usage);
		turn_over(usage);
		add_up(usage);
		r = usage->error;
	}
	for (size_t i = 0; i < n_roots; i++) {
		const struct root *root = find_root(usage, roots[i].id);

		roots[i].cpu_us = root ? root->total_ns / 1000 : 0;
		roots[i].rss_kib = root ? root->rss_kib : 0;
		roots[i].n_processes = root ? root->n_processes : 0;
	}
	return r;
}

static bool
has_ended(const struct process *process)
{
	struct proc_stat stat;
	int r = proc_read_stat(process->pid, &stat);

	return r == -ESRCH || (r == 0 && stat.start != process->start);
}

/* Those below a dead process that ended before it, since the last sample. True: there were some. */
static bool
settle_generation(struct usage *usage, struct process *dead)
{
	bool found = false;

	for (size_t i = 0; i < usage->known.n; i++) {
		struct process *process = &usage->known.processes[i];
		const struct process *parent;

		if (process->standing != MEMBER || process->root != dead->root)
			continue;
		parent = find(&usage->known, process->parent);
		if (!parent || (parent != dead && parent->standing != SETTLED) || !has_ended(process))
			continue;
		dead->pending_ns += worth_ns(process);
		process->standing = SETTLED;
		found = true;
	}
	return found;
}

void
usage_before_reap(struct usage *usage, pid_t pid)
{
	struct process *process = find(&usage->known, pid);
	struct proc_stat stat;
	struct root *root;
	int64_t own_ns;

	if (proc_read_stat(pid, &stat) < 0 || proc_read_cpu(pid, &own_ns) < 0)
		return;
	if (process && process->start != 0 && process->start != stat.start)
		process = NULL; /* that was another one */
	if (process && process->standing == MEMBER) {
		root = process->root;
		while (settle_generation(usage, process))
			continue;
		process->own_ns = MAX(process->own_ns, own_ns);
		process->reaped_ns = stat.reaped_ns;
		close_books(process);
		root->lost_ns += worth_ns(process);
	} else if (process && process->standing != STRANGER) {
		return;
	} else {
		root = is_keeper(&stat) ? NULL : root_of_group(&usage->known, stat.group);
		if (root)
			root->lost_ns += own_ns + stat.reaped_ns;
	}
	if (process) {
		process->start = stat.start;
		process->standing = SETTLED;
	}
	add_up(usage);
}

int64_t
usage_cpu_us(const struct usage *usage, uint64_t id)
{
	const struct root *root = find_root(usage, id);

	return root ? root->total_ns / 1000 : -1;
}

int
usage_memory(const struct usage *usage, uint64_t id, struct proc_memory *ret)
{
	const struct root *root = find_root(usage, id);
	int error = 0;

	*ret = (struct proc_memory){0};
	if (!root)
		return -ENOENT;
	for (size_t i = 0; i < usage->known.n; i++) {
		const struct process *process = &usage->known.processes[i];
		struct proc_memory memory;
		int r;

		if (process->standing != MEMBER || process->root != root)
			continue;
		r = proc_read_memory(process->pid, &memory);
		if (r == 0) {
			ret->pss_kib += memory.pss_kib;
			ret->private_kib += memory.private_kib;
			ret->shared_kib += memory.shared_kib;
		} else if (r != -ESRCH && error == 0) {
			error = r;
		}
	}
	return error;
}
