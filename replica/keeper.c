/*
 * keeper - see keeper.h.
 *
 * In the keeper only what a copy of a single-threaded process may do is done, and no descriptor is closed while the replica
 * lives: they are its own. It works in a thread made for that, because a raw clone leaves the C library with the thread id of the
 * parent, which is what the owner of a mutex is known by.
 */
#include "replica/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/title.h"
#include "http/parcel.h"

#define TAKERS_WAIT_MS 2000

/* What the keeper's thread works with. */
struct task {
	struct keeper *keeper;
	struct http_memory *memory;
	int replica; /* pidfd */
};

/* ---- handing on ---- */

struct sender {
	struct keeper *keeper;
	struct http_parcel parcel;
	uint32_t sequence; /* of a record that may have left; 0: of one that has not */
	unsigned n_sent;
	bool broken;
};

static void
send_parcel(struct sender *sender)
{
	unsigned n = sender->parcel.n;
	int r = http_parcel_send(&sender->parcel, atomic_load(&sender->keeper->channel), CHANNEL_MOVE, sender->sequence,
	    sender->sequence != 0, true);

	http_parcel_init(&sender->parcel);
	if (r < 0) {
		sender->broken = true;
		return;
	}
	sender->n_sent += n;
	if (sender->keeper->metrics)
		metrics_add(sender->keeper->metrics, METRIC_MOVED, n);
	atomic_fetch_sub_explicit(sender->keeper->n_open, n, memory_order_relaxed);
}

static void
send_one(struct sender *sender, const struct http_kept *kept)
{
	if (http_parcel_add(&sender->parcel, kept))
		return;
	send_parcel(sender);
	if (!http_parcel_add(&sender->parcel, kept))
		sender->broken = true;
}

/* Those that were leaving: their record may have left or not. What is in it does not change any more, so it is made again
 * and the activator, who knows, takes it or leaves it. */
static void
send_leaving(struct sender *sender, const struct http_memory *memory)
{
	for (unsigned i = 0; i < http_memory_entries_used(memory); i++) {
		const struct http_kept *kept = &memory->entries[i];

		if (http_kept_phase(kept) == HTTP_PHASE_FREE || kept->leaving == 0)
			continue;
		if (kept->flags &
		    HTTP_KEPT_OUT_PRIVATE) /* its answer is not here; if the record has left, it needs nothing */
			continue;
		sender->sequence = kept->leaving; /* the same for all: one record leaves at a time */
		send_one(sender, kept);
	}
	send_parcel(sender);
	sender->sequence = 0;
}

/* What the last system call had done decides whether the answer that was being sent counts. */
static bool
settle(const struct keeper *keeper, const struct http_memory *memory, struct http_kept *kept)
{
	struct metrics_area *metrics = keeper->metrics;
	uint64_t sent = kept->sent;
	bool answering = metrics && http_kept_phase(kept) == HTTP_PHASE_ANSWERING &&
	    atomic_load(&metrics->commit.owner) == http_memory_entry_number(memory, kept);
	bool settled = http_kept_settle(kept);

	if (answering && (!settled || kept->sent > sent))
		metrics_complete(metrics);
	return settled;
}

static void
send_all_others(struct sender *sender, struct http_memory *memory)
{
	for (unsigned i = 0; i < http_memory_entries_used(memory); i++) {
		struct http_kept *kept = &memory->entries[i];

		if (http_kept_phase(kept) == HTTP_PHASE_FREE || kept->leaving != 0)
			continue;
		if (settle(sender->keeper, memory, kept)) {
			send_one(sender, kept);
			continue;
		}
		if (http_is_stream_socket(kept->fd))
			shutdown(kept->fd, SHUT_RDWR);
		atomic_fetch_sub_explicit(sender->keeper->n_everywhere, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(sender->keeper->n_open, 1, memory_order_relaxed);
	}
	send_parcel(sender);
}

static bool
is_entered(const struct http_memory *memory, int fd)
{
	for (unsigned i = 0; i < http_memory_entries_used(memory); i++)
		if (http_kept_phase(&memory->entries[i]) != HTTP_PHASE_FREE && memory->entries[i].fd == fd)
			return true;
	return false;
}

/* A request that was received but has not become a connection, or was not even received: back as it came. */
static void
send_back(struct sender *sender, const struct http_memory *memory, const struct channel_record *record, int fd)
{
	const struct iovec bytes = {(void *)(uintptr_t)record->bytes, (size_t)record->n_bytes};
	const struct channel_message message = {
	    .kind = CHANNEL_MOVE,
	    .n_conns = 1,
	    .conns = record->conns,
	    .fds = &fd,
	    .bytes = &bytes,
	    .n_bytes = 1,
	};

	if (is_entered(memory, fd))
		return;
	if (channel_send(atomic_load(&sender->keeper->channel), &message, true) == 0)
		sender->n_sent++;
}

static void
send_requests_back(struct sender *sender, const struct http_memory *memory)
{
	struct keeper *keeper = sender->keeper;
	struct channel_record record;
	int fds[CHANNEL_CONNS_MAX], r;

	close(STDIN_FILENO); /* the replica may have died because there was no place for the descriptor of a request */
	r = channel_inbox_decode(&keeper->inbox, &record, fds);
	do {
		if (r == 1 && record.kind == CHANNEL_REQUEST) {
			send_back(sender, memory, &record, fds[0]);
			channel_release(&keeper->inbox, &record);
		}
		r = channel_receive(atomic_load(&keeper->channel), &keeper->inbox, &record, fds);
	} while (r == 1 || r == -EBADMSG || r == -EMFILE || r == -ENOMEM);
}

unsigned
keeper_hand_on(struct keeper *keeper, struct http_memory *memory)
{
	struct sender sender = {.keeper = keeper};

	/* From now on the activator cannot send a request here; what it has sent can still be read. */
	shutdown(atomic_load(&keeper->channel), SHUT_RD);
	send_leaving(&sender, memory);
	send_requests_back(&sender, memory);
	send_all_others(&sender, memory);
	if (sender.broken)
		log_warning("not all connections could be handed on");
	return sender.n_sent;
}

/* ---- the process ---- */

/*
 * When every descriptor is in use, what uses them up may be another thread of the replica, which takes the next one that is free, too:
 * then it must be gone first. That is not waited for otherwise, because the replica's memory is freed before.
 */
static void
wait_for_takers(int replica)
{
	struct pollfd process = {.fd = replica, .events = POLLIN};
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd < 0 && errno == EMFILE)
		poll(&process, 1, TAKERS_WAIT_MS);
	fd_close(&fd);
}

static void *
keep(void *arg)
{
	struct task *task = arg;
	unsigned n;

	if (pthread_mutex_lock(&task->keeper->main_alive) != EOWNERDEAD)
		_exit(1);
	/* The main thread is gone: it died, or has become another program. Whoever is left must not touch connections. */
	pidfd_send_signal(task->replica, SIGKILL, NULL, 0);
	pthread_mutex_lock(&task->keeper->helper_alive);
	wait_for_takers(task->replica);
	n = keeper_hand_on(task->keeper, task->memory);
	if (n > 0)
		log_info("handed on %u connection%s", n, n == 1 ? "" : "s");
	_exit(0);
}

/* In the keeper: be nobody's business but the kernel's. */
static __attribute__((noreturn)) void
run(struct task *task, const char *title)
{
	pthread_t thread;

	setpgid(0, 0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "cortexd-keeper");
	title_set("%s", title);
	if (pthread_create(&thread, NULL, keep, task) != 0)
		_exit(1);
	for (;;)
		pause();
}

static int
init_mutex(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attributes;
	int r;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	r = pthread_mutex_init(mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return -r;
}

int
keeper_start(struct http_memory *memory, _Atomic(int32_t) *n_everywhere, _Atomic(uint32_t) *n_open,
    struct metrics_area *metrics, int channel, const char *title, struct keeper **ret_keeper, struct error *err)
{
	struct task task = {.memory = memory, .replica = -1};
	struct keeper *keeper;
	long pid;
	int r;

	keeper = mmap(NULL, sizeof(*keeper), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (keeper == MAP_FAILED)
		return error_set(err, -errno, "mmap: %s", strerror(errno));
	task.keeper = keeper;
	task.replica = pidfd_open(getpid(), 0);
	if (task.replica < 0) {
		r = error_set(err, -errno, "pidfd_open: %s", strerror(errno));
		goto fail;
	}
	r = init_mutex(&keeper->main_alive);
	if (r == 0)
		r = init_mutex(&keeper->helper_alive);
	if (r == 0)
		r = -pthread_mutex_lock(&keeper->main_alive);
	if (r < 0) {
		error_set(err, r, "cannot make a mutex: %s", strerror(-r));
		goto fail;
	}
	keeper->n_everywhere = n_everywhere;
	keeper->n_open = n_open;
	keeper->metrics = metrics;
	atomic_store(&keeper->channel, channel);
	/* By hand: fork() cannot share descriptors. SIGCHLD goes to our parent, whose child it is. */
	pid = syscall(SYS_clone, CLONE_FILES | CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		run(&task, title);
	if (pid < 0) {
		r = error_set(err, -errno, "cannot start the keeper: %s", strerror(errno));
		goto fail;
	}
	madvise(keeper, sizeof(*keeper), MADV_DONTFORK);
	*ret_keeper = keeper;
	return 0;
fail:
	if (task.replica >= 0)
		close(task.replica);
	munmap(keeper, sizeof(*keeper));
	return r;
}

void
keeper_helper_runs(struct keeper *keeper)
{
	ASSERT(pthread_mutex_lock(&keeper->helper_alive) == 0);
}
