// Peers and commands as sortable tables. In: snapshots. Rows stay the same elements, in place where possible. The address of the
// page has the sorting and the search, so that they survive a reload and can be bookmarked.

import { find, keep, make, put, putForeign, putNone, set } from "./dom.js";
import { MESSAGES, OPENED, whyNone } from "./sight.js";
import { NONE, bytes, count, dateAndTime, duration, exact, latency, plural, rate } from "./text.js";

/** More rows help nobody, and are slow. */
const MOST_ROWS = 500;

/** A word of the address. */
const asked = (name) => new URLSearchParams(location.hash.slice(1)).get(name);

function ask(name, value) {
  const words = new URLSearchParams(location.hash.slice(1));
  if (value) words.set(name, value);
  else words.delete(name);
  history.replaceState(null, "", `#${words}`);
}

/** Compares numbers by size, texts as people do. Unknown values come last in both directions. */
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
}

/** Columns have: name, label, value to sort by, how to show it, whether it is a number. */
class Table {
  #table;
  #name;
  #columns;
  #key;
  #body = make("tbody");
  #heads;
  #rows = new Map();
  #items = [];
  #sorted;
  #sign;

  constructor(table, name, columns, key, otherwise) {
    this.#table = table;
    this.#name = name;
    this.#columns = columns;
    this.#key = key;
    this.#heads = columns.map((column) => {
      const button = make("button", { type: "button" }, column.label);
      button.addEventListener("click", () => this.#sort(column));
      const head = make("th", { scope: "col", class: this.#class(column) }, button);
      if (column.title) head.title = column.title;
      return head;
    });
    table.append(make("thead", {}, make("tr", {}, ...this.#heads)), this.#body);
    const read = () => {
      const words = asked(name) ?? otherwise;
      this.#sorted = columns.find((column) => column.name === words.replace(/^-/, "")) ?? columns[0];
      this.#sign = words.startsWith("-") ? -1 : 1;
      this.#arrange();
    };
    window.addEventListener("hashchange", read);
    read();
  }

  show(items) {
    this.#items = items;
    this.#arrange();
  }

  #sort(column) {
    // The first click puts what matters most on top: the largest number.
    const first = column.isNumber && !column.isAscending ? -1 : 1;
    this.#sign = this.#sorted === column ? -this.#sign : first;
    this.#sorted = column;
    ask(this.#name, (this.#sign < 0 ? "-" : "") + column.name);
    this.#arrange();
  }

  #arrange() {
    for (const [n, head] of this.#heads.entries()) {
      const order = this.#sign < 0 ? "descending" : "ascending";
      set(head, "aria-sort", this.#columns[n] === this.#sorted ? order : null);
    }
    const { value } = this.#sorted;
    const keyed = this.#items.map((item) => [value(item), item]);
    keyed.sort(([a, one], [b, other]) => compare(a, b, this.#sign) || compare(this.#key(one), this.#key(other), 1));
    const items = keyed.slice(0, MOST_ROWS).map(([, item]) => item);
    const row = () => make("tr", {}, ...this.#columns.map((column) => make("td", { class: this.#class(column) })));
    keep(this.#body, this.#rows, items, this.#key, row, (row, item) => {
      for (const [n, column] of this.#columns.entries()) column.show(row.children[n], item);
    });
  }

  #class({ name, isNumber }) {
    return isNumber ? `number ${name}` : name;
  }

  hide(name, isHidden) {
    this.#table.classList.toggle(`without-${name}`, isHidden);
  }
}

const number = (name, label, value, format, more = {}) => ({
  name,
  label,
  value,
  isNumber: true,
  show: (cell, item) => put(cell, format(value(item))),
  ...more,
});

/** A rate with a bar below it, relative to the largest rate. The title has the number of messages. */
function barred(column, direction, largest) {
  const show = (cell, item) => {
    column.show(cell, item);
    set(cell, "title", `${plural(item[direction].messages, "message")} so far`);
    cell.style.setProperty("--share", Math.min(1, column.value(item) / largest()).toFixed(3));
  };
  return { ...column, show };
}

export class Peers {
  #table;
  #peers = [];
  #time = 0;
  #busiest = 1;
  #isBlind = false;
  #search = find("search");

  constructor() {
    const largest = () => this.#busiest;
    const columns = [
      number("id", "Peer", (peer) => peer.id, String, { isAscending: true, show: showId }),
      { name: "address", label: "Address", value: (peer) => peer.address, show: (cell, peer) => putForeign(cell, peer.address ?? "") },
      barred(number("in", "In /s", (peer) => peer.inbound.messages_per_second, rate, { title: "Messages a second from the peer, mean of 10 s" }), "inbound", largest),
      barred(number("out", "Out /s", (peer) => peer.outbound.messages_per_second, rate, { title: "Messages a second to the peer, mean of 10 s" }), "outbound", largest),
      { name: "agent", label: "User agent", value: (peer) => peer.user_agent, show: showAgent },
      { name: "type", label: "Type", value: (peer) => peer.connection_type, show: (cell, peer) => put(cell, peer.connection_type) },
      { name: "network", label: "Network", value: (peer) => peer.network, show: (cell, peer) => put(cell, peer.network) },
      number("age", "Age", (peer) => this.#age(peer), String, { show: (cell, peer) => this.#showAge(cell, peer) }),
      number("ping", "Ping", (peer) => peer.ping, latency, { show: showPing, isAscending: true }),
      number("received", "Msgs in", (peer) => peer.inbound.messages, count, { title: "Messages from the peer" }),
      number("sent", "Msgs out", (peer) => peer.outbound.messages, count, { title: "Messages to the peer" }),
      number("bytes-in", "Bytes in", (peer) => peer.inbound.bytes, bytes, { title: "Payloads from the peer" }),
      number("bytes-out", "Bytes out", (peer) => peer.outbound.bytes, bytes, { title: "Payloads to the peer" }),
    ];
    this.#table = new Table(find("peers-table"), "sort", columns, (peer) => peer.id, "-in");
    this.#search.value = asked("search") ?? "";
    this.#search.addEventListener("input", () => {
      ask("search", this.#search.value);
      this.#arrange();
    });
    window.addEventListener("hashchange", () => {
      this.#search.value = asked("search") ?? "";
      this.#arrange();
    });
  }

  show({ peers, time, sight }) {
    this.#peers = peers;
    this.#isBlind = whyNone(sight, [MESSAGES.in, MESSAGES.out, ...OPENED]) !== null;
    this.#time = time;
    const rates = peers.flatMap(({ inbound, outbound }) => [inbound.messages_per_second, outbound.messages_per_second]);
    this.#busiest = rates.reduce((most, rate) => Math.max(most, rate), 1);
    this.#table.hide("address", peers.length > 0 && peers.every((peer) => peer.address === null));
    this.#arrange();
  }

  #arrange() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = ({ id, address, user_agent, connection_type, network }) =>
      `${id} ${address ?? ""} ${user_agent ?? ""} ${connection_type} ${network}`.toLowerCase();
    const found = words.length === 0 ? this.#peers : this.#peers.filter((peer) => {
      const all = text(peer);
      return words.every((word) => all.includes(word));
    });
    this.#table.show(found);
    const [shown, all] = [Math.min(found.length, MOST_ROWS), this.#peers.length];
    const rest = found.length > shown ? `, ${exact(shown)} of them shown: search for the others` : "";
    put(find("peers-shown"), this.#isBlind ? "" : (words.length > 0 ? `${exact(found.length)} of ${exact(all)}` : exact(all)) + rest);
  }

  #age(peer) {
    return peer.opened === null ? null : this.#time - peer.opened;
  }

  #showAge(cell, peer) {
    if (peer.opened === null) {
      putNone(cell, NONE, `Older than the attachment; first seen at ${dateAndTime(peer.seen)}`);
      return;
    }
    put(cell, duration(this.#time - peer.opened));
    set(cell, "title", `Since ${dateAndTime(peer.opened)}`);
  }
}

function showId(cell, { id, offences }) {
  put(cell, offences ? `${id} (!)` : String(id));
  set(cell, "title", offences ? `The node reported its misbehaviour ${plural(offences, "time")}` : null);
  cell.classList.toggle("offender", offences > 0);
}

function showAgent(cell, { user_agent }) {
  if (user_agent === null) putNone(cell, NONE, "Its version message came before the attachment, or has not come yet");
  else if (user_agent === "") putNone(cell, "(empty)", "The peer sent an empty user agent");
  else putForeign(cell, user_agent);
}

function showPing(cell, { ping, min_ping }) {
  put(cell, ping === null ? NONE : latency(ping));
  set(cell, "title", min_ping === null ? "The peer has not answered a ping of the node yet" : `Shortest: ${latency(min_ping)}`);
}

export class Commands {
  #table;
  #busiest = 1;

  constructor() {
    const largest = () => this.#busiest;
    const columns = [
      { name: "command", label: "Command", value: (it) => it.command, show: (cell, it) => put(cell, it.command) },
      barred(number("in", "In /s", (it) => it.inbound.messages_per_second, rate), "inbound", largest),
      barred(number("out", "Out /s", (it) => it.outbound.messages_per_second, rate), "outbound", largest),
      number("received", "Msgs in", (it) => it.inbound.messages, count),
      number("sent", "Msgs out", (it) => it.outbound.messages, count),
      number("bytes-in", "Bytes in", (it) => it.inbound.bytes, bytes),
      number("bytes-out", "Bytes out", (it) => it.outbound.bytes, bytes),
    ];
    this.#table = new Table(find("commands-table"), "commands", columns, (it) => it.command, "-in");
  }

  show({ commands }) {
    const rates = commands.flatMap(({ inbound, outbound }) => [inbound.messages_per_second, outbound.messages_per_second]);
    this.#busiest = rates.reduce((most, rate) => Math.max(most, rate), 1);
    this.#table.show(commands);
  }
}
