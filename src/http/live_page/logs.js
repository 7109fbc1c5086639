// What happened last: connections, blocks, and what the mempool did not take. Takes snapshots; what is new comes on top.

import { find, keep, make, put, putForeign } from "./dom.js";
import { count, dateAndTime, duration, exact, latency, timeOfDay } from "./text.js";

/** How much of a hash is shown. */
const HASH = 16;

export class Logs {
  #logs = ["connections", "blocks", "mempool"].map((name) => new Log(name));

  show(snapshot) {
    const { totals } = snapshot;
    const notes = {
      connections: `${count(totals.connections_opened)} opened, ${count(totals.connections_closed)} closed, ${count(totals.connections_evicted)} evicted so far`,
      blocks: `${count(totals.blocks_connected)} so far`,
      mempool: `${count(totals.mempool_rejected)} rejected, ${count(totals.mempool_replaced)} replaced so far`,
    };
    for (const log of this.#logs) log.show(snapshot[log.name], notes[log.name]);
  }
}

class Log {
  #list;
  #note;
  #lines = new Map();
  #isFirst = true;

  constructor(name) {
    this.name = name;
    this.#list = find(`${name}-log`);
    this.#note = find(`${name}-note`);
  }

  show(happenings, note) {
    put(this.#note, note);
    const create = (happening) => line(happening, !this.#isFirst);
    // Nothing changes in what has happened.
    keep(this.#list, this.#lines, happenings, ({ number, time }) => `${number} ${time}`, create, () => {});
    this.#isFirst = false;
    this.#list.classList.toggle("empty", happenings.length === 0);
  }
}

function line(happening, isNew) {
  const [kind, name, ...words] = told(happening);
  const time = make("time", { datetime: new Date(happening.time * 1000).toISOString(), title: dateAndTime(happening.time) }, timeOfDay(happening.time));
  const badge = make("span", { class: `badge ${kind}` }, name);
  return make("li", isNew ? { class: "new" } : {}, time, badge, make("span", { class: "words" }, ...words.filter(Boolean)));
}

/** Kind, name, and what else there is to say. */
function told(it) {
  switch (it.what) {
    case "node_attached":
      return ["good", "attached", `to the node, pid ${it.pid}`];
    case "node_detached":
      return ["bad", "detached", it.why];
    case "opened":
      return ["opened", "opened", ...who(it)];
    case "closed":
      return ["closed", "closed", ...who(it), after(it), it.user_agent && foreign(it.user_agent)];
    case "evicted":
      return ["warn", "evicted", ...who(it), after(it)];
    case "misbehaving":
      return ["bad", "misbehaving", part("id", `#${it.id}`), it.address && foreign(it.address), foreign(it.reason)];
    case "block_connected":
      return ["good", exact(it.height), hash(it.hash), part("dim", `${exact(it.transactions)} transactions, connected in ${latency(it.connection_seconds)}`)];
    case "rejected":
      return ["warn", "rejected", hash(it.txid), foreign(it.reason)];
    case "replaced":
      return ["closed", "replaced", hash(it.txid), "by", hash(it.replacement), part("dim", `${exact(it.fee)} \u2192 ${exact(it.replacement_fee)} sat`)];
    default:
      return ["closed", it.what];
  }
}

const part = (kind, text) => make("span", { class: kind }, text);

function who({ id, address, connection_type, network }) {
  return [part("id", `#${id}`), address && foreign(address), part("dim", `${connection_type}, ${network}`)];
}

const after = ({ lasted }) => part("dim", `after ${duration(lasted)}`);

function foreign(text) {
  const span = make("span", { class: "foreign" });
  putForeign(span, text);
  return span;
}

function hash(text) {
  return make("code", { title: text }, `${text.slice(0, HASH)}\u2026`);
}
