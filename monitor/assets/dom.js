/*
 * dom - making and changing elements. What the daemon says becomes text, never HTML.
 *
 * Everything is changed in place and only where it differs: the page is drawn anew each second, and neither the focus, a
 * selection nor a position in a scrolled table may be lost by that.
 */
export function byId(id) {
	return document.getElementById(id);
}

export function make(tag, className = "", text = "") {
	const element = document.createElement(tag);
	if (className)
		element.className = className;
	if (text)
		element.textContent = text;
	return element;
}

export function setText(element, text) {
	if (element.textContent !== text)
		element.textContent = text;
}

export function setClass(element, className) {
	if (element.className !== className)
		element.className = className;
}

export function show(element, shown) {
	if (element.hidden === shown)
		element.hidden = !shown;
}

/* The keyboard reaches what has more than fits, and does not stop at what has not. */
export function makeScroller(element) {
	const observer = new ResizeObserver(() => {
		const scrolls = element.scrollHeight > element.clientHeight || element.scrollWidth > element.clientWidth;
		if (scrolls)
			element.tabIndex = 0;
		else if (document.activeElement !== element)
			element.removeAttribute("tabindex");
	});
	observer.observe(element);
	observer.observe(element.firstElementChild);
}

/* As many children as items: made by create(), brought up to date by update(child, item). */
export function keepInStep(parent, items, create, update) {
	while (parent.children.length > items.length)
		parent.lastElementChild.remove();
	while (parent.children.length < items.length)
		parent.append(create());
	items.forEach((item, i) => update(parent.children[i], item));
}

/* Terms and values: [[term, text, class of the value], ...]. */
export function fillList(list, items) {
	const create = () => {
		const group = make("div");
		group.append(make("dt"), make("dd"));
		return group;
	};
	keepInStep(list, items, create, (group, [term, text, className = ""]) => {
		setText(group.firstElementChild, term);
		setText(group.lastElementChild, text);
		setClass(group.lastElementChild, className);
	});
}

/*
 * A table whose rows come and go. columns: [{title, class, text(row)} or {title, class, fill(cell, row)}]; the first is the
 * heading of its row. keyOf(row): what tells it from other rows. Cells may also have cellClass(row).
 */
export class Table {
	constructor(table, { caption, columns, keyOf, empty }) {
		this.columns = columns;
		this.keyOf = keyOf;
		this.rows = new Map();
		this.head = make("tr");
		this.body = make("tbody");
		this.empty = this.makeEmpty(empty);
		const head = make("thead");
		head.append(this.head);
		this.head.append(...columns.map((column) => this.makeHeading(column)));
		table.replaceChildren(make("caption", "hidden", caption), head, this.body);
	}

	makeHeading(column) {
		const heading = make("th", column.class, column.title);
		heading.scope = "col";
		return heading;
	}

	makeEmpty(text) {
		const row = make("tr", "empty");
		const cell = make("td", "", text);
		cell.colSpan = this.columns.length;
		row.append(cell);
		return row;
	}

	makeRow() {
		const row = make("tr");
		this.columns.forEach((column, i) => {
			const cell = make(i ? "td" : "th", column.class);
			if (!i)
				cell.scope = "row";
			row.append(cell);
		});
		return row;
	}

	fillRow(element, row) {
		this.columns.forEach((column, i) => {
			const cell = element.children[i];
			if (column.fill)
				column.fill(cell, row);
			else
				setText(cell, column.text(row));
			if (column.cellClass)
				setClass(cell, `${column.class ?? ""} ${column.cellClass(row)}`.trim());
		});
	}

	freeKey(row) {
		let key = String(this.keyOf(row));
		while (this.rows.has(key))
			key += "'";
		return key;
	}

	/* The rows in this order; those that are gone are removed. */
	update(rows) {
		const before = this.rows;
		const focus = document.activeElement;
		this.rows = new Map();
		rows.forEach((row, i) => {
			const key = this.freeKey(row);
			const element = before.get(key) ?? this.makeRow();
			before.delete(key);
			this.rows.set(key, element);
			this.fillRow(element, row);
			if (this.body.children[i] !== element)
				this.body.insertBefore(element, this.body.children[i] ?? null);
		});
		before.forEach((element) => element.remove());
		if (rows.length)
			this.empty.remove();
		else
			this.body.append(this.empty);
		if (focus && focus !== document.activeElement && this.body.contains(focus))
			focus.focus({ preventScroll: true }); // it was lost by moving its row
	}
}
