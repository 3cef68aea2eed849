/*
 * theme - light or dark, decided before anything is drawn.
 *
 * The system's wish holds until somebody presses the button; the choice is kept in this browser, and forgotten when it is
 * what the system wants anyway. Not a module: it must have run before the page is drawn for the first time.
 */
"use strict";

window.theme = (() => {
	const KEY = "cortexd-theme";
	const system = window.matchMedia("(prefers-color-scheme: dark)");
	const listeners = [];

	function stored() {
		try {
			return localStorage.getItem(KEY);
		} catch {
			return null; // storage is forbidden in this browser
		}
	}

	function isDark() {
		const choice = document.documentElement.dataset.theme;
		return choice ? choice === "dark" : system.matches;
	}

	function choose(name) {
		if (name === "light" || name === "dark")
			document.documentElement.dataset.theme = name;
		else
			delete document.documentElement.dataset.theme;
		listeners.forEach((listener) => listener());
	}

	function toggle() {
		const name = isDark() ? "light" : "dark";
		const choice = (name === "dark") === system.matches ? null : name;

		choose(choice);
		try {
			if (choice)
				localStorage.setItem(KEY, choice);
			else
				localStorage.removeItem(KEY);
		} catch {
			return; // then it is not kept
		}
	}

	choose(stored());
	system.addEventListener("change", () => listeners.forEach((listener) => listener()));
	return { isDark, toggle, onChange: (listener) => listeners.push(listener) };
})();
