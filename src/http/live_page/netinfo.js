// Peers by network and direction, as in `bitcoin-cli -netinfo`. In: snapshots.

import { find, make, put } from "./dom.js";
import { MESSAGES, OPENED, whyNone } from "./sight.js";
import { exact } from "./text.js";

/** What -netinfo's words mean. */
const TITLES = { npr: "Not publicly routable", int: "The node's own", unknown: "The peer's address does not show its network" };

export class NetInfo {
  #table = find("networks-table");
  #names = "";
  #cells = [];

  show({ sight, networks: { networks, block_relay, manual } }) {
    this.#table.parentElement.hidden = whyNone(sight, [MESSAGES.in, MESSAGES.out, ...OPENED]) !== null;
    const sum = (direction) => networks.reduce((sum, network) => sum + network[direction], 0);
    const all = [...networks, { network: "total", inbound: sum("inbound"), outbound: sum("outbound") }];
    const columns = all.map(({ network, inbound, outbound }) => [network, inbound, outbound, inbound + outbound]);
    columns.push(["block", null, block_relay, null]);
    if (manual > 0) columns.push(["manual", null, manual, null]);
    this.#arrange(columns.map(([name]) => name));
    for (const [place, [, ...counts]] of columns.entries()) {
      for (const [row, number] of counts.entries()) put(this.#cells[row][place], number === null ? "" : exact(number));
    }
  }

  /** Rebuilds the table when a network comes or goes. */
  #arrange(names) {
    if (this.#names === names.join()) return;
    this.#names = names.join();
    const head = (name) => make("th", { scope: "col", class: "number", ...(TITLES[name] && { title: TITLES[name] }) }, name);
    const rows = ["in", "out", "total"].map((name) => [name, names.map(() => make("td", { class: "number" }))]);
    this.#cells = rows.map(([, cells]) => cells);
    this.#table.replaceChildren(
      make("thead", {}, make("tr", {}, make("td"), ...names.map(head))),
      make("tbody", {}, ...rows.map(([name, cells]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells))));
  }
}
