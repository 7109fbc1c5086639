// What bitcointap cannot see, and why. In: a snapshot's `sight`. Out: the words in place of a wrong zero.

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

/** Why none of these tracepoints is attached; null if one is. */
export function whyNone({ unseen }, tracepoints) {
  const reasons = tracepoints.map((tracepoint) => unseen[tracepoint]);
  return reasons.every((reason) => reason !== undefined) ? (reasons[0] ?? null) : null;
}

/** In words, which of `things`, [name, tracepoints] each, cannot be seen; null if all can. Things with the same reason are grouped. */
export function blind(sight, things) {
  const reasons = new Map();
  for (const [name, tracepoints] of things) {
    const why = whyNone(sight, tracepoints);
    if (why !== null) reasons.set(why, [...(reasons.get(why) ?? []), name]);
  }
  return reasons.size === 0 ? null : [...reasons].map(([why, names]) => `${names.join(", ")}: ${why}`).join("; ");
}
