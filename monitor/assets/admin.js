/*
 * admin - talking to the monitor: requests with a token, and streams that come back.
 *
 * EventSource cannot send headers, so streams are read with fetch(). Over the daemon's unix socket nobody asks for a token;
 * over TCP the first answer is 401, and then whoever set onUnauthorized is asked for one, once for all that wait.
 */
const TOKEN = "cortexd-token";
const SILENCE_MS = 15000; // a stream of events that says nothing for so long is lost
const HIDDEN_MS = 60000; // nobody has seen the page for so long: it makes room for others
const FIRST_DELAY_MS = 500;
const LIMIT_DELAY_MS = 10000;

let token = readToken();
let asking = null;
let askForToken = () => Promise.reject(new Error("a token is needed"));

export class Refused extends Error {
	constructor(response, text) {
		super(text.trim() || `${response.status} ${response.statusText}`);
		this.status = response.status;
	}
}

function readToken() {
	try {
		return sessionStorage.getItem(TOKEN);
	} catch {
		return null;
	}
}

function keepToken(value) {
	token = value;
	try {
		sessionStorage.setItem(TOKEN, value);
	} catch {
		return; // then it is kept until the page is loaded again
	}
}

/* ask(rejected): a promise of a token; rejected: there was one, and it was not accepted. */
export function onUnauthorized(ask) {
	askForToken = ask;
}

function renewToken(used) {
	if (token !== used)
		return Promise.resolve(); // another request has asked meanwhile
	asking ??= askForToken(Boolean(used)).then(keepToken).finally(() => (asking = null));
	return asking;
}

/* fetch() with the token; asks for another one as long as it is refused. The answer may have any other status. */
export async function request(path, options = {}) {
	for (;;) {
		const used = token;
		const headers = { ...options.headers, ...(used ? { Authorization: `Bearer ${used}` } : {}) };
		const response = await fetch(path, { cache: "no-store", ...options, headers });
		if (response.status !== 401)
			return response;
		await response.body?.cancel();
		await renewToken(used);
	}
}

/* The JSON of an answer; Refused when its status is not 2xx. */
export async function requestJson(path, options) {
	const response = await request(path, options);
	const text = await response.text();
	if (!response.ok)
		throw new Refused(response, errorText(text));
	return JSON.parse(text);
}

/* What an answer that is no success says: {"error": "..."} or the text itself. */
function errorText(text) {
	try {
		const value = JSON.parse(text);
		return String(value.error ?? value.message ?? text);
	} catch {
		return text;
	}
}

/* Give every whole line of a stream to take(line). A line longer than limit comes in parts. */
export async function readLines(response, take, limit = 1 << 20) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { done, value } = await reader.read();
		if (done)
			break;
		const lines = (rest + value).split("\n");
		rest = lines.pop();
		lines.forEach((line) => take(line.replace(/\r$/, "")));
		if (rest.length > limit) {
			take(rest);
			rest = "";
		}
	}
	if (rest)
		take(rest);
}

function pause(ms, signal) {
	return new Promise((resolve) => {
		const end = () => {
			clearTimeout(timer);
			signal.removeEventListener("abort", end);
			resolve();
		};
		const timer = setTimeout(end, ms);
		signal.addEventListener("abort", end);
	});
}

/*
 * Keep a stream open until signal is aborted: read(response) is called with each answer that is a success, and the path is
 * asked for again when it ends, at growing intervals. onState(state, reason): "open" or "lost".
 */
export async function keepOpen(path, read, onState, signal) {
	let delay = FIRST_DELAY_MS;
	while (!signal.aborted) {
		let reason = "the connection was closed";
		try {
			const response = await request(path, { signal });
			if (!response.ok)
				throw new Refused(response, errorText(await response.text()));
			onState("open");
			await read(response, () => (delay = FIRST_DELAY_MS));
		} catch (error) {
			reason = error instanceof TypeError ? "cortexd does not answer" : error.message;
		}
		if (signal.aborted)
			return;
		onState("lost", reason);
		await pause(delay * (0.75 + Math.random() / 2), signal);
		delay = Math.min(2 * delay, LIMIT_DELAY_MS);
	}
}

/*
 * Give every status of GET /events to take(status). Not while the page has been hidden for a while: a browser has only six
 * connections to a server, for all its tabs. Then onState("connecting") when it is seen again.
 */
export function followEvents(take, onState) {
	let stream = null;
	let timer = null;
	const open = () => {
		stream = new AbortController();
		onState("connecting");
		keepOpen("events", (response, alive) => readEvents(response, take, alive), onState, stream.signal);
	};
	const close = () => {
		stream.abort();
		stream = null;
	};
	const look = () => {
		clearTimeout(timer);
		if (!document.hidden && !stream)
			open();
		else if (document.hidden && stream)
			timer = setTimeout(close, HIDDEN_MS);
	};

	document.addEventListener("visibilitychange", look);
	open();
	look();
}

async function readEvents(response, take, alive) {
	let event = "";
	let data = [];
	const body = stopWhenSilent(response);
	await readLines(body, (line) => {
		alive();
		if (line.startsWith("event:"))
			event = line.slice(6).trim();
		else if (line.startsWith("data:"))
			data.push(line.slice(5).replace(/^ /, ""));
		if (line !== "")
			return;
		if (event === "status" && data.length)
			take(JSON.parse(data.join("\n")));
		event = "";
		data = [];
	}, 64 << 20);
}

/* The same answer, whose body fails when nothing has come for a while: a machine that is gone does not say so. */
function stopWhenSilent(response) {
	let timer;
	const watch = (controller) => {
		clearTimeout(timer);
		timer = setTimeout(() => controller.error(new Error("cortexd has gone silent")), SILENCE_MS);
	};
	const watched = new TransformStream({
		start: watch,
		transform(chunk, controller) {
			watch(controller);
			controller.enqueue(chunk);
		},
		flush: () => clearTimeout(timer),
	});
	return { body: response.body.pipeThrough(watched) };
}
