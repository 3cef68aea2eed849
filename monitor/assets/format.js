/*
 * format - numbers, times and sizes as people read them. A value that is not known is a dash.
 */
export const UNKNOWN = "–";

function known(value) {
	return typeof value === "number" && Number.isFinite(value);
}

/* About three significant digits, never an exponent. */
export function number(value) {
	if (!known(value))
		return UNKNOWN;
	const size = Math.abs(value);
	const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
	return value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function count(value) {
	return known(value) ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : UNKNOWN;
}

/* Per second. */
export function rate(value) {
	if (!known(value))
		return UNKNOWN;
	return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

export function milliseconds(value) {
	if (!known(value))
		return UNKNOWN;
	if (value < 1)
		return `${number(Math.round(value * 1000))} µs`;
	return value < 1000 ? `${number(value)} ms` : `${number(value / 1000)} s`;
}

export function percent(value) {
	return known(value) ? `${count(value)} %` : UNKNOWN;
}

export function bytes(value) {
	if (!known(value))
		return UNKNOWN;
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let unit = 0;
	while (value >= 1024 && unit < units.length - 1) {
		value /= 1024;
		unit++;
	}
	return `${unit ? number(value) : count(value)} ${units[unit]}`;
}

/* 200 -> "0.2 CPU" */
export function millicpu(value) {
	return known(value) ? `${number(value / 1000)} CPU` : UNKNOWN;
}

export function seconds(value) {
	if (!known(value))
		return UNKNOWN;
	if (value < 60)
		return `${Math.max(0, Math.floor(value))} s`;
	if (value < 3600)
		return `${Math.floor(value / 60)} min`;
	if (value < 86400)
		return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
	return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

/* "3 min": how long before `now` (both ISO times, both of the daemon's clock). */
export function age(iso, now) {
	return seconds((Date.parse(now) - Date.parse(iso)) / 1000);
}

/* The time of day, with the date when it is not today's. */
export function clock(iso) {
	const date = new Date(iso);
	if (Number.isNaN(date.getTime()))
		return UNKNOWN;
	const time = date.toLocaleTimeString("en-GB");
	return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString("en-CA")} ${time}`;
}

export function plural(n, one, many = `${one}s`) {
	return `${count(n)} ${n === 1 ? one : many}`;
}
