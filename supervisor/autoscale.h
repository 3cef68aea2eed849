/*
 * autoscale - how many replicas should an api have?
 *
 * The algorithm of the Kubernetes HorizontalPodAutoscaler (autoscaling/v2, the defaults of its `behavior`) on the CPU that
 * the replicas asked for, and optionally on requests in flight. Pure: no system call, no loop, no log; the caller owns the
 * clock (milliseconds, monotonic) and reads the CPU times. One object per api; one thread.
 *
 * Signals. Once a second the caller hands over what it has read; every AUTOSCALE_PERIOD_MS a decision is due.
 *   cpu        the mean over the measured replicas of the CPU each used, in whole percent of the request (rounded down, as the
 *              HPA does it: the number in the log is the number that decided). wanted = ceil(measured * percent / target).
 *   in flight  requests that run or wait, averaged over the samples since the last decision: a queue should be seen at once,
 *              and unlike CPU it does not change its meaning when replicas come and go. wanted = ceil(total / target). While
 *              no replica is READY it is unknown: how many wait then says how long a start takes, not how many are needed.
 * The larger wins. A signal that is within the tolerance of its target wants what there is. When a signal could not be
 * measured, it wants what there is: the other one may add replicas but take none away.
 *
 * What a replica counts as, as in "Algorithm details" of the HPA's documentation:
 *   measured   READY for AUTOSCALE_MEASURE_MS, and read lately. Only the CPU since READY counts.
 *   not ready  everything that is to be measured yet: loading, READY since less than that, or wanted and not started. Left out;
 *              when the others ask for more, counted again as using 0 %.
 *   missing    READY long enough, but its CPU cannot be read. When the others ask for more, counted as using 0 %; when they ask
 *              for less, as using 100 % of its request (as the controller does it; the documentation speaks of the target).
 * If the second count is within the tolerance, or points the other way, nothing changes. A usage above the target never takes
 * replicas away, and one below never adds any.
 *
 * Of the HPA's two periods for young replicas only one is here. --horizontal-pod-autoscaler-initial-readiness-delay (30 s)
 * helps it to guess whether a pod was ever ready; here READY comes once, after init(), and with its time. What
 * --horizontal-pod-autoscaler-cpu-initialization-period (5 min) is for - that the CPU of starting up is not taken for load - is
 * done exactly by not looking at what was used before READY; the rule that it brings with it, "one whole window of the metric
 * since ready", is AUTOSCALE_MEASURE_MS.
 *
 * The window. CPU is averaged over window_ms, but as far as possible over no time in which other replicas shared the load: when
 * one becomes ready or goes, the average starts anew, reaching back AUTOSCALE_MEASURE_MS at least. Otherwise a replica that was
 * overloaded before its helpers came would go on asking for more helpers for a whole window. (The HPA's metrics server averages
 * over 15 s or so, always; a window is cortexd's own.)
 *
 * From what is recommended to what is wanted, as the HPA's `behavior` does it by default: not more than the least
 * recommendation of the upscale window and not less than the greatest of the downscale window (what was there at the first
 * decision counts as recommended then); not more than twice, or four more than, what there is, whichever is more; down to
 * min_replicas in one step; between min_replicas and max_replicas. A count outside these two is put right at once.
 */
#ifndef SUPERVISOR_AUTOSCALE_H
#define SUPERVISOR_AUTOSCALE_H

#include "common/util.h"

/* --horizontal-pod-autoscaler-sync-period; also the period of the default scaling policies, so that their limit per period is
 * one per decision. */
#ifndef CORTEXD_AUTOSCALE_PERIOD_MS
#define CORTEXD_AUTOSCALE_PERIOD_MS 15000
#endif
#define AUTOSCALE_PERIOD_MS CORTEXD_AUTOSCALE_PERIOD_MS

#define AUTOSCALE_SAMPLE_MS       1000                /* how often autoscaler_sample should be called */
#define AUTOSCALE_MEASURE_MS      AUTOSCALE_PERIOD_MS /* READY for so long: measured */
#define AUTOSCALE_STEP_PERCENT    100                 /* of what there is may be added by one decision, */
#define AUTOSCALE_STEP_REPLICAS   4                   /* or so many */
#define AUTOSCALE_RECOMMENDATIONS 256
#define AUTOSCALE_READINGS        32
#define AUTOSCALE_DECISIONS       50
#define AUTOSCALE_REASON_MAX      384 /* bytes, with the NUL */

struct autoscale_policy {
	int min_replicas; /* 1 <= min <= max */
	int max_replicas;
	int target_cpu_percent; /* of the request, > 0 */
	int64_t cpu_millicpu;   /* the request of one replica, > 0 */
	int tolerance_permille; /* 0 to 10000; a usage of 1000 +- this, in thousandths of the target, is on target */
	int64_t window_ms;      /* > 0; less than AUTOSCALE_MEASURE_MS is the same as that */
	int64_t downscale_stabilization_ms; /* >= 0 */
	int64_t upscale_stabilization_ms;   /* >= 0 */
	int64_t target_in_flight_milli;     /* requests per replica, in thousandths, at most 10^9; 0: not looked at */
};

/* The numbers of the HPA, for what a user may leave out. The first four fields are the caller's. */
#define AUTOSCALE_POLICY_DEFAULT                      \
	((struct autoscale_policy){.min_replicas = 1, \
	    .max_replicas = 100,                      \
	    .target_cpu_percent = 80,                 \
	    .cpu_millicpu = 200,                      \
	    .tolerance_permille = 100,                \
	    .window_ms = 60 * 1000,                   \
	    .downscale_stabilization_ms = 300 * 1000})

/* One replica: a process that exists and is not on its way out. */
struct autoscale_sample {
	uint64_t id;            /* of the process; never used again for another one */
	int64_t ready_since_ms; /* -1: it is not READY */
	int64_t cpu_us;         /* used by it and all its descendants, ever; -1: could not be read */
};

/* Why the count is not what was recommended. */
enum autoscale_limit {
	AUTOSCALE_LIMIT_NONE,      /* as recommended */
	AUTOSCALE_LIMIT_UPSCALE,   /* less was recommended within upscale_stabilization_ms */
	AUTOSCALE_LIMIT_DOWNSCALE, /* more was recommended within downscale_stabilization_ms */
	AUTOSCALE_LIMIT_STEP,      /* as many as one step may add */
	AUTOSCALE_LIMIT_MAX,       /* max_replicas */
	AUTOSCALE_LIMIT_MIN,       /* min_replicas */
};

/* Where an api stands; a change of it is told although the count stays. */
enum autoscale_state {
	AUTOSCALE_FOLLOWS,    /* the count follows the load, as far as there is something to measure yet */
	AUTOSCALE_WANTS_MORE, /* within downscale_stabilization_ms more than max_replicas were recommended */
	AUTOSCALE_BLIND,      /* there are replicas to measure, but none can be read */
};

/* One decision with all its numbers; autoscale_reason puts them into words. */
struct autoscale_decision {
	int64_t at_ms;
	int from;
	int to;
	int recommended; /* by the signals, before any limit */
	enum autoscale_limit limit;
	enum autoscale_state state;

	int64_t cpu_percent;         /* mean of the measured replicas, -1: there are none */
	int64_t cpu_percent_counted; /* with the others counted in; cpu_percent when they were not */
	int n_measured;
	int n_not_ready;
	int n_missing;
	int cpu_recommended; /* -1: no opinion */

	int64_t in_flight_milli;   /* mean of the total, in thousandths; -1: not looked at, or unknown */
	int in_flight_recommended; /* -1: no opinion, though in_flight_milli may be known */

	struct autoscale_policy policy; /* as it was */
};

struct autoscale_replica;

/* Members are autoscale.c's own. About 16 KiB, and 0.6 KiB per replica on the heap. */
struct autoscaler {
	struct autoscale_policy policy;

	struct autoscale_replica *replicas; /* those of the last sample, in its order */
	size_t n_replicas;
	size_t n_allocated;
	int64_t shared_since_ms; /* when it was last seen that a replica became ready or went */

	int64_t in_flight_sum; /* of the samples since the last decision */
	int64_t in_flight_n;

	struct autoscale_recommendation {
		int64_t first_ms;
		int64_t last_ms;
		int least;
		int greatest;
	} recommendations[AUTOSCALE_RECOMMENDATIONS]; /* a ring: the newest is at (n_recommendations - 1) % its size */
	uint64_t n_recommendations;

	int64_t due_ms;
	struct autoscale_decision last;                           /* at_ms is -1 before the first one */
	struct autoscale_decision decisions[AUTOSCALE_DECISIONS]; /* a ring */
	uint64_t n_decisions;
};

/* The first decision is due one period after now_ms. */
void autoscaler_init(struct autoscaler *autoscaler, const struct autoscale_policy *policy, int64_t now_ms);
void autoscaler_done(struct autoscaler *autoscaler); /* all zero is fine */

/* Another policy from the next decision on; what was measured and recommended is kept. */
void autoscaler_set_policy(struct autoscaler *autoscaler, const struct autoscale_policy *policy);

/* What was read at now_ms: one sample per replica that exists and is not on its way out, in any order (the same order each
 * time is the cheapest), and how many requests run and wait in all (-1: unknown). A replica that is left out is forgotten. May
 * be called late, or not at all; a CPU time that is less than the last one of the same id counts as no use in between. */
void autoscaler_sample(
    struct autoscaler *autoscaler, int64_t now_ms, const struct autoscale_sample *samples, size_t n, int64_t in_flight);

/* When the next decision is due. */
int64_t autoscaler_due_ms(const struct autoscaler *autoscaler);

/* How many replicas are wanted from now on. Before a decision is due that is `wanted`, as it was. *ret_told, unless NULL,
 * becomes the decision when it should be told, because it changed the count or the state, else NULL; good until the next
 * call. */
int autoscaler_decide(
    struct autoscaler *autoscaler, int64_t now_ms, int wanted, const struct autoscale_decision **ret_told);

/* The last decision, also when nothing came of it; NULL before the first one. */
const struct autoscale_decision *autoscaler_last(const struct autoscaler *autoscaler);

/* The decisions that were told, 0 the newest, at most AUTOSCALE_DECISIONS; NULL beyond the oldest. */
const struct autoscale_decision *autoscaler_told(const struct autoscaler *autoscaler, size_t number);

/* A decision in words, such as "cpu 152% of the request over 2 ready replicas, target 80%: 2 -> 4". */
void autoscale_reason(const struct autoscale_decision *decision, char text[AUTOSCALE_REASON_MAX]);

#endif
