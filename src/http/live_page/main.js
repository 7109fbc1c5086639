// Connects the parts: snapshots come in, and each part shows its share.

import { Charts } from "./charts.js";
import { find } from "./dom.js";
import { Logs } from "./logs.js";
import { NetInfo } from "./netinfo.js";
import { Overview } from "./overview.js";
import { poll } from "./poll.js";
import { Commands, Peers } from "./tables.js";

const overview = new Overview();
const parts = [overview, new Charts(), new NetInfo(), new Peers(), new Commands(), new Logs()];
let version = null;

function show(snapshot) {
  // Another version of bitcointap has another page.
  if (version !== null && version !== snapshot.version) location.reload();
  version = snapshot.version;
  for (const part of parts) part.show(snapshot);
}

const pause = poll("api/live", show, (error) => overview.fail(error));

const button = find("pause");
button.addEventListener("click", () => {
  const pauses = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(pauses));
  overview.pause(pauses);
  pause(pauses);
});
