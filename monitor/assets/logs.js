/*
 * logs - the tail of the log of the selected api: live, filtered, and still while it is being read.
 *
 * Lines are kept in memory up to a limit, and drawn at most a few times a second: a replica that prints all the time must not
 * make the page unusable. While paused, lines are kept but not drawn. The stream is closed while nobody can see the page:
 * a browser has only six connections to a server, for all its tabs.
 */
import { keepOpen, readLines } from "./admin.js";
import { byId, make, setText } from "./dom.js";
import { count, plural } from "./format.js";

const LINES_FIRST = 200;
const LINES_KEPT = 1000;
const LINE_LENGTH = 4000;
const DRAW_MS = 200;
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g; // colours of a terminal

/* A line as it is shown. JSON lines in the order of the text ones. */
function textOf(line) {
	let text = line;
	if (line.startsWith("{")) {
		try {
			const { time, level, role, api, replica, generation, message, ...rest } = JSON.parse(line);
			const who = [role, [api, replica].filter((part) => part !== undefined).join("/")].filter(Boolean).join(" ");
			const more = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
			text = [time, level, generation === undefined ? who : `${who} (generation ${generation})`, message, ...more].filter(Boolean).join(" ");
		} catch {
			text = line; // it only looked like JSON
		}
	}
	text = text.replace(ESCAPES, "");
	return text.length > LINE_LENGTH ? `${text.slice(0, LINE_LENGTH)} … (${plural(text.length, "character")})` : text;
}

function classOf(text) {
	const level = /^\S+\s+(error|warning|warn|info|debug|out)\b/.exec(text)?.[1];
	return { error: "line bad", warning: "line warn", warn: "line warn", debug: "line dim" }[level] ?? "line";
}

export class Logs {
	constructor() {
		this.view = byId("logs");
		this.filter = byId("logs-filter");
		this.pauseButton = byId("logs-pause");
		this.key = null;
		this.api = null;
		this.lines = [];
		this.fresh = []; // not drawn yet
		this.paused = false;
		this.begunAnew = false; // while paused: what is shown is in fresh as well
		this.timer = null;
		this.stream = null;
		this.state = "";
		this.filter.addEventListener("input", () => this.redraw());
		this.pauseButton.addEventListener("click", () => this.setPaused(!this.paused));
		byId("logs-clear").addEventListener("click", () => this.clear());
		document.addEventListener("visibilitychange", () => this.follow());
	}

	/* Show the log of this api; null: of none. */
	select(key, api) {
		if (key === this.key)
			return;
		this.key = key;
		this.api = api?.name ?? null;
		this.setPaused(false);
		this.clear();
		this.follow();
	}

	follow() {
		this.stream?.abort();
		this.stream = null;
		if (document.hidden || this.api === null)
			return;
		const stream = new AbortController();
		this.stream = stream;
		keepOpen(
			`logs?api=${encodeURIComponent(this.api)}&lines=${LINES_FIRST}&follow=1`,
			(response, alive) => this.read(response, alive, stream),
			(state, reason) => this.setState(state === "open" ? "live" : `not live: ${reason}`),
			stream.signal,
		);
	}

	/* The stream begins with the last lines again, so what is there makes room; what is being read does so later. */
	read(response, alive, stream) {
		if (this.paused)
			this.fresh = [];
		else
			this.clear();
		this.begunAnew = this.paused;
		return readLines(response, (line) => {
			alive();
			if (!stream.signal.aborted)
				this.add(line);
		});
	}

	add(line) {
		const text = textOf(line);
		this.fresh.push({ text, folded: text.toLowerCase(), class: classOf(text) });
		if (this.fresh.length > LINES_KEPT)
			this.fresh.splice(0, this.fresh.length - LINES_KEPT);
		this.timer ??= setTimeout(() => this.drawFresh(), DRAW_MS);
	}

	drawFresh() {
		this.timer = null;
		if (this.paused)
			return this.showState();
		const fresh = this.fresh;
		this.fresh = [];
		this.lines.push(...fresh);
		this.lines.splice(0, Math.max(0, this.lines.length - LINES_KEPT));
		this.append(fresh);
		this.showState();
	}

	matches(line) {
		return line.folded.includes(this.filter.value.toLowerCase());
	}

	append(lines) {
		const atEnd = this.view.scrollHeight - this.view.scrollTop - this.view.clientHeight < 30;
		const elements = lines.filter((line) => this.matches(line)).map((line) => make("div", line.class, line.text || " "));
		this.view.append(...elements);
		while (this.view.children.length > LINES_KEPT)
			this.view.firstElementChild.remove();
		if (atEnd)
			this.view.scrollTop = this.view.scrollHeight;
	}

	redraw() {
		this.view.replaceChildren();
		this.append(this.lines);
		this.view.scrollTop = this.view.scrollHeight;
		this.showState();
	}

	clear() {
		this.lines = [];
		this.fresh = [];
		this.redraw();
	}

	setPaused(paused) {
		this.paused = paused;
		this.pauseButton.setAttribute("aria-pressed", String(paused));
		if (!paused && this.begunAnew) {
			this.lines = [];
			this.redraw();
		}
		this.begunAnew = false;
		if (!paused)
			this.drawFresh();
		this.showState();
	}

	setState(state) {
		this.state = state;
		this.showState();
	}

	showState() {
		const shown = this.view.children.length;
		const lines = shown < this.lines.length ? `${count(shown)} of ${plural(this.lines.length, "line")}` : plural(shown, "line");
		setText(byId("logs-state"), this.paused ? `paused, ${plural(this.fresh.length, "new line")}` : `${this.state}, ${lines}`);
	}
}
