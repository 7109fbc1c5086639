// The state in words, and the most important figures. In: snapshots, or why there is none.

import { find, make, put, set } from "./dom.js";
import { Refused } from "./poll.js";
import { ADDED, BLOCKS, CLOSED, EVICTED, MESSAGES, OPENED, REJECTED, REMOVED, blind, whyNone } from "./sight.js";
import { NONE, bytes, count, dateAndTime, duration, exact, percent, plural, rate, signed, timeOfDay, visible } from "./text.js";

/** Seconds over which to count events for a rate, and to sum up changes. */
const EVENTS_WINDOW = 10;
const MEMPOOL_WINDOW = 60;
const CONNECTIONS_WINDOW = 180;
/** A clock that differs by more seconds belongs to a recording, or is wrong. */
const OTHER_TIME = 60;

const sum = (numbers, last) => numbers.slice(-last).reduce((sum, number) => sum + number, 0);
/** The mean of the last complete seconds. */
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

  /** Shows the state in the title, the pill and, if something is wrong, a banner. Changes are read out. */
  #tell() {
    const [kind, words, banner] = this.#state();
    const state = find("state");
    if (state.textContent !== words) state.textContent = words;
    set(document.documentElement, "data-state", kind);
    document.title = kind === "attached" || kind === "replay" ? "bitcointap" : `${words} \u00b7 bitcointap`;
    find("banner").hidden = banner === null;
    if (banner !== null) put(find("banner"), banner);
  }

  #state() {
    const since = this.#last ? ` This page shows the state at ${timeOfDay(this.#last.time)}.` : "";
    if (this.#isPaused) return ["paused", "Paused", null];
    if (this.#failure instanceof Refused) {
      const words = visible(this.#failure.message.trim()).slice(0, 200);
      return ["lost", "No answer", `bitcointap refuses (${this.#failure.status}: ${words}), trying again.${since}`];
    }
    if (this.#failure) return ["lost", "Connection lost", `Connection to bitcointap lost, trying again.${since}`];
    if (!this.#last) return ["loading", "Loading", null];
    const { node, replay, over, waiting } = this.#last;
    if (replay && over) return ["ended", "Replay ended", "The recording has ended. This page shows the state at its end."];
    if (replay) return ["replay", node ? `Replay of pid ${node.pid}` : "Replay", null];
    if (node) return ["attached", `Attached to pid ${node.pid}`, null];
    if (over) {
      return ["ended", "Node ended", "The node has ended, and bitcointap does not follow it "
        + "(--pid, or --drop-capabilities all): nothing more comes."];
    }
    return ["waiting", "No node", `bitcointap is attached to no node: ${waiting}. It goes on when the node runs.`];
  }

  #node({ node, time, replay, sight }) {
    const parts = [];
    if (node) {
      const { chain, data_directory, host, user_agent } = node;
      parts.push(...[chain, user_agent, data_directory, host && `on ${host}`].filter(Boolean).map(visible));
      parts.push(`node up ${duration(time - node.start_time)}`);
      if (replay) parts.unshift("recorded");
    }
    if (Math.abs(Date.now() / 1000 - time) > OTHER_TIME) parts.push(`as of ${dateAndTime(time)}`);
    put(find("node"), parts.join(" \u00b7 "));
    const details = find("tracepoints");
    details.hidden = !node;
    if (!node) return;
    const all = node.attached.length + node.missing.length;
    put(details.querySelector("summary"), `${node.attached.length} of ${plural(all, "tracepoint")}`);
    const list = details.querySelector("ul");
    const names = [...node.attached, ...node.missing.map((name) => `${name} (${sight.unseen[name] ?? "missing"})`)];
    if (list.textContent === names.join("")) return;
    list.replaceChildren(...names.map((name) => make("li", {}, name)));
  }

  #figures({ time, node, sight, peers, peers_dropped, history, totals, tip, events }) {
    for (const [name, label, tracepoint] of [["inbound", "Messages in", MESSAGES.in], ["outbound", "Messages out", MESSAGES.out]]) {
      const messages = mean(history[`${name}_messages`], EVENTS_WINDOW);
      const figure = [`${rate(messages)} /s`, `${bytes(mean(history[`${name}_bytes`], EVENTS_WINDOW))}/s`];
      this.#figure(label, whyNone(sight, [tracepoint]), figure, name);
    }

    const inbound = peers.filter((peer) => peer.connection_type === "inbound").length;
    const dropped = peers_dropped ? ` \u00b7 ${count(peers_dropped)} unknown` : "";
    const directions = `${exact(inbound)} in \u00b7 ${exact(peers.length - inbound)} out${dropped}`;
    const unseen = whyNone(sight, [MESSAGES.in, MESSAGES.out, ...OPENED]);
    this.#figure("Peers", unseen, [exact(peers.length), peers.length === 0 ? (sight.peers[0] ?? directions) : directions]);
    const notes = find("peers-note");
    put(notes, [unseen, ...sight.peers].filter(Boolean).join("; "));
    notes.hidden = notes.textContent === "";

    const things = [["opened", OPENED], ["closed", CLOSED], ["evicted", EVICTED]];
    const [opened, closed] = ["opened", "closed"].map((what, n) =>
      (whyNone(sight, things[n][1]) === null ? count(sum(history[`connections_${what}`], CONNECTIONS_WINDOW)) : "?"));
    const evicted = totals.connections_evicted ? `${count(totals.connections_evicted)} evicted so far` : "none evicted";
    this.#figure("Connections, 3 min", whyNone(sight, [...OPENED, ...CLOSED, ...EVICTED]),
      [`+${opened} \u2212${closed}`, blind(sight, things) ?? evicted]);

    const [added, removed, rejected] = ["added", "removed", "rejected"].map((what) => sum(history[`mempool_${what}`], MEMPOOL_WINDOW));
    const unheard = blind(sight, [["added", ADDED], ["removed", REMOVED], ["rejected", REJECTED]]);
    const net = whyNone(sight, ADDED) ?? whyNone(sight, REMOVED) ?? signed(added - removed);
    this.#figure("Mempool, 1 min", whyNone(sight, [...ADDED, ...REMOVED, ...REJECTED]),
      [unheard === null ? net : NONE, unheard ?? `+${count(added)} \u2212${count(removed)} \u00b7 ${count(rejected)} rejected`]);

    if (tip) {
      this.#figure("Last block", null, [`${duration(time - tip.time)} ago`, `height ${exact(tip.height)}`]);
    } else {
      this.#figure("Last block", whyNone(sight, BLOCKS), ["none yet", node ? `attached ${duration(time - node.attached_time)} ago` : ""]);
    }

    const firing = this.#firing(time, events.fired);
    this.#tile("Events", firing === null ? NONE : `${rate(firing)} /s`, `${count(events.fired)} so far`);

    const fullness = events.ring_buffer_used_bytes / Math.max(1, events.ring_buffer_bytes);
    const lately = sum(history.events_lost, history.events_lost.length);
    const share = `${percent(events.lost / Math.max(1, events.fired))} of all`;
    const buffer = `buffer ${percent(fullness)} full`;
    if (events.lost === 0) this.#tile("Lost", "none", buffer, "good");
    else this.#tile("Lost", events.lost === 1 ? "1 event" : `${count(events.lost)} events`, `${share} \u00b7 ${buffer}`, lately ? "bad" : "");
    set(this.#tiles.get("Lost").tile, "title", losses(events.losses));
  }

  /** Events a second, compared with some seconds ago; null until that is known. */
  #firing(time, fired) {
    const seen = this.#seen;
    const last = seen.at(-1);
    if (last && (time < last[0] || fired < last[1])) seen.length = 0;
    if (seen.length === 0 || time > last[0]) seen.push([time, fired]);
    while (seen.length > 2 && time - seen[0][0] > EVENTS_WINDOW) seen.shift();
    const [[begin, before]] = seen;
    return time > begin ? (fired - before) / (time - begin) : null;
  }

  /** A figure with its note; or the reason why there is none. */
  #figure(label, why, [value, note], kind = "") {
    if (why === null) this.#tile(label, value, note, kind);
    else this.#tile(label, NONE, why, kind);
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

/** Losses by tracepoint and reason, for a title. */
function losses(found) {
  if (found.length === 0) return null;
  return found.map((loss) => `${loss.tracepoint}: ${exact(loss.count)} ${loss.reason}`).join("\n");
}
