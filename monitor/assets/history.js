/*
 * history - the last ten minutes of every api, from successive samples of /status.
 *
 * The daemon counts and never forgets; rates are made here, of two samples and the daemon's own clock (uptime_seconds, which
 * nobody can set). Samples that were missed while the connection was lost make a longer interval, not a wrong rate. After a
 * restart of the daemon everything begins again.
 */
const KEPT_SECONDS = 600;
const RATE_SECONDS = 5; // what "now" means for a rate
const SERIES = ["success", "client", "server"];

/* The counters of an api that become rates. */
function countersOf(api) {
	const requests = api.metrics?.requests ?? {};
	return {
		success: (requests["2xx"] ?? 0) + (requests["3xx"] ?? 0),
		client: requests["4xx"] ?? 0,
		server: requests["5xx"] ?? 0,
	};
}

/* Per second between two samples; null when a counter went backwards: it is another daemon's. */
function ratesBetween(earlier, later) {
	const elapsed = later.uptime - earlier.uptime;
	const rates = {};
	for (const name of SERIES) {
		const more = later.counters[name] - earlier.counters[name];
		if (elapsed <= 0 || more < 0)
			return null;
		rates[name] = more / elapsed;
	}
	return rates;
}

/* Times of the last seconds (recent.seconds says how many), in milliseconds: {mean, p50, p90, p99}, empty when there were no requests. */
export function timesNow(api) {
	const recent = api.metrics?.latency_ms?.recent;
	return recent?.count > 0 ? recent : {};
}

function sampleOf(status, api, previous) {
	const times = timesNow(api);
	const sample = {
		at: Date.parse(status.now),
		uptime: status.uptime_seconds,
		counters: countersOf(api),
		success: null,
		client: null,
		server: null,
		mean: times.mean ?? null,
		p50: times.p50 ?? null,
		p90: times.p90 ?? null,
		p99: times.p99 ?? null,
		cpu: api.cpu?.percent ?? null,
		target: api.compute?.target_cpu_utilization ?? null,
		ready: api.replicas?.available ?? null,
		wanted: api.replicas?.wanted ?? null,
		queued: api.metrics?.queued ?? null,
		inFlight: api.metrics?.in_flight ?? null,
		memory: api.memory_bytes ?? null,
	};
	const rates = previous && ratesBetween(previous, sample);
	if (rates)
		Object.assign(sample, rates);
	return sample;
}

export class History {
	constructor() {
		this.apis = new Map();
		this.pid = null;
		this.uptime = 0;
	}

	/* keyOf(api): what tells apis apart. */
	add(status, keyOf) {
		if (status.pid !== this.pid || status.uptime_seconds < this.uptime)
			this.apis.clear();
		this.pid = status.pid;
		this.uptime = status.uptime_seconds;
		const before = this.apis;
		this.apis = new Map();
		for (const api of status.apis) {
			const key = keyOf(api);
			const samples = before.get(key) ?? [];
			this.apis.set(key, samples);
			this.addSample(samples, status, api);
		}
	}

	addSample(samples, status, api) {
		const previous = samples.at(-1);
		if (previous && status.uptime_seconds <= previous.uptime)
			return; // the same instant twice
		samples.push(sampleOf(status, api, previous));
		const oldest = status.uptime_seconds - KEPT_SECONDS;
		const first = samples.findIndex((sample) => sample.uptime >= oldest);
		if (first > 0)
			samples.splice(0, first);
	}

	of(key) {
		return this.apis.get(key) ?? [];
	}

	/* Rates of the last few seconds: {success, client, server, all}, null before there are two samples. */
	ratesNow(key) {
		const samples = this.of(key);
		const last = samples.at(-1);
		const first = samples.find((sample) => sample.uptime >= (last?.uptime ?? 0) - RATE_SECONDS - 0.5);
		const rates = first && first !== last ? ratesBetween(first, last) : null;
		return rates && { ...rates, all: rates.success + rates.client + rates.server };
	}
}

/* One row for each period of so many seconds, newest first: the mean of every series, for the tables below the charts. */
export function summarise(samples, names, period = 30) {
	const last = samples.at(-1);
	const rows = [];
	if (!last)
		return rows;
	for (let begin = last.uptime - period; begin > last.uptime - KEPT_SECONDS - period; begin -= period) {
		const inside = samples.filter((sample) => sample.uptime > begin && sample.uptime <= begin + period);
		if (inside.length)
			rows.push({ at: inside.at(-1).at, ...Object.fromEntries(names.map((name) => [name, meanOf(inside, name)])) });
	}
	return rows;
}

function meanOf(samples, name) {
	const values = samples.map((sample) => sample[name]).filter((value) => value !== null);
	return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
