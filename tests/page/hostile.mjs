// User agents that are markup, scripts, controls of direction, very long or invisible stay text within their cells.

import { assert, column, launch, open, until } from "./browser.mjs";

const [url] = process.argv.slice(2);
const AGENTS = [
  "<script>document.title='owned'</script>",
  "<img src=x onerror=\"document.title='owned'\">",
  "/Satoshi:31.0.0/\\u{202e}/0.0.31:ihsotaS/",
  "\\u{0}\\u{1}\\u{1b}[31mred\\u{1b}[0m\\u{7f}\\u{85}\\u{d}\\u{a}bitcointap_up 0",
  "/\\u{2066}isolated\\u{200f}\\u{200b}\\u{feff}\\u{ad}/",
  "\\u{3164}\\u{115f}\u2800\\u{e0041}",
  "W".repeat(256),
];

const browser = await launch();
const { page, complaints } = await open(browser, url);
const own = await page.evaluate(() => document.querySelectorAll("script, img, h1, iframe, style").length);
// Peers come and go: everything seen so far counts.
const seen = new Set();
while (!AGENTS.every((agent) => seen.has(agent))) {
  const cells = await page.$$eval("#peers-table td.agent", (cells) =>
    cells.map((cell) => ({
      text: cell.textContent,
      title: cell.title,
      width: cell.offsetWidth,
      height: cell.offsetHeight,
      row: cell.parentElement.firstElementChild.offsetHeight,
      elements: [...cell.querySelectorAll("*")].map((it) => it.localName),
    })));
  for (const { text, title, width, height, row, elements } of cells) {
    if (!seen.has(text) && elements.length > 0) {
      assert.equal(title, text);
      assert.equal(elements[0], "bdi");
      assert.ok(elements.slice(1).every((name) => name === "span"), elements.join());
      assert.doesNotMatch(text, /[\p{Cc}\p{Cf}]/u);
      assert.ok(width <= 300 && height === row && height < 40, `${text} takes ${width} x ${height}`);
    }
    seen.add(text);
  }
  await page.waitForTimeout(200);
}
// Asked again until it holds: on a busy machine Chromium may have no styles yet for a new cell (seen once).
await until(page, () => {
  const agents = [...document.querySelectorAll("#peers-table td.agent bdi")];
  return agents.length > 0 && agents.every((agent) => getComputedStyle(agent).unicodeBidi === "isolate");
});
// In the log of connections, too.
await until(page, () => document.querySelector("#connections-log").textContent.includes("<script>"));
assert.doesNotMatch(await page.textContent("#connections-log"), /[\u0000-\u0008\u202e\u2066]/u);
assert.equal(await page.evaluate(() => document.querySelectorAll("script, img, h1, iframe, style").length), own);
assert.equal(await page.title(), "bitcointap");
const [width, visible] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
assert.equal(width, visible);

// The search looks at the text before it is escaped.
await page.getByRole("searchbox").fill("onerror");
assert.ok((await column(page, "peers", "agent")).every((text) => text.includes("onerror")));
assert.deepEqual(complaints, []);
console.log(`${seen.size} user agents`);
await browser.close();
