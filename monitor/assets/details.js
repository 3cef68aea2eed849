/*
 * details - everything about the selected api: numbers, charts, replicas, deaths, scaling, predictions.
 */
import { BarChart, LineChart } from "./charts.js";
import { byId, fillList, setClass, setText, show, Table } from "./dom.js";
import * as format from "./format.js";
import { timesNow } from "./history.js";
import { replicasText, statusClass } from "./overview.js";

/* Restart causes as words; others are shown as they are called. */
const CAUSES = {
	exit: "exited",
	signal: "killed by a signal",
	out_of_memory: "out of memory",
	start_failed: "start failed",
	start_timeout: "start took too long",
	overdue: "did not end in time",
	nonsense: "spoke nonsense",
	gave_up: "given up",
	hung_up: "hung up",
	exit_untold: "exited untold",
};

const CHARTS = [
	{
		title: "Requests",
		note: "per second, by status",
		format: format.rate,
		stacked: true,
		suggestedMax: 1,
		series: [
			{ name: "success", label: "2XX", color: "line-1", fill: "origin" },
			{ name: "client", label: "4XX", color: "line-3", dash: [6, 3], fill: "-1" },
			{ name: "server", label: "5XX", color: "line-bad", dash: [2, 2], fill: "-1" },
		],
	},
	{
		title: "Latency",
		note: "of the last seconds",
		format: format.milliseconds,
		series: [
			{ name: "mean", label: "mean", color: "line-1" },
			{ name: "p50", label: "p50", color: "line-2", dash: [8, 3] },
			{ name: "p90", label: "p90", color: "line-3", dash: [5, 3] },
			{ name: "p99", label: "p99", color: "line-4", dash: [2, 2] },
		],
	},
	{
		title: "Replicas and queue",
		note: "",
		format: format.number,
		suggestedMax: 2,
		series: [
			{ name: "ready", label: "ready", color: "line-1", stepped: true },
			{ name: "wanted", label: "wanted", color: "line-2", dash: [8, 3], stepped: true },
			{ name: "inFlight", label: "in flight", color: "line-3", dash: [5, 3] },
			{ name: "queued", label: "queued", color: "line-4", dash: [2, 2] },
		],
	},
	{
		title: "CPU",
		note: "of the request, per replica",
		format: format.percent,
		suggestedMax: 100,
		series: [
			{ name: "cpu", label: "used", color: "line-1", fill: "origin" },
			{ name: "target", label: "target", color: "line-2", dash: [8, 3] },
		],
	},
	{
		title: "Memory",
		note: "of all replicas together",
		format: format.bytes,
		binary: true,
		series: [{ name: "memory", label: "used", color: "line-1", fill: "origin" }],
	},
];

function slotColumns(now) {
	return [
		{ title: "Replica", text: (slot) => String(slot.replica) },
		{ title: "State", text: (slot) => slot.state, cellClass: (slot) => ({ ready: "good", backoff: "bad" })[slot.state] ?? "" },
		{ title: "Activity", text: (slot) => slot.activity ?? format.UNKNOWN },
		{ title: "Gen.", class: "n wide", text: (slot) => format.count(slot.generation) },
		{ title: "PID", class: "n wide", text: (slot) => (slot.pid > 0 ? String(slot.pid) : format.UNKNOWN) },
		{ title: "Since", class: "n wide", text: (slot) => (slot.since ? format.age(slot.since, now()) : format.UNKNOWN) },
		{ title: "CPU", class: "n wide", text: (slot) => (slot.cpu_seconds === undefined ? format.UNKNOWN : `${format.number(slot.cpu_seconds)} s`) },
		{ title: "Memory", class: "n", text: (slot) => format.bytes(slot.memory_bytes) },
		{ title: "Predictions", class: "n", text: (slot) => format.count(slot.predictions) },
	];
}

const DEATH_COLUMNS = [
	{ title: "When", text: (death) => format.clock(death.at) },
	{ title: "Replica", class: "n", text: (death) => String(death.replica ?? "template") },
	{ title: "Why", class: "text", text: (death) => death.text || (CAUSES[death.cause] ?? death.cause) },
];

const DECISION_COLUMNS = [
	{ title: "When", text: (decision) => format.clock(decision.at) },
	{ title: "Replicas", class: "n", text: (decision) => `${decision.from} → ${decision.to}` },
	{ title: "Why", class: "text", text: (decision) => decision.reason },
];

const LATENCY_COLUMNS = [
	{ title: "Part", text: (row) => row.name },
	{ title: "mean", class: "n", text: (row) => latency(row, "mean") },
	{ title: "p50", class: "n", text: (row) => latency(row, "p50") },
	{ title: "p90", class: "n", text: (row) => latency(row, "p90") },
	{ title: "p99", class: "n", text: (row) => latency(row, "p99") },
	{ title: "p99.9", class: "n wide", text: (row) => latency(row, "p999") },
];

function latency(row, name) {
	return row.times?.count > 0 ? format.milliseconds(row.times[name]) : format.UNKNOWN;
}

function sinceStart(list) {
	return Object.entries(list ?? {}).filter(([, n]) => n > 0);
}

export class Details {
	constructor() {
		this.now = null;
		this.charts = null;
		this.classChart = null;
		this.makeTables();
	}

	makeTables() {
		const table = (id, caption, columns, keyOf, empty) => new Table(byId(id), { caption, columns, keyOf, empty });

		this.replicas = table("replicas", "Replicas", slotColumns(() => this.now), (slot) => `${slot.generation}/${slot.replica}`, "There is no replica.");
		this.deaths = table("deaths", "Last deaths, newest first", DEATH_COLUMNS, (death) => `${format.clock(death.at)} ${death.replica}`, "No replica has died.");
		this.decisions = table("decisions", "Decisions of the scaler, newest first", DECISION_COLUMNS, (decision) => `${format.clock(decision.at)} ${decision.to}`, "The number has not changed.");
		this.latencies = table("latencies", "Time of a request, since the start", LATENCY_COLUMNS, (row) => row.name, "");
		this.classes = table(
			"tracker-table",
			"Predictions by class, most frequent first",
			[
				{ title: "Class", class: "text", text: ([name]) => name },
				{ title: "Predictions", class: "n", text: ([, n]) => format.count(n) },
			],
			([name]) => name,
			"Nothing yet.",
		);
	}

	/* Charts have a size only where there is one: they are made when the details are shown for the first time. */
	makeCharts() {
		this.charts = CHARTS.map((chart) => new LineChart(chart));
		byId("charts").prepend(...this.charts.map((chart) => chart.figure));
		this.classChart = new BarChart(byId("tracker-chart"));
	}

	/* row: {key, api, rates}; samples: its history; now: the daemon's time. */
	update({ key, api, rates }, samples, now) {
		this.now = now;
		show(byId("details"), true);
		if (!this.charts)
			this.makeCharts();
		this.drawHead(key, api);
		this.drawTiles(api, rates);
		this.charts.forEach((chart) => chart.update(samples));
		this.drawReplicas(api);
		this.drawScaling(api);
		this.drawTotals(api.metrics ?? {});
		this.drawTracker(api);
	}

	hide() {
		show(byId("details"), false);
	}

	drawHead(key, api) {
		setText(byId("details-title"), api.name);
		setText(byId("api-endpoint"), api.endpoint);
		setText(byId("api-status"), api.status);
		setClass(byId("api-status"), statusClass(api.status));
		setText(byId("api-generation"), `${api.kind}, generation ${format.count(api.generation)}${api.updated ? `, since ${format.clock(api.updated)}` : ""}`);
		setText(byId("api-message"), api.message ?? "");
		show(byId("api-message"), Boolean(api.message));
	}

	drawTiles(api, rates) {
		const metrics = api.metrics ?? {};
		const quantile = (name) => format.milliseconds(timesNow(api)[name]);

		fillList(byId("tiles"), [
			["Requests/s", format.rate(rates?.all)],
			["4XX/s", format.rate(rates?.client), rates?.client > 0 ? "warn" : ""],
			["5XX/s", format.rate(rates?.server), rates?.server > 0 ? "bad" : ""],
			["p50", quantile("p50")],
			["p90", quantile("p90")],
			["p99", quantile("p99")],
			["In flight", format.count(metrics.in_flight)],
			["Queue", format.count(metrics.queued), metrics.queued > 0 ? "warn" : ""],
			["Replicas", replicasText(api), api.replicas?.available < api.replicas?.wanted ? "warn" : ""],
			["CPU / target", `${format.count(api.cpu?.percent)} / ${format.percent(api.compute?.target_cpu_utilization)}`],
			["Memory", format.bytes(api.memory_bytes)],
		]);
	}

	drawReplicas(api) {
		const states = sinceStart(api.replicas?.by_state).filter(([state]) => state !== "empty");
		const restarts = sinceStart(api.restarts).map(([cause, n]) => `${CAUSES[cause] ?? cause}: ${format.count(n)}`);

		setText(byId("replicas-summary"), states.map(([state, n]) => `${n} ${state}`).join(", "));
		setText(byId("restarts"), restarts.length ? `Since the start: ${restarts.join(", ")}.` : "");
		show(byId("restarts"), restarts.length > 0);
		this.replicas.update((api.slots ?? []).filter((slot) => slot.state !== "empty"));
		this.deaths.update(api.deaths ?? []);
	}

	drawScaling(api) {
		const compute = api.compute ?? {};
		const limits = compute.min_replicas === compute.max_replicas ? `always ${format.count(compute.min_replicas)}` : `${format.count(compute.min_replicas)} to ${format.count(compute.max_replicas)} replicas`;
		const memory = compute.mem_bytes > 0 ? `, ${format.bytes(compute.mem_bytes)}` : "";
		const gpu = compute.gpu > 0 ? `, ${compute.gpu} GPU` : "";

		setText(byId("scaling-limits"), `${limits} of ${format.millicpu(compute.cpu_millicpu)}${memory}${gpu} each`);
		setText(byId("decision"), api.decision || "The scaler has not looked yet.");
		this.decisions.update(api.decisions ?? []);
	}

	drawTotals(metrics) {
		const requests = metrics.requests ?? {};
		const bad = (n) => (n > 0 ? "bad" : "");

		fillList(byId("totals"), [
			["2XX", format.count(requests["2xx"])],
			["3XX", format.count(requests["3xx"])],
			["4XX", format.count(requests["4xx"])],
			["5XX", format.count(requests["5xx"]), bad(requests["5xx"])],
			["predict raised", format.count(metrics.exceptions)],
			["queue was full", format.count(metrics.rejected), bad(metrics.rejected)],
			["timed out", format.count(metrics.timed_out), bad(metrics.timed_out)],
			["replica died", format.count(metrics.failed), bad(metrics.failed)],
			["client left", format.count(metrics.client_gone)],
			["connections moved", format.count(metrics.moved)],
			["received", format.bytes(metrics.bytes_in)],
			["sent", format.bytes(metrics.bytes_out)],
		]);
		this.latencies.update(["queue", "prediction", "total"].map((name) => ({ name, times: metrics.latency_ms?.[name] })));
	}

	drawTracker(api) {
		const tracker = api.tracker;
		const found = api.metrics?.tracker ?? null;
		const classes = tracker?.model_type === "classification";

		setText(byId("tracker-key"), tracker ? [tracker.model_type, tracker.key].filter(Boolean).join(" of ") : "");
		show(byId("tracker-empty"), !tracker);
		show(byId("tracker-values"), Boolean(tracker));
		show(byId("tracker-classes"), classes);
		if (classes)
			this.drawClasses(found ?? {});
		else if (tracker)
			this.drawValues(found ?? {});
	}

	drawClasses({ classes = {}, other = 0, untracked = 0 }) {
		const sorted = Object.entries(classes).sort(([, a], [, b]) => b - a);
		const all = other > 0 ? [...sorted, ["(all others)", other]] : sorted;

		fillList(byId("tracker-values"), [
			["Predictions", format.count(all.reduce((sum, [, n]) => sum + n, 0))],
			["Classes", format.count(sorted.length)],
			["Not tracked", format.count(untracked), untracked > 0 ? "warn" : ""],
		]);
		this.classChart.update(all);
		this.classes.update(all);
	}

	drawValues({ count = 0, min, max, avg, untracked = 0 }) {
		const value = (number) => (count > 0 ? format.number(number) : format.UNKNOWN);

		fillList(byId("tracker-values"), [
			["Predictions", format.count(count)],
			["Lowest", value(min)],
			["Mean", value(avg)],
			["Highest", value(max)],
			["Not tracked", format.count(untracked), untracked > 0 ? "warn" : ""],
		]);
	}
}
