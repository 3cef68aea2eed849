/*
 * signals - see signals.h.
 */
#include "replica/signals.h"

#include <pthread.h>
#include <stdbool.h>

#include "common/log.h"
#include "common/util.h"

static const struct {
	int number;
	const char *name;
} kept[SIGNALS_KEPT] = {{SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}, {SIGPIPE, "SIGPIPE"}};

void
signals_save(struct signals *ret_signals)
{
	for (size_t i = 0; i < SIGNALS_KEPT; i++)
		ASSERT(sigaction(kept[i].number, NULL, &ret_signals->actions[i]) == 0);
	ASSERT(pthread_sigmask(SIG_SETMASK, NULL, &ret_signals->mask) == 0);
}

/* sa_handler and sa_sigaction share their place, so one of them tells for both. */
static bool
same_action(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_handler == b->sa_handler && ((a->sa_flags ^ b->sa_flags) & SA_SIGINFO) == 0;
}

int
signals_restore(const struct signals *signals)
{
	struct sigaction now;
	sigset_t mask;
	int changed = 0;

	ASSERT(pthread_sigmask(SIG_SETMASK, &signals->mask, &mask) == 0);
	for (size_t i = 0; i < SIGNALS_KEPT; i++) {
		ASSERT(sigaction(kept[i].number, NULL, &now) == 0);
		if (!same_action(&now, &signals->actions[i])) {
			ASSERT(sigaction(kept[i].number, &signals->actions[i], NULL) == 0);
			log_warning("the predictor %s for %s; cortexd keeps its own",
			    now.sa_handler == SIG_IGN || now.sa_handler == SIG_DFL ? "removed the handler"
										   : "installed a handler",
			    kept[i].name);
			changed++;
		}
		if (sigismember(&mask, kept[i].number) && !sigismember(&signals->mask, kept[i].number)) {
			log_warning("the predictor blocked %s; cortexd has unblocked it", kept[i].name);
			changed++;
		}
	}
	return changed;
}
