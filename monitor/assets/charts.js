/*
 * charts - lines over the last ten minutes, and bars of classes, drawn by Chart.js (a global of its own script).
 *
 * A picture says nothing to a screen reader, so every chart has a sentence (aria-label) and a table. Lines differ by their
 * dashes too, not by colour alone. Colours come from style.css, so they follow the theme.
 */
import { make, makeScroller, Table } from "./dom.js";
import { clock, number, plural, seconds } from "./format.js";
import { summarise } from "./history.js";

const SPAN_SECONDS = 600;
const AXES = [[15, 60], [30, 120], [60, 180], [60, 300], [120, SPAN_SECONDS]]; // step and span, in seconds
const BARS = 20;
const all = new Set();

function color(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/* After the theme has changed. */
export function repaint() {
	all.forEach((chart) => chart.paint());
}

function scaleColors() {
	return { grid: { color: color("grid"), drawBorder: false }, ticks: { color: color("dim"), font: { size: 11 } } };
}

function ago(value) {
	if (value === 0)
		return "now";
	return value > -60 ? `${-value} s` : `${Math.round(-value / 60)} min`;
}

/* The axis begins with the first sample: {min, step} in seconds, of whole steps. */
function axisOf(samples) {
	const age = samples.length ? samples.at(-1).uptime - samples[0].uptime : 0;
	const [step, span] = AXES.find(([, limit]) => age <= limit) ?? AXES.at(-1);
	return { min: -span, step };
}

/* Chart.js' own legend shows no dashes. */
function legendOf(chart) {
	return chart.data.datasets.map((dataset, i) => ({
		text: dataset.label,
		datasetIndex: i,
		hidden: !chart.isDatasetVisible(i),
		pointStyle: "line",
		strokeStyle: dataset.borderColor,
		lineDash: dataset.borderDash,
		lineWidth: 2,
		fontColor: chart.options.plugins.legend.labels.color,
	}));
}

/* Sizes in bytes have round steps where they are powers of two. */
function binaryStep(samples, name) {
	const most = Math.max(1, ...samples.map((sample) => sample[name] ?? 0));
	return 2 ** Math.ceil(Math.log2(most / 4));
}

/*
 * A figure with a line chart of a history. series: [{name, label, color, dash, fill, stepped}] where name is that of a value of a sample
 * (history.js); format(value) gives texts of its axis.
 */
export class LineChart {
	constructor({ title, note, series, format, beginsAtZero = true, stacked = false, binary = false, suggestedMax }) {
		this.title = title;
		this.binary = binary;
		this.series = series;
		this.format = format;
		this.samples = [];
		this.figure = make("figure", "card");
		this.canvas = make("canvas");
		this.canvas.setAttribute("role", "img");
		this.figure.append(this.makeCaption(title, note), this.makeFrame(), this.makeTable());
		this.chart = new window.Chart(this.canvas, this.configuration({ beginsAtZero, stacked, suggestedMax }));
		this.paint();
		all.add(this);
	}

	makeCaption(title, note) {
		const caption = make("figcaption");
		caption.append(make("h3", "", title), make("span", "dim", note));
		return caption;
	}

	makeFrame() {
		const frame = make("div", "chart");
		frame.append(this.canvas);
		return frame;
	}

	makeTable() {
		const details = make("details");
		const scroll = make("div", "scroll");
		const table = make("table");
		scroll.setAttribute("role", "region");
		scroll.setAttribute("aria-label", `${this.title}, as a table`);
		scroll.append(table);
		makeScroller(scroll);
		details.append(make("summary", "", "As a table"), scroll);
		details.addEventListener("toggle", () => this.fillTable());
		this.details = details;
		this.table = new Table(table, {
			caption: `${this.title}: means of 30 s each, newest first`,
			columns: [
				{ title: "Until", text: (row) => clock(row.at) },
				...this.series.map(({ name, label }) => ({ title: label, class: "n", text: (row) => this.format(row[name]) })),
			],
			keyOf: (row) => row.at,
			empty: "Nothing yet.",
		});
		return details;
	}

	configuration({ beginsAtZero, stacked, suggestedMax }) {
		return {
			type: "line",
			data: { datasets: this.series.map((series) => this.dataset(series)) },
			options: {
				animation: false,
				parsing: false,
				normalized: true,
				maintainAspectRatio: false,
				interaction: { mode: "index", intersect: false },
				scales: {
					x: { type: "linear", min: -SPAN_SECONDS, max: 0, ticks: { stepSize: 120, callback: ago, maxRotation: 0 } },
					y: { stacked, beginAtZero: beginsAtZero, suggestedMax, ticks: { maxTicksLimit: 5, callback: (value) => this.format(value) } },
				},
				plugins: {
					legend: { position: "bottom", labels: { usePointStyle: true, pointStyleWidth: 30, padding: 10, generateLabels: legendOf } },
					tooltip: {
						callbacks: {
							title: (items) => (items.length ? `${seconds(-items[0].parsed.x)} ago` : ""),
							label: (item) => `${item.dataset.label}: ${this.format(item.raw.y)}`,
						},
					},
				},
			},
		};
	}

	dataset({ label, dash = [], fill = false, stepped = false }) {
		return { label, data: [], borderWidth: 1.75, borderDash: dash, fill, stepped, pointRadius: 0, pointHitRadius: 8, tension: 0, spanGaps: false };
	}

	paint() {
		const { x, y } = this.chart.options.scales;

		for (const scale of [x, y]) {
			Object.assign(scale.grid, scaleColors().grid);
			Object.assign(scale.ticks, scaleColors().ticks);
		}
		this.chart.options.plugins.legend.labels.color = color("text");
		this.chart.data.datasets.forEach((dataset, i) => {
			dataset.borderColor = color(this.series[i].color);
			dataset.backgroundColor = `${color(this.series[i].color)}33`;
		});
		this.chart.update("none");
	}

	update(samples) {
		const now = samples.at(-1)?.uptime ?? 0;
		const { min, step } = axisOf(samples);

		this.samples = samples;
		this.chart.options.scales.x.min = min;
		this.chart.options.scales.x.ticks.stepSize = step;
		this.chart.data.datasets.forEach((dataset, i) => {
			const name = this.series[i].name;
			dataset.data = samples.map((sample) => ({ x: sample.uptime - now, y: sample[name] }));
		});
		if (this.binary)
			this.chart.options.scales.y.ticks.stepSize = binaryStep(samples, this.series[0].name);
		this.chart.update("none");
		this.describe();
		this.fillTable();
	}

	/* What a look at the chart tells. */
	describe() {
		const parts = this.series.map(({ name, label }) => {
			const values = this.samples.map((sample) => sample[name]).filter((value) => value !== null);
			if (!values.length)
				return `${label}: nothing yet`;
			const [low, high] = [Math.min(...values), Math.max(...values)];
			return `${label}: ${this.format(values.at(-1))}, between ${this.format(low)} and ${this.format(high)}`;
		});
		this.canvas.setAttribute("aria-label", `${this.title}, last ten minutes. ${parts.join("; ")}.`);
	}

	fillTable() {
		if (this.details.open)
			this.table.update(summarise(this.samples, this.series.map(({ name }) => name)));
	}
}

/* Bars of the most frequent classes of a tracker, in a canvas of the page. */
export class BarChart {
	constructor(canvas) {
		this.canvas = canvas;
		this.frame = canvas.parentElement;
		this.chart = new window.Chart(canvas, {
			type: "bar",
			data: { labels: [], datasets: [{ data: [], borderWidth: 0, maxBarThickness: 22 }] },
			options: {
				indexAxis: "y",
				animation: false,
				maintainAspectRatio: false,
				scales: { x: { beginAtZero: true, ticks: { precision: 0, maxTicksLimit: 6 } }, y: { ticks: { autoSkip: false } } },
				plugins: { legend: { display: false } },
			},
		});
		this.paint();
		all.add(this);
	}

	paint() {
		const { x, y } = this.chart.options.scales;

		for (const scale of [x, y]) {
			Object.assign(scale.grid, scaleColors().grid);
			Object.assign(scale.ticks, scaleColors().ticks);
		}
		y.grid.display = false;
		y.ticks.color = color("text");
		this.chart.data.datasets[0].backgroundColor = color("line-1");
		this.chart.update("none");
	}

	/* classes: [[name, predictions], ...], most frequent first. */
	update(classes) {
		const shown = classes.slice(0, BARS);
		const total = classes.reduce((sum, [, n]) => sum + n, 0);

		this.frame.style.height = `${40 + 26 * Math.max(shown.length, 2)}px`;
		this.chart.data.labels = shown.map(([name]) => (name.length > 24 ? `${name.slice(0, 23)}…` : name));
		this.chart.data.datasets[0].data = shown.map(([, n]) => n);
		this.chart.update("none");
		const texts = shown.slice(0, 5).map(([name, n]) => `${name} ${number(n)}`);
		this.canvas.setAttribute("aria-label", `Predictions by class: ${plural(classes.length, "class", "classes")}, ${plural(total, "prediction")}. ${texts.join(", ")}.`);
	}
}
