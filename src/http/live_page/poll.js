// Polls for snapshots while the page is visible. Out: each snapshot, or why there is none. After failures it polls less and less often.

const EVERY = 1_000;
const SLOWEST = 10_000;
/** An answer that takes longer will not come. */
const PATIENCE = 8_000;

/** An answer that is no snapshot. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** Starts polling. `show` gets snapshots, `fail` gets errors. Returns a function that pauses polling, or resumes it. */
export function poll(url, show, fail) {
  let failures = 0;
  let isPaused = false;
  let isAsking = false;
  let timer = 0;

  async function ask() {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Refused(response.status, await response.text());
    return response.json();
  }

  async function next() {
    clearTimeout(timer);
    if (isAsking || isPaused || document.hidden) return;
    isAsking = true;
    const begun = performance.now();
    const [snapshot, error] = await ask().then((snapshot) => [snapshot, null], (error) => [null, error]);
    isAsking = false;
    failures = error ? failures + 1 : 0;
    // While paused, the page keeps its last snapshot.
    if (!isPaused) {
      const pause = Math.min(EVERY * 2 ** Math.max(0, failures - 1), SLOWEST);
      timer = setTimeout(next, Math.max(0, pause - (performance.now() - begun)));
      if (error) fail(error);
      else show(snapshot);
    }
  }

  document.addEventListener("visibilitychange", next);
  window.addEventListener("online", next);
  next();
  return (pauses) => {
    isPaused = pauses;
    next();
  };
}
