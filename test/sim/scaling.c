/*
 * scaling - a day of an api in a few hundred milliseconds: the real autoscaler (supervisor/autoscale.c), a virtual clock,
 * and a model of everything else.
 *
 * The model: requests arrive at random (Poisson) at a rate that follows the time of day. One queue, first come first
 * served, one request at a time per replica. A prediction first uses CPU, then waits (for a GPU, or another service); how
 * long both take is drawn from an Erlang-2 distribution. Predictions that use CPU share the cores of the host. A replica that
 * is wanted is READY after START_MS; one too many goes when it is idle, the youngest first. As in cortexd a request that waits
 * too long, or finds too many waiting, is refused.
 *
 * All policies see the same requests. Printed, separated by tabs, for scripts/simulate-scaling to read:
 *   demand   LOAD MINUTE:PREDICTIONS_AT_ONCE...       what the load would keep busy, in the mean
 *   count    LOAD PREDICTOR POLICY MINUTE:REPLICAS... each change of the count
 *   summary  LOAD PREDICTOR POLICY MEAN MOST CHANGES P50_MS P99_MS REFUSED_PERMYRIAD REPLICA_MINUTES BUSY_MINUTES
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/autoscale.h"

#define TICK_MS       10
#define DAY_MS        (24 * 3600 * 1000)
#define CORES         12
#define MAX_REPLICAS  16
#define MAX_PROCESSES (4 * MAX_REPLICAS) /* with those that finish their last request */
#define CPU_MILLICPU  750
#define START_MS      3000
#define MAX_QUEUE     100
#define TIMEOUT_MS    60000
#define SERVICE_MS    200
#define N_WAITS       (TIMEOUT_MS / TICK_MS + 1)

struct load {
	const char *name;
	double (*rate)(double hour); /* requests per second */
};

struct predictor {
	const char *name;
	int cpu_ms; /* in the mean, of SERVICE_MS; the rest it waits */
};

struct policy {
	const char *name;
	bool cpu;
	int window_s;
	int target_in_flight_milli;
};

static double
rate_diurnal(double hour)
{
	return 18 - 17 * cos(hour / 24 * 2 * M_PI);
}

static double
rate_step(double hour)
{
	return hour >= 8 && hour < 18 ? 30 : 3;
}

static double
rate_spike(double hour)
{
	return fmod(hour, 3) >= 1.5 && fmod(hour, 3) < 1.5 + 5 / 60.0 ? 40 : 3;
}

static double
rate_on_off(double hour)
{
	return fmod(hour * 60, 20) < 10 ? 20 : 0;
}

static const struct load loads[] = {
    {"diurnal", rate_diurnal}, {"step", rate_step}, {"spike", rate_spike}, {"on-off", rate_on_off}};
static const struct predictor predictors[] = {{"computes", 200}, {"waits", 20}};
static const struct policy policies[] = {
    {"cpu", true, 60, 0}, {"cpu, 15 s", true, 15, 0}, {"in flight", false, 60, 700}, {"both", true, 60, 700}};

struct request {
	int64_t arrived_ms;
	double cpu_ms;
	double wait_ms;
};

struct process {
	uint64_t id;
	int64_t ready_ms;
	bool leaving;
	bool busy;
	struct request request; /* cpu_ms and wait_ms are what is left of it */
	double cpu_used_ms;
};

struct simulation {
	struct autoscaler autoscaler;
	uint64_t dice;
	int64_t now_ms;
	int wanted;
	struct process processes[MAX_PROCESSES]; /* the oldest first */
	size_t n;
	uint64_t last_id;
	struct request queue[MAX_QUEUE]; /* a ring */
	size_t queue_first;
	size_t n_queued;
	size_t n_busy;

	int64_t waits[N_WAITS]; /* requests served, by how many ticks they waited */
	int64_t n_served;
	int64_t n_refused;
	int64_t n_changes;
	size_t most;
	double replica_ms;
	double busy_ms;
};

/* Between 0 and 1, neither of them. */
static double throw(uint64_t * dice)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 7;
	*dice ^= *dice << 17;
	return ((double)(*dice >> 12) + 0.5) / (double)(UINT64_C(1) << 52);
}

static int
arrivals(uint64_t *dice, double expected)
{
	double limit, product = 1;
	int n = -1;

	if (expected <= 0)
		return 0;
	limit = exp(-expected);
	do {
		product *= throw(dice);
		n++;
	} while (product > limit);
	return n;
}

static void
arrive(struct simulation *simulation, const struct predictor *predictor)
{
	double service_ms = -log(throw(&simulation->dice) * throw(&simulation->dice)) * SERVICE_MS / 2;
	struct request request = {.arrived_ms = simulation->now_ms,
	    .cpu_ms = service_ms * predictor->cpu_ms / SERVICE_MS,
	    .wait_ms = service_ms * (SERVICE_MS - predictor->cpu_ms) / SERVICE_MS};

	if (simulation->n_queued == MAX_QUEUE) {
		simulation->n_refused++;
		return;
	}
	simulation->queue[(simulation->queue_first + simulation->n_queued++) % MAX_QUEUE] = request;
}

static void
serve(struct simulation *simulation)
{
	for (size_t i = 0; i < simulation->n && simulation->n_queued > 0; i++) {
		struct process *process = &simulation->processes[i];

		if (process->busy || process->leaving || process->ready_ms > simulation->now_ms)
			continue;
		process->request = simulation->queue[simulation->queue_first++ % MAX_QUEUE];
		simulation->n_queued--;
		process->busy = true;
		simulation->n_busy++;
		simulation->waits[(simulation->now_ms - process->request.arrived_ms) / TICK_MS]++;
		simulation->n_served++;
	}
	while (simulation->n_queued > 0 &&
	    simulation->now_ms - simulation->queue[simulation->queue_first % MAX_QUEUE].arrived_ms >= TIMEOUT_MS) {
		simulation->queue_first++;
		simulation->n_queued--;
		simulation->n_refused++;
	}
}

static void
work(struct simulation *simulation)
{
	double share = 1;
	int n_computing = 0;

	if (simulation->n_busy == 0)
		return;
	for (size_t i = 0; i < simulation->n; i++)
		n_computing += simulation->processes[i].busy && simulation->processes[i].request.cpu_ms > 0;
	if (n_computing > CORES)
		share = (double)CORES / n_computing;
	for (size_t i = 0; i < simulation->n; i++) {
		struct process *process = &simulation->processes[i];
		double used_ms;

		if (!process->busy)
			continue;
		simulation->busy_ms += TICK_MS;
		if (process->request.cpu_ms > 0) {
			used_ms = fmin(process->request.cpu_ms, TICK_MS * share);
			process->request.cpu_ms -= used_ms;
			process->cpu_used_ms += used_ms;
		} else {
			process->request.wait_ms -= TICK_MS;
		}
		if (process->request.cpu_ms <= 0 && process->request.wait_ms <= 0) {
			process->busy = false;
			simulation->n_busy--;
		}
	}
}

/* Start what is wanted, let go what is not, and forget who has left. */
static void
follow(struct simulation *simulation)
{
	int n_staying = 0;
	size_t n = 0;

	for (size_t i = 0; i < simulation->n; i++)
		n_staying += !simulation->processes[i].leaving;
	for (; n_staying < simulation->wanted && simulation->n < MAX_PROCESSES; n_staying++)
		simulation->processes[simulation->n++] = (struct process){
		    .id = ++simulation->last_id, .ready_ms = simulation->now_ms + START_MS};
	for (int idle = 1; idle >= 0; idle--) {
		for (size_t i = simulation->n; i > 0 && n_staying > simulation->wanted; i--) {
			struct process *process = &simulation->processes[i - 1];

			if (process->leaving || (idle && process->busy))
				continue;
			process->leaving = true;
			n_staying--;
		}
	}
	for (size_t i = 0; i < simulation->n; i++) {
		if (!simulation->processes[i].leaving || simulation->processes[i].busy)
			simulation->processes[n++] = simulation->processes[i];
	}
	simulation->n = n;
	simulation->most = MAX(simulation->most, n);
}

static void
sample(struct simulation *simulation)
{
	struct autoscale_sample samples[MAX_PROCESSES];
	size_t n = 0;

	for (size_t i = 0; i < simulation->n; i++) {
		const struct process *process = &simulation->processes[i];

		if (process->leaving)
			continue;
		samples[n++] = (struct autoscale_sample){.id = process->id,
		    .ready_since_ms = process->ready_ms <= simulation->now_ms ? process->ready_ms : -1,
		    .cpu_us = (int64_t)(process->cpu_used_ms * 1000)};
	}
	autoscaler_sample(&simulation->autoscaler, simulation->now_ms, samples, n,
	    (int64_t)(simulation->n_busy + simulation->n_queued));
}

static long long
wait_ms(const struct simulation *simulation, int percent)
{
	int64_t left = simulation->n_served * percent / 100;
	int ticks = 0;

	while (ticks < N_WAITS - 1 && (left -= simulation->waits[ticks]) > 0)
		ticks++;
	return (long long)ticks * TICK_MS;
}

static void
run(const struct load *load, const struct predictor *predictor, const struct policy *policy)
{
	struct autoscale_policy numbers = AUTOSCALE_POLICY_DEFAULT;
	struct simulation *simulation = calloc(1, sizeof(*simulation));
	uint64_t arrival_dice = 88172645463325252ULL;
	int before = -1;

	if (!simulation)
		abort();
	numbers.max_replicas = MAX_REPLICAS;
	numbers.cpu_millicpu = policy->cpu ? CPU_MILLICPU : 1000 * 1000; /* of a million nobody ever uses much */
	numbers.window_ms = policy->window_s * 1000;
	numbers.target_in_flight_milli = policy->target_in_flight_milli;
	autoscaler_init(&simulation->autoscaler, &numbers, 0);
	simulation->dice = 1181783497276652981ULL;
	simulation->wanted = 1;
	follow(simulation);
	printf("count\t%s\t%s\t%s\t", load->name, predictor->name, policy->name);
	for (simulation->now_ms = 0; simulation->now_ms < DAY_MS; simulation->now_ms += TICK_MS) {
		double rate = load->rate((double)simulation->now_ms / 3600e3);

		for (int n = arrivals(&arrival_dice, rate * TICK_MS / 1000); n > 0; n--)
			arrive(simulation, predictor);
		serve(simulation);
		work(simulation);
		if (simulation->now_ms % AUTOSCALE_SAMPLE_MS == 0) {
			sample(simulation);
			simulation->wanted = autoscaler_decide(
			    &simulation->autoscaler, simulation->now_ms, simulation->wanted, NULL);
			follow(simulation);
		}
		if (simulation->wanted != before) {
			printf(" %.2f:%d", (double)simulation->now_ms / 60000, simulation->wanted);
			simulation->n_changes += before >= 0;
			before = simulation->wanted;
		}
		simulation->replica_ms += (double)simulation->n * TICK_MS;
	}
	printf("\nsummary\t%s\t%s\t%s\t%.2f\t%zu\t%lld\t%lld\t%lld\t%lld\t%.0f\t%.0f\n", load->name, predictor->name,
	    policy->name, simulation->replica_ms / DAY_MS, simulation->most, (long long)simulation->n_changes,
	    wait_ms(simulation, 50), wait_ms(simulation, 99),
	    (long long)(simulation->n_refused * 10000 / (simulation->n_served + simulation->n_refused)),
	    simulation->replica_ms / 60000, simulation->busy_ms / 60000);
	autoscaler_done(&simulation->autoscaler);
	free(simulation);
}

int
main(void)
{
	for (size_t l = 0; l < N_ELEMENTS(loads); l++) {
		printf("demand\t%s\t", loads[l].name);
		for (int minute = 0; minute < 24 * 60; minute++)
			printf(" %d:%.2f", minute, loads[l].rate(minute / 60.0) * SERVICE_MS / 1000);
		printf("\n");
		for (size_t p = 0; p < N_ELEMENTS(predictors); p++) {
			for (size_t n = 0; n < N_ELEMENTS(policies); n++)
				run(&loads[l], &predictors[p], &policies[n]);
		}
	}
	return 0;
}
