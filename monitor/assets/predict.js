/*
 * predict - the form that sends a sample to the selected api, through the monitor, and shows its answer as it is.
 */
import { request } from "./admin.js";
import { byId, setClass, setText, show } from "./dom.js";
import { bytes, milliseconds } from "./format.js";

const ANSWER_LENGTH = 100000;

/* What does the same in a terminal. The text of a listener on a unix socket is unix:PATH. */
function commandFor(api, { text = "", url = "" }) {
	const socket = text.startsWith("unix:") ? `--unix-socket '${text.slice(5).replaceAll("'", "'\\''")}' ` : "";
	return `curl ${socket}-X POST -H 'Content-Type: application/json' -d @sample.json ${url}${api.endpoint}`;
}

export class Predict {
	constructor() {
		this.form = byId("predict");
		this.sample = byId("sample");
		this.api = null;
		this.running = null;
		this.form.addEventListener("submit", (event) => {
			event.preventDefault();
			this.send();
		});
		this.sample.addEventListener("keydown", (event) => {
			if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
				this.form.requestSubmit();
		});
		this.sample.addEventListener("input", () => this.edited());
		byId("cancel").addEventListener("click", () => this.running?.abort());
	}

	/* Another api has another sample; listener is where clients reach it. */
	select(key, api, listener) {
		setText(byId("curl"), commandFor(api, listener ?? {}));
		if (key === this.key)
			return;
		this.key = key;
		this.api = api.name;
		this.running?.abort();
		this.running = null;
		show(byId("cancel"), false);
		this.sample.value = this.kept() ?? "{}";
		setText(byId("answer-status"), "");
		show(byId("answer"), false);
		this.showHint();
	}

	kept() {
		try {
			return sessionStorage.getItem(`cortexd-sample-${this.key}`);
		} catch {
			return null;
		}
	}

	edited() {
		this.showHint();
		try {
			sessionStorage.setItem(`cortexd-sample-${this.key}`, this.sample.value);
		} catch {
			return; // then it is not kept
		}
	}

	showHint() {
		let problem = "";
		try {
			JSON.parse(this.sample.value);
		} catch (error) {
			problem = error.message;
		}
		setText(byId("sample-hint"), problem ? `This is not JSON: ${problem}` : "Ctrl+Enter sends it.");
		setClass(byId("sample-hint"), problem ? "hint warn" : "hint");
	}

	async send() {
		if (this.running)
			return;
		const running = new AbortController();
		const begin = performance.now();
		this.running = running;
		show(byId("cancel"), true);
		this.say("sending …", "");
		try {
			const debug = byId("debug").checked ? "&debug=true" : "";
			const response = await request(`predict?api=${encodeURIComponent(this.api)}${debug}`, {
				method: "POST",
				headers: { "Content-Type": "application/json" },
				body: this.sample.value,
				signal: running.signal,
			});
			const text = await response.text();
			this.end(running, () => this.showAnswer(response, text, performance.now() - begin));
		} catch (error) {
			this.end(running, () => this.showFailure(error));
		}
	}

	/* What it has come to, unless another api was selected meanwhile. */
	end(running, showOutcome) {
		if (this.running !== running)
			return;
		this.running = null;
		show(byId("cancel"), false);
		showOutcome();
	}

	say(text, className) {
		setText(byId("answer-status"), text);
		setClass(byId("answer-status"), `outcome ${className}`);
	}

	showAnswer(response, text, elapsed) {
		const size = bytes(new Blob([text]).size);
		const cut = text.length > ANSWER_LENGTH ? `${text.slice(0, ANSWER_LENGTH)} …` : text;
		this.say(`${response.status} ${response.statusText} after ${milliseconds(elapsed)}, ${size}`, response.ok ? "good" : "bad");
		setText(byId("answer"), cut);
		show(byId("answer"), text !== "");
	}

	showFailure(error) {
		show(byId("answer"), false);
		if (error.name === "AbortError")
			this.say("cancelled", "");
		else
			this.say(`no answer: ${error instanceof TypeError ? "cortexd cannot be reached" : error.message}`, "bad");
	}
}
