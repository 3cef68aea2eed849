/*
 * overview - the table of all apis: one line each, sorted and filtered as wanted; a link selects one.
 */
import { byId, make, setClass, setText, Table } from "./dom.js";
import * as format from "./format.js";
import { timesNow } from "./history.js";

const STATUS_ORDER = ["error", "error (out of memory)", "compute unavailable", "stopped", "stopping", "creating", "pending", "updating", "live"];

/* Good, bad or on its way: the class of a pill. The words say it as well. */
export function statusClass(status) {
	if (status === "live")
		return "pill good";
	if (status.startsWith("error") || status === "compute unavailable")
		return "pill bad";
	return "pill busy";
}

/*
 * Columns: text(row) is shown, value(row) is what is sorted by; biggest first when `down`. A row is {key, api, rates}.
 */
const COLUMNS = [
	{ title: "API", value: (row) => row.key, fill: fillName },
	{ title: "Status", value: (row) => STATUS_ORDER.indexOf(row.api.status), fill: fillStatus },
	{ title: "Replicas", class: "n", down: true, value: (row) => row.api.replicas?.available, text: (row) => replicasText(row.api) },
	{ title: "Requests/s", class: "n", down: true, value: (row) => row.rates?.all, text: (row) => format.rate(row.rates?.all) },
	{ title: "5XX/s", class: "n wide", down: true, value: (row) => row.rates?.server, text: (row) => format.rate(row.rates?.server), cellClass: (row) => (row.rates?.server > 0 ? "bad" : "") },
	{ title: "p50", class: "n wide", down: true, value: (row) => quantile(row, "p50"), text: (row) => format.milliseconds(quantile(row, "p50")) },
	{ title: "p99", class: "n", down: true, value: (row) => quantile(row, "p99"), text: (row) => format.milliseconds(quantile(row, "p99")) },
	{ title: "Queue", class: "n wide", down: true, value: (row) => row.api.metrics?.queued, text: (row) => format.count(row.api.metrics?.queued) },
	{ title: "CPU", class: "n wide", down: true, value: (row) => row.api.cpu?.percent, text: (row) => format.percent(row.api.cpu?.percent) },
	{ title: "Memory", class: "n wide", down: true, value: (row) => row.api.memory_bytes, text: (row) => format.bytes(row.api.memory_bytes) },
	{ title: "Endpoint", class: "wider", value: (row) => row.api.endpoint, text: (row) => row.api.endpoint },
];

export function replicasText(api) {
	return `${format.count(api.replicas?.available)} / ${format.count(api.replicas?.wanted)}`;
}

function quantile(row, name) {
	return timesNow(row.api)[name] ?? null;
}

function fillName(cell, row) {
	const link = cell.firstElementChild ?? cell.appendChild(make("a"));
	const address = `#api=${encodeURIComponent(row.key)}`;

	setText(link, row.key);
	if (link.getAttribute("href") !== address)
		link.setAttribute("href", address);
	if (row.selected)
		link.setAttribute("aria-current", "true");
	else
		link.removeAttribute("aria-current");
	cell.parentElement.classList.toggle("selected", row.selected);
}

function fillStatus(cell, row) {
	const pill = cell.firstElementChild ?? cell.appendChild(make("span"));

	setText(pill, row.api.status);
	setClass(pill, statusClass(row.api.status));
}

function compare(a, b) {
	if (typeof a === "string" && typeof b === "string")
		return a.localeCompare(b, "en", { numeric: true });
	return (a ?? -Infinity) - (b ?? -Infinity);
}

export class Overview {
	constructor() {
		this.rows = [];
		this.sort = null; // {column, down}; null: the order of the config
		this.filter = byId("overview-filter");
		this.table = new Table(byId("overview"), {
			caption: "APIs; the name selects one",
			columns: COLUMNS,
			keyOf: (row) => row.key,
			empty: "No API.",
		});
		this.headings = [...this.table.head.children];
		this.headings.forEach((heading, i) => this.makeSortable(heading, COLUMNS[i]));
		this.filter.addEventListener("input", () => this.draw());
		this.table.body.addEventListener("keydown", (event) => this.move(event));
	}

	makeSortable(heading, column) {
		const button = make("button", "sort", column.title);
		button.type = "button";
		button.addEventListener("click", () => this.sortBy(column));
		heading.replaceChildren(button);
	}

	/* The wanted direction first, then the other one, then the order of the config. */
	sortBy(column) {
		const first = Boolean(column.down);
		if (this.sort?.column !== column)
			this.sort = { column, down: first };
		else
			this.sort = this.sort.down === first ? { column, down: !first } : null;
		this.headings.forEach((heading, i) => {
			if (this.sort?.column === COLUMNS[i])
				heading.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
			else
				heading.removeAttribute("aria-sort");
		});
		this.draw();
	}

	/* Arrow keys go from name to name. */
	move(event) {
		const links = [...this.table.body.querySelectorAll("a")];
		const at = links.indexOf(document.activeElement);
		const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
		if (at < 0 || to === undefined)
			return;
		event.preventDefault();
		links[to]?.focus();
	}

	update(rows) {
		this.rows = rows;
		this.draw();
	}

	draw() {
		const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
		const matches = ({ api }) => words.every((word) => `${api.name} ${api.endpoint} ${api.status}`.toLowerCase().includes(word));
		const rows = this.rows.filter(matches);
		if (this.sort) {
			const { column, down } = this.sort;
			rows.sort((a, b) => compare(column.value(a), column.value(b)) * (down ? -1 : 1));
		}
		setText(this.table.empty.firstElementChild, this.rows.length ? "No API matches the filter." : "There is no API in the config.");
		setText(byId("overview-count"), this.countText(rows.length));
		this.table.update(rows);
	}

	countText(shown) {
		const live = this.rows.filter(({ api }) => api.status === "live").length;
		const text = `${live} of ${this.rows.length} live`;
		return shown === this.rows.length ? text : `${text}, ${shown} shown`;
	}
}
