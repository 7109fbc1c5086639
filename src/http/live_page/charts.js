// The counts of each of the last seconds, as lines. In: a snapshot's history. Out: an SVG for each chart, and the same in
// words.

import { draw, find, make, put, set } from "./dom.js";
import { ADDED, CLOSED, MESSAGES, OPENED, REJECTED, REMOVED, whyNone } from "./sight.js";
import { bytes, count } from "./text.js";

const SECONDS = 180;
const HEIGHT = 100;

const CHARTS = [
  {
    title: "Messages",
    unit: "/s",
    lines: [["in", "inbound_messages", "inbound", [MESSAGES.in]], ["out", "outbound_messages", "outbound", [MESSAGES.out]]],
  },
  {
    title: "Payload",
    unit: "/s",
    format: bytes,
    lines: [["in", "inbound_bytes", "inbound", [MESSAGES.in]], ["out", "outbound_bytes", "outbound", [MESSAGES.out]]],
  },
  {
    title: "Connections",
    unit: "/s",
    lines: [["opened", "connections_opened", "inbound", OPENED], ["closed", "connections_closed", "outbound", CLOSED]],
  },
  {
    title: "Mempool",
    unit: "/s",
    lines: [
      ["added", "mempool_added", "inbound", ADDED],
      ["removed", "mempool_removed", "outbound", REMOVED],
      ["rejected", "mempool_rejected", "third", REJECTED],
    ],
  },
  // Only while there is something to see.
  { title: "Lost events", unit: "/s", lines: [["lost", "events_lost", "bad", []]], isRare: true },
];

export class Charts {
  #charts = CHARTS.map((what) => new Chart(what));

  constructor() {
    find("charts").append(...this.#charts.map((chart) => chart.figure));
  }

  show({ history, sight }) {
    for (const chart of this.#charts) chart.show(history, sight);
  }
}

class Chart {
  #what;
  #format;
  #lines;
  #top = make("span", { class: "top" });
  #half = make("span", { class: "half" });
  #when = make("span", {}, "now");
  /** Shows why there are no lines. */
  #blind = make("p", { class: "blind" });
  #cursor = draw("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
  #svg;
  /** The second under the pointer, counted from now; none if there is none. */
  #pointed = null;
  #history = null;

  constructor(what) {
    this.#what = what;
    this.#format = what.format ?? count;
    this.#lines = what.lines.map(([name, key, kind, told_by]) => ({
      name,
      key,
      tracepoints: told_by,
      why: null,
      value: make("b"),
      kind,
      area: draw("path", { class: `area ${kind}` }),
      line: draw("path", { class: `line ${kind}` }),
    }));
    const grid = [0, HEIGHT / 2, HEIGHT].map((y) => draw("line", { class: "grid", x1: 0, x2: SECONDS, y1: y, y2: y }));
    const paths = this.#lines.flatMap(({ area, line }) => [area, line]);
    const attributes = { role: "img", viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none" };
    this.#svg = draw("svg", attributes, ...grid, ...paths, this.#cursor);
    const legend = this.#lines.map(({ name, kind, value }) => make("li", { class: kind }, `${name} `, value));
    this.figure = make("figure", { class: "card chart" },
      make("figcaption", {}, make("span", { class: "name" }, `${what.title} `, make("small", {}, what.format ? "B/s" : what.unit)), make("ul", {}, ...legend)),
      make("div", { class: "plot" }, this.#svg, this.#top, this.#half, this.#blind),
      make("div", { class: "axis" }, make("span", {}, "3 min ago"), this.#when));
    this.#svg.addEventListener("pointermove", (event) => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#point(null));
  }

  show(history, sight) {
    this.#history = history;
    for (const line of this.#lines) line.why = line.tracepoints.length > 0 ? whyNone(sight, line.tracepoints) : null;
    const isBlind = this.#lines.every(({ why }) => why !== null);
    put(this.#blind, isBlind ? this.#lines[0].why : "");
    this.#blind.hidden = !isBlind;
    const values = this.#lines.map(({ key, why }) => (why === null ? history[key] : []));
    this.figure.hidden = Boolean(this.#what.isRare) && values.every((numbers) => numbers.every((number) => number === 0));
    const top = round(Math.max(...values.flat(), 2));
    put(this.#top, this.#format(top));
    put(this.#half, this.#format(top / 2));
    for (const [n, { area, line }] of this.#lines.entries()) {
      const points = shape(values[n], top);
      set(line, "d", points.line);
      set(area, "d", points.area);
    }
    const said = this.#lines.map(({ name, why }, n) => (why === null ? this.#say(name, values[n]) : `${name}: ${why}`));
    set(this.#svg, "aria-label", `${this.#what.title} a second over the last 3 minutes. ${said.join("; ")}.`);
    this.#legend();
  }

  #say(name, numbers) {
    if (numbers.length === 0) return `${name}: nothing yet`;
    return `${name}: ${this.#format(numbers.at(-1))} in the last second, ${this.#format(Math.max(...numbers))} at most`;
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    const place = event && Math.round(((event.clientX - box.left) / box.width) * (SECONDS - 1));
    this.#pointed = event && Math.min(SECONDS - 1, Math.max(0, SECONDS - 1 - place));
    this.#legend();
  }

  /** The values of the second under the pointer, or of the last one. */
  #legend() {
    const ago = this.#pointed ?? 0;
    put(this.#when, this.#pointed === null ? "now" : `${ago} s ago`);
    set(this.#cursor, "visibility", this.#pointed === null ? "hidden" : "visible");
    for (const name of ["x1", "x2"]) set(this.#cursor, name, String(x(ago)));
    for (const { key, value, why } of this.#lines) {
      const number = why === null ? this.#history?.[key].at(-1 - ago) : undefined;
      set(value, "title", why);
      put(value, number === undefined ? "\u2013" : this.#format(number));
    }
  }
}

/** The place of this many seconds ago. */
const x = (ago) => SECONDS - (ago * SECONDS) / (SECONDS - 1);

function shape(numbers, top) {
  if (numbers.length === 0) return { line: "", area: "" };
  const place = (number, n) => `${x(numbers.length - 1 - n).toFixed(2)} ${(HEIGHT - (number / top) * HEIGHT).toFixed(2)}`;
  const line = `M${numbers.map(place).join("L")}`;
  return { line, area: `${line}L${SECONDS} ${HEIGHT}L${x(numbers.length - 1).toFixed(2)} ${HEIGHT}Z` };
}

/** The next of 2, 4, 10, 20, 40, …, which have a whole half. */
function round(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 4, 10].map((step) => step * power).find((step) => step >= number);
}
