// Rows appear, and change in place. Sorting, searching and pausing work, with the keyboard, too. Everything fits on a
// phone. The script prints what it has looked at.

import { assert, column, launch, open, until } from "./browser.mjs";

const [url, screenshots] = process.argv.slice(2);
const browser = await launch();
const { page, complaints } = await open(browser, url);
await until(page, () => document.querySelectorAll("#peers-table tbody tr").length >= 10);
await until(page, () => document.querySelectorAll("#connections-log li, #blocks-log li").length >= 3);
assert.match(await page.textContent("#state"), /^Attached to pid \d+$/);
assert.match(await page.textContent("#tracepoints summary"), /^(\d+) of \1 tracepoints$/);
assert.equal(await page.title(), "bitcointap");
assert.match(await page.textContent("#node"), /^main · (\/Satoshi:[^ ]+ · )?\/[^ ]+ · on [^ ]+ · node up /);

// Moving values move.
const events = () => page.textContent(".tile:has(dt:text-is('Events')) .note");
const before = await events();
await page.waitForFunction((before) => ![...document.querySelectorAll(".tile .note")].some((note) => note.textContent === before), before);
await until(page, () => document.querySelector(".line").getAttribute("d").split("L").length >= 3);
assert.match(await page.getAttribute("figure svg", "aria-label"), /^Messages a second .* in: [\d,.]+ in the last second/);

// A hash leads to what the flight recorder has of it.
const hashes = "#blocks-log a[href^='recording?hash='], #mempool-log a[href^='recording?hash=']";
await until(page, (hashes) => document.querySelector(hashes) !== null, hashes);
const saved = page.waitForEvent("download");
await page.click(hashes);
assert.match((await saved).suggestedFilename(), /Z\.recording$/);

// Net changes have a sign, and networks are counted as -netinfo counts them.
const tile = (name, part) => page.textContent(`.tile:has(dt:text-is('${name}')) ${part}`);
assert.match(await tile("Mempool, 1 min", "dd:not(.note)"), /^([+\u2212][\d,.]+|0)$/);
assert.match(await tile("Mempool, 1 min", ".note"), /^\+\d[\d,]* \u2212\d[\d,]* \u00b7 [\d,]+ rejected$/);
const netinfo = await page.$$eval("#networks-table tr", (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
assert.deepEqual(netinfo[0].slice(0, 6), ["", "ipv4", "ipv6", "onion", "i2p", "cjdns"]);
assert.deepEqual(netinfo.slice(1).map(([name]) => name), ["in", "out", "total"]);
const total = netinfo[0].indexOf("total");
for (const row of netinfo.slice(1)) {
  assert.equal(row.slice(1, total).map(Number).reduce((sum, number) => sum + number, 0), Number(row[total]));
}

// With the keyboard: the focus stays on the header, the rows follow it.
const paused = page.getByRole("button", { name: "Pause" });
await page.getByRole("columnheader", { name: "Peer" }).getByRole("button").focus();
await page.keyboard.press("Enter");
await until(page, () => document.querySelector("#peers-table th").ariaSort === "ascending");
await paused.click();
assert.equal(await paused.getAttribute("aria-pressed"), "true");
const ids = (await column(page, "peers", "id")).map(Number.parseFloat);
assert.deepEqual(ids, ids.toSorted((a, b) => a - b));
await page.getByRole("columnheader", { name: "Peer" }).getByRole("button").click();
assert.deepEqual((await column(page, "peers", "id")).map(Number.parseFloat), ids.toReversed());
assert.equal(await page.getAttribute("#peers-table th", "aria-sort"), "descending");
console.log(`${ids.length} peers`);

// A search for a type and a user agent that are there.
const search = page.getByRole("searchbox");
for (const name of ["type", "agent"]) {
  await search.fill("");
  const all = await column(page, "peers", name);
  const word = all.find((text) => /^[/a-z]\S+$/.test(text));
  await search.fill(word);
  const found = await column(page, "peers", name);
  assert.equal(found.length, all.filter((text) => text === word).length, word);
  assert.ok(found.every((text) => text === word), word);
  assert.equal(await page.textContent("#peers-shown"), `${found.length} of ${ids.length}`);
}
await search.fill("nobody is called so");
assert.equal((await column(page, "peers", "id")).length, 0);
await search.fill("inbound");

// A reload forgets neither.
await page.reload();
await until(page, () => document.querySelectorAll("#peers-table tbody tr").length > 0);
assert.equal(await search.inputValue(), "inbound");
assert.ok((await column(page, "peers", "type")).every((type) => type === "inbound"));
assert.equal(await page.getAttribute("#peers-table th", "aria-sort"), "descending");

// The rows, the focus and the scroll position stay.
await search.fill("");
await search.focus();
const scrolled = await page.evaluate(() => {
  const box = document.querySelector(".tall");
  box.scrollTop = 40;
  box.dataset.first = document.querySelector(".tile .note").textContent;
  document.querySelector("#commands-table tbody tr").dataset.is = "marked";
  return box.scrollTop;
});
await until(page, () => document.querySelector(".tile .note").textContent !== document.querySelector(".tall").dataset.first);
assert.equal(await page.evaluate(() => document.querySelectorAll("[data-is=marked]").length), 1);
assert.equal(await page.evaluate(() => document.activeElement.id), "search");
assert.equal(await page.evaluate(() => document.querySelector(".tall").scrollTop), scrolled);
await search.blur();

// Buttons have names, and parts with headings are landmarks.
const unnamed = await page.$$eval("button, input, a, summary", (all) =>
  all.filter((it) => !it.textContent.trim() && !it.labels?.[0]?.textContent.trim()).map((it) => it.outerHTML));
assert.deepEqual(unnamed, []);
assert.ok((await page.getByRole("region").count()) >= 10);

const colours = [];
const looks = {
  light: {},
  dark: { colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, reducedMotion: "reduce" },
};
for (const [name, options] of Object.entries(looks)) {
  const { page, complaints: more } = await open(browser, url, options);
  await until(page, () => document.querySelectorAll("#peers-table tbody tr").length >= 10);
  const [width, visible] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.equal(width, visible, `${name} scrolls sideways`);
  colours.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
  assert.ok(await page.evaluate(() => document.querySelector(".log").getAnimations({ subtree: true }).length === 0
    || !matchMedia("(prefers-reduced-motion: reduce)").matches));
  if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
  complaints.push(...more);
  await page.close();
}
assert.notEqual(colours[0], colours[1]);

// On a screen of usual width only addresses and user agents are cut off, and their titles have the whole text. The
// peers are as high as the window.
for (const width of [1024, 1100, 1199, 1280]) {
  const { page, complaints: more } = await open(browser, url, { viewport: { width, height: 800 } });
  await until(page, () => document.querySelectorAll("#peers-table tbody tr").length >= 10);
  const cut = await page.evaluate(() => {
    const isCut = (it) => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).overflowX !== "visible";
    const all = [...document.querySelectorAll("main *")].filter((it) => !it.closest(".unseen") && isCut(it));
    return all.filter((it) => !it.querySelector(":scope > bdi")).map((it) => it.outerHTML.slice(0, 200));
  });
  assert.deepEqual(cut, [], `at ${width}`);
  const height = await page.evaluate(() => {
    document.querySelector("#peers-table tbody").append(...[...Array(100)].map(() => document.createElement("tr")));
    for (const row of document.querySelectorAll("#peers-table tr:empty")) row.style.height = "2rem";
    return document.querySelector(".tall").clientHeight;
  });
  assert.ok(height > 700 && height <= 800, `${height} of 800`);
  complaints.push(...more);
  if (screenshots) await page.screenshot({ path: `${screenshots}/${width}.png`, fullPage: true });
  await page.close();
}
assert.deepEqual(complaints, []);
await browser.close();
