// What bitcointap cannot see says why, instead of a wrong zero. In: the address of the page, and as JSON the words that
// its tiles must have, by name, and the words of its state.

import { assert, launch, open, until } from "./browser.mjs";

const [url, ...more] = process.argv.slice(2);
const { tiles = {}, state, banner, note, texts = [] } = JSON.parse(more.at(-1));
const browser = await launch();
const { page, complaints } = await open(browser, url);
await until(page, (state) => document.querySelector("#state").textContent.startsWith(state), state);
for (const [name, [value, note]] of Object.entries(tiles)) {
  await until(page, ([name, value, note]) => {
    const tile = [...document.querySelectorAll(".tile")].find((tile) => tile.querySelector("dt").textContent === name);
    const [figure, words] = tile?.querySelectorAll("dd") ?? [];
    return (value === null || figure?.textContent === value) && words.textContent.includes(note);
  }, [name, value, note]);
}
if (note) await until(page, (note) => document.querySelector("#peers-note").textContent.includes(note), note);
for (const text of texts) await until(page, (text) => document.querySelector("main").textContent.includes(text), text);
assert.equal(await page.getByRole("alert").isVisible(), Boolean(banner));
if (banner) assert.ok((await page.getByRole("alert").textContent()).includes(banner), await page.getByRole("alert").textContent());
// It has a time, and not the epoch.
const times = await page.$$eval("#connections-log time", (times) => times.map((time) => time.dateTime));
assert.ok(times.every((time) => !time.startsWith("1970")), times.join());
assert.deepEqual(complaints, []);
await browser.close();
