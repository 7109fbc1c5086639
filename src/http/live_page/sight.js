// What cannot be seen, and why. Takes a snapshot's `sight`, gives the words that stand where a zero would be wrong.

export const MESSAGES = { in: "net:inbound_message", out: "net:outbound_message" };
export const OPENED = ["net:inbound_connection", "net:outbound_connection"];
export const CLOSED = ["net:closed_connection"];
export const EVICTED = ["net:evicted_inbound_connection"];
export const MISBEHAVING = ["net:misbehaving_connection"];
export const ADDED = ["mempool:added"];
export const REMOVED = ["mempool:removed"];
export const REPLACED = ["mempool:replaced"];
export const REJECTED = ["mempool:rejected"];
export const BLOCKS = ["validation:block_connected"];

/** Why nothing of these is heard; null if something is. */
export function whyNone({ unseen }, tracepoints) {
  const reasons = tracepoints.map((tracepoint) => unseen[tracepoint]);
  return reasons.every((reason) => reason !== undefined) ? (reasons[0] ?? null) : null;
}

/** Of things, [name, tracepoints] each, those that are not heard, in words; null if all are. Things of one reason stand together. */
export function blind(sight, things) {
  const reasons = new Map();
  for (const [name, tracepoints] of things) {
    const why = whyNone(sight, tracepoints);
    if (why !== null) reasons.set(why, [...(reasons.get(why) ?? []), name]);
  }
  return reasons.size === 0 ? null : [...reasons].map(([why, names]) => `${names.join(", ")}: ${why}`).join("; ");
}
