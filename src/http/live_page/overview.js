// The state in words, and the figures that matter most. Takes snapshots, or why there is none.

import { find, make, put, set } from "./dom.js";
import { Refused } from "./poll.js";
import { NONE, bytes, count, dateAndTime, duration, exact, percent, rate, timeOfDay, visible } from "./text.js";

/** Seconds over which events are counted for their rate, and changes are summed up. */
const EVENTS_WINDOW = 10;
const MEMPOOL_WINDOW = 60;
const CONNECTIONS_WINDOW = 180;
/** A clock that differs by more is that of a recording, or wrong. */
const OTHER_TIME = 60;

const sum = (numbers, last) => numbers.slice(-last).reduce((sum, number) => sum + number, 0);
/** Of the last seconds that are over, each on the mean. */
const mean = (numbers, last) => sum(numbers, last) / Math.max(1, Math.min(last, numbers.length));

export class Overview {
  #tiles = new Map();
  #seen = [];
  #last = null;
  #isPaused = false;
  #failure = null;

  show(snapshot) {
    this.#last = snapshot;
    this.#failure = null;
    this.#tell();
    this.#node(snapshot);
    this.#figures(snapshot);
    put(find("version"), snapshot.version);
  }

  fail(error) {
    this.#failure = error;
    this.#tell();
  }

  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#tell();
  }

  /** In the title, the pill, and, when something is wrong, a banner: read out where it changes. */
  #tell() {
    const [kind, words, banner] = this.#state();
    const state = find("state");
    if (state.textContent !== words) state.textContent = words;
    set(document.documentElement, "data-state", kind);
    document.title = kind === "attached" ? "bitcointap" : `${words} \u00b7 bitcointap`;
    find("banner").hidden = banner === null;
    if (banner !== null) put(find("banner"), banner);
  }

  #state() {
    const since = this.#last ? ` What is shown is of ${timeOfDay(this.#last.time)}.` : "";
    if (this.#isPaused) return ["paused", "Paused", null];
    if (this.#failure instanceof Refused) {
      const words = visible(this.#failure.message.trim()).slice(0, 200);
      return ["lost", "No answer", `bitcointap refuses (${this.#failure.status}: ${words}), trying again.${since}`];
    }
    if (this.#failure) return ["lost", "Connection lost", `Connection to bitcointap lost, trying again.${since}`];
    if (!this.#last) return ["loading", "Loading", null];
    if (this.#last.node) return ["attached", `Attached to pid ${this.#last.node.pid}`, null];
    const why = this.#last.waiting;
    return ["waiting", "No node", `bitcointap is attached to no node: ${why}. It goes on when the node is there.`];
  }

  #node({ node, time }) {
    const parts = [];
    if (node) {
      const { chain, data_directory, host, user_agent } = node;
      parts.push(...[chain, user_agent, data_directory, host && `on ${host}`].filter(Boolean).map(visible));
      parts.push(`node up ${duration(time - node.start_time)}`);
    }
    if (Math.abs(Date.now() / 1000 - time) > OTHER_TIME) parts.push(`as of ${dateAndTime(time)}`);
    put(find("node"), parts.join(" \u00b7 "));
    const details = find("tracepoints");
    details.hidden = !node;
    if (!node) return;
    const all = node.attached.length + node.missing.length;
    put(details.querySelector("summary"), `${node.attached.length} of ${all} tracepoints`);
    const list = details.querySelector("ul");
    const names = [...node.attached, ...node.missing.map((name) => `${name} (missing)`)];
    if (list.textContent === names.join("")) return;
    list.replaceChildren(...names.map((name) => make("li", {}, name)));
  }

  #figures({ time, peers, peers_dropped, history, totals, tip, events }) {
    for (const [name, label] of [["inbound", "Messages in"], ["outbound", "Messages out"]]) {
      const messages = mean(history[`${name}_messages`], EVENTS_WINDOW);
      this.#tile(label, `${rate(messages)} /s`, `${bytes(mean(history[`${name}_bytes`], EVENTS_WINDOW))}/s`, name);
    }

    const inbound = peers.filter((peer) => peer.connection_type === "inbound").length;
    const dropped = peers_dropped ? ` \u00b7 ${count(peers_dropped)} unknown` : "";
    this.#tile("Peers", exact(peers.length), `${exact(inbound)} in \u00b7 ${exact(peers.length - inbound)} out${dropped}`);

    const [opened, closed] = ["opened", "closed"].map((what) => count(sum(history[`connections_${what}`], CONNECTIONS_WINDOW)));
    const evicted = totals.connections_evicted ? `${count(totals.connections_evicted)} evicted so far` : "none evicted";
    this.#tile("Connections, 3 min", `+${opened} \u2212${closed}`, evicted);

    const [added, removed, rejected] = ["added", "removed", "rejected"].map((what) =>
      count(sum(history[`mempool_${what}`], MEMPOOL_WINDOW)));
    this.#tile("Mempool, 1 min", `+${added}`, `\u2212${removed}, ${rejected} rejected`);

    if (tip) {
      this.#tile("Last block", `${duration(time - tip.time)} ago`, `height ${exact(tip.height)}`);
    } else {
      this.#tile("Last block", "none yet", "since attaching");
    }

    const firing = this.#firing(time, events.fired);
    this.#tile("Events", firing === null ? NONE : `${rate(firing)} /s`, `${count(events.fired)} so far`);

    const fullness = events.ring_buffer_used_bytes / Math.max(1, events.ring_buffer_bytes);
    const lately = sum(history.events_lost, history.events_lost.length);
    const share = `${percent(events.lost / Math.max(1, events.fired))} of all`;
    const buffer = `buffer ${percent(fullness)} full`;
    if (events.lost === 0) this.#tile("Lost", "none", buffer, "good");
    else this.#tile("Lost", `${count(events.lost)} events`, `${share} \u00b7 ${buffer}`, lately ? "bad" : "");
    set(this.#tiles.get("Lost").tile, "title", losses(events.losses));
  }

  /** Events a second, by what had fired some seconds ago; null before that is known. */
  #firing(time, fired) {
    const seen = this.#seen;
    const last = seen.at(-1);
    if (last && (time < last[0] || fired < last[1])) seen.length = 0;
    if (seen.length === 0 || time > last[0]) seen.push([time, fired]);
    while (seen.length > 2 && time - seen[0][0] > EVENTS_WINDOW) seen.shift();
    const [[begin, before]] = seen;
    return time > begin ? (fired - before) / (time - begin) : null;
  }

  #tile(label, value, note, kind = "") {
    let parts = this.#tiles.get(label);
    if (!parts) {
      parts = { value: make("dd"), note: make("dd", { class: "note" }) };
      parts.tile = make("div", {}, make("dt", {}, label), parts.value, parts.note);
      this.#tiles.set(label, parts);
      find("tiles").append(parts.tile);
    }
    put(parts.value, value);
    put(parts.note, note);
    set(parts.note, "title", note);
    set(parts.tile, "class", `tile ${kind}`);
  }
}

/** By tracepoint and reason, for a title. */
function losses(found) {
  if (found.length === 0) return null;
  return found.map((loss) => `${loss.tracepoint}: ${exact(loss.count)} ${loss.reason}`).join("\n");
}
