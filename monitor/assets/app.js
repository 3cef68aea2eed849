/*
 * app - the dashboard: one status of the daemon each second, drawn; the api in the address (#api=NAME) in detail.
 *
 * Works offline and without anything from elsewhere; draws text only. Other files: admin (requests), history (rates), overview,
 * details, logs, predict, charts, dom, format, theme.
 */
import { followEvents, onUnauthorized, requestJson } from "./admin.js";
import { repaint } from "./charts.js";
import { Details } from "./details.js";
import { byId, fillList, keepInStep, make, makeScroller, setClass, setText, show } from "./dom.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { Logs } from "./logs.js";
import { Overview } from "./overview.js";
import { Predict } from "./predict.js";

const LOST_MS = 60000; // what was lost longer ago is a number and no notice

const history = new History();
const overview = new Overview();
const details = new Details();
const logs = new Logs();
const predict = new Predict();
let status = null;
let lostAt = -Infinity; // when lines of output were lost while the page was there
let reloadAsked = null; // the reload whose outcome is to be shown: its number, and pid of the cortexd that does it

/* What tells apis apart: the name, and the endpoint too where two have the same name (one replaces the other). */
function keyOf(api) {
	const first = status.apis.find((other) => other.name === api.name);
	return first === api ? api.name : api.name + api.endpoint;
}

/* The key in the address; with a single api that one. */
function selectedKey() {
	const match = /^#api=(.*)$/.exec(location.hash);
	if (match) {
		try {
			return decodeURIComponent(match[1]);
		} catch {
			return match[1];
		}
	}
	return status?.apis.length === 1 ? keyOf(status.apis[0]) : null;
}

function take(next) {
	const lost = next.log?.lost_lines ?? 0;

	if (status && lost > (status.log?.lost_lines ?? 0))
		lostAt = performance.now();
	status = next;
	history.add(status, keyOf);
	if (!document.hidden)
		draw();
}

function draw() {
	if (!status)
		return;
	const selected = selectedKey();
	const rows = status.apis.map((api) => {
		const key = keyOf(api);
		return { key, api, selected: key === selected, rates: history.ratesNow(key) };
	});
	drawDaemon();
	drawNotices(rows);
	overview.update(rows);
	drawSelected(rows.find((row) => row.selected), selected);
	drawReload();
}

function drawSelected(row, key) {
	show(byId("skip"), Boolean(row));
	show(byId("nothing-selected"), !row);
	setText(byId("nothing-selected"), key === null ? "Select an API to see its replicas, times, log and more." : `There is no API "${key}".`);
	logs.select(row?.key ?? null, row?.api);
	if (!row)
		return details.hide();
	details.update(row, history.of(row.key), status.now);
	predict.select(row.key, row.api, status.listeners?.[0]);
}

function drawDaemon() {
	const host = status.host ?? {};
	const machine = [format.millicpu(host.cpu_millicpu), host.mem_bytes > 0 && format.bytes(host.mem_bytes), host.gpu > 0 && `${host.gpu} GPU`];
	const lost = status.log?.lost_lines ?? 0;
	const fetched = Object.entries(status.fetches ?? {}).filter(([, { done, failed }]) => done + failed > 0);

	document.title = `${status.deployment ? `${status.deployment} · ` : ""}cortexd`;
	setText(byId("deployment"), status.deployment ?? "");
	show(byId("daemon-state"), true);
	setText(byId("daemon-state"), status.state);
	setClass(byId("daemon-state"), status.state === "serving" ? "pill good" : "pill busy");
	fillList(byId("facts"), [
		["Up", format.seconds(status.uptime_seconds)],
		["Listens on", (status.listeners ?? []).map(({ text }) => text).join(", ") || format.UNKNOWN],
		["Connections", format.count(status.connections)],
		["Machine", machine.filter(Boolean).join(", ")],
		...fetched.map(([what, { done, failed }]) => [`Fetched ${what}`, failed ? `${done}, ${failed} failed` : String(done), failed ? "warn" : ""]),
		...(lost > 0 ? [["Lost lines", `${format.count(lost)}${status.log.text ? `: ${status.log.text}` : ""}`, "warn"]] : []),
		["Config", status.config ?? format.UNKNOWN],
		["Version", status.version ?? format.UNKNOWN],
		["PID", String(status.pid ?? format.UNKNOWN)],
	]);
}

/* What needs somebody's attention, whatever api is selected. */
function drawNotices(rows) {
	const notices = [];
	const broken = rows.filter(({ api }) => api.status.startsWith("error") || api.status === "compute unavailable");

	if (status.reload?.state === "failed")
		notices.push(`The last reload failed: ${status.reload.text || "see the log"}`);
	if (broken.length)
		notices.push(`${format.plural(broken.length, "API has", "APIs have")} a problem: ${broken.slice(0, 5).map(({ key }) => key).join(", ")}${broken.length > 5 ? " and others" : ""}`);
	if (performance.now() - lostAt < LOST_MS)
		notices.push("Lines of output were lost just now"); // how many is in the facts: a notice is spoken when it changes
	keepInStep(byId("notices"), notices, () => make("p", "notice"), setText);
}

function drawConnection(state, reason) {
	const pill = byId("connection");

	setText(pill, { open: "live", connecting: "connecting" }[state] ?? `connection lost: ${reason}; trying again`);
	setClass(pill, { open: "pill good", connecting: "pill busy" }[state] ?? "pill bad");
	document.body.classList.toggle("stale", state !== "open");
}

/* --- reloading ------------------------------------------------------------------------------------------------------ */

function sayReload(text, className = "") {
	setText(byId("reload-outcome"), text);
	setClass(byId("reload-outcome"), `outcome ${className}`);
}

async function reload() {
	sayReload("asking for a reload …");
	try {
		const { number } = await requestJson("reload", { method: "POST", headers: { "X-Cortexd": "1" } });
		reloadAsked = { number, pid: status?.pid };
		sayReload(`reload ${number} is running …`);
		drawReload();
	} catch (error) {
		sayReload(`no reload: ${error instanceof TypeError ? "cortexd cannot be reached" : error.message}`, "bad");
	}
}

function drawReload() {
	if (!reloadAsked || !status)
		return;
	const { number = 0, state, text } = status.reload ?? {};
	const asked = reloadAsked;
	asked.pid ??= status.pid;
	if (status.pid !== asked.pid) {
		reloadAsked = null;
		return sayReload(`cortexd runs anew: what came of reload ${asked.number} is in its log`, "bad");
	}
	if (number < asked.number || state === "running")
		return;
	reloadAsked = null;
	const words = state === "done" ? "done" : "failed";
	sayReload(`reload ${number} ${words}${text ? `: ${text}` : ""}`, state === "done" ? "good" : "bad");
}

/* --- the token ------------------------------------------------------------------------------------------------------ */

function askForToken(rejected) {
	const dialog = byId("token-dialog");
	const field = byId("token");

	setText(byId("token-error"), rejected ? "That token was not accepted." : "");
	field.value = "";
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.onclose = () => (dialog.returnValue ? resolve(field.value.trim()) : dialog.showModal()); // Escape closes it too
	});
}

/* No header has other characters: fetch() would fail as if nobody answered, and the token be kept. */
function checkToken(event) {
	if (/^[\x21-\x7e]+$/.test(byId("token").value.trim()))
		return;
	event.preventDefault();
	setText(byId("token-error"), "That is no token: it has a space, or a character beyond ASCII.");
}

/* --- what people do ------------------------------------------------------------------------------------------------- */

function showTheme() {
	byId("theme").setAttribute("aria-pressed", String(window.theme.isDark()));
	repaint();
}

/* Who has followed a link to an api wants to read about it: the focus, and what a screen reader says, go there. */
function selectFromAddress() {
	draw();
	if (document.activeElement?.closest("#overview") && !byId("details").hidden)
		byId("details-title").focus();
}

onUnauthorized(askForToken);
window.theme.onChange(showTheme);
window.addEventListener("hashchange", selectFromAddress);
document.addEventListener("visibilitychange", draw);
byId("token-form").addEventListener("submit", checkToken);
byId("theme").addEventListener("click", () => window.theme.toggle());
byId("reload").addEventListener("click", reload);
byId("skip").addEventListener("click", () => byId("details-title").focus());
byId("to-overview").addEventListener("click", () => {
	byId("overview-filter").focus();
	byId("overview-title").scrollIntoView({ block: "start" });
});
document.querySelectorAll(".scroll").forEach(makeScroller);
showTheme();
followEvents(take, drawConnection);
