// The latest events: connections, blocks, and what the mempool rejected or replaced. In: snapshots. New lines come on top.

import { find, keep, make, put, putForeign } from "./dom.js";
import { BLOCKS, CLOSED, EVICTED, MISBEHAVING, OPENED, REJECTED, REPLACED, blind, whyNone } from "./sight.js";
import { count, dateAndTime, duration, exact, latency, plural, timeOfDay } from "./text.js";

/** How many digits of a hash to show. */
const HASH = 16;

export class Logs {
  #logs = ["connections", "blocks", "mempool"].map((name) => new Log(name));

  show(snapshot) {
    const { totals } = snapshot;
    const things = {
      connections: [
        ["opened", OPENED, totals.connections_opened],
        ["closed", CLOSED, totals.connections_closed],
        ["evicted", EVICTED, totals.connections_evicted],
        ["misbehaving", MISBEHAVING, null],
      ],
      blocks: [["connected", BLOCKS, totals.blocks_connected]],
      mempool: [["rejected", REJECTED, totals.mempool_rejected], ["replaced", REPLACED, totals.mempool_replaced]],
    };
    for (const log of this.#logs) {
      const told = things[log.name];
      const isBlind = whyNone(snapshot.sight, told.flatMap(([, tracepoints]) => tracepoints)) !== null;
      log.show(snapshot[log.name], note(snapshot, told), isBlind);
    }
  }
}

/** The totals of attached tracepoints, and why the others are missing. */
function note({ sight, node, totals }, things) {
  const unheard = blind(sight, things);
  const isPast = !node && Object.values(totals).some((total) => total > 0);
  const heard = things.filter(([, tracepoints, total]) => total !== null && (isPast || blind(sight, [["", tracepoints]]) === null));
  const counts = heard.map(([name, , total]) => `${count(total)} ${name}`).join(", ");
  return [counts && `${counts} so far`, isPast ? null : unheard].filter(Boolean).join(" \u00b7 ");
}

class Log {
  #list;
  #note;
  #lines = new Map();
  #isFirst = true;
  #none = make("p", { class: "none" });

  constructor(name) {
    this.name = name;
    this.#list = find(`${name}-log`);
    this.#note = find(`${name}-note`);
    this.#list.after(this.#none);
  }

  show(happenings, note, isBlind) {
    put(this.#note, note);
    const create = (happening) => line(happening, !this.#isFirst);
    // A line never changes.
    keep(this.#list, this.#lines, happenings, ({ number, time }) => `${number} ${time}`, create, () => {});
    this.#isFirst = false;
    const none = isBlind ? "bitcointap cannot see this." : "Nothing yet.";
    put(this.#none, happenings.length === 0 ? none : "");
    this.#none.hidden = happenings.length > 0;
  }
}

function line(happening, isNew) {
  const [kind, name, ...words] = told(happening);
  const time = make("time", { datetime: new Date(happening.time * 1000).toISOString(), title: dateAndTime(happening.time) }, timeOfDay(happening.time));
  const badge = make("span", { class: `badge ${kind}` }, name);
  return make("li", isNew ? { class: "new" } : {}, time, badge, make("span", { class: "words" }, ...words.filter(Boolean)));
}

/** Kind, name, and further words. */
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
      return ["good", exact(it.height), hash(it.hash), part("dim", `${plural(it.transactions, "transaction")}, connected in ${latency(it.connection_seconds)}`)];
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

/** A hash. It leads to what the flight recorder has of it, if there is one, and says how its story is told. */
function hash(text) {
  const shown = `${text.slice(0, HASH)}\u2026`;
  const hasRecorder = document.querySelector('a[href$="/recording"]') !== null;
  if (!hasRecorder) return make("code", { title: `${text}\nIts story, from now on: bitcointap trace ${text}` }, shown);
  const title = `${text}\nSaves what the flight recorder has of it. Its story: bitcointap trace ${text} --replay FILE`;
  return make("a", { href: `recording?hash=${text}`, download: "", title }, make("code", {}, shown));
}
