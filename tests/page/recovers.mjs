// The page tells a node that is gone from an exporter that is gone, and goes on by itself when they are back. The
// script prints a word when it has seen a state; the test then causes the next one.

import { assert, launch, open, until } from "./browser.mjs";

const [url] = process.argv.slice(2);
const browser = await launch();
const { page, complaints } = await open(browser, url);
const state = (kind) => until(page, (kind) => document.documentElement.dataset.state === kind, kind);
const banner = () => page.getByRole("alert").textContent();

await state("attached");
assert.ok(await page.getByRole("alert").isHidden());
await page.evaluate(() => {
  document.body.dataset.is = "the first";
});
console.log("attached");

await state("ended");
assert.match(await banner(), /^The node has ended, and bitcointap does not follow it /);
assert.equal(await page.textContent("#state"), "Node ended");
assert.deepEqual(complaints, []);
console.log("ended");

await state("lost");
assert.match(await banner(), /^Connection to bitcointap lost, trying again\. This page shows the state at \d\d:\d\d:\d\d\.$/);
assert.match(await page.title(), /^Connection lost/);
console.log("lost");

await state("attached");
assert.ok(await page.getByRole("alert").isHidden());
await until(page, () => document.querySelectorAll("#peers-table tbody tr").length >= 10);
assert.equal(await page.evaluate(() => document.body.dataset.is), "the first");
// The browser itself says that it could not connect.
assert.deepEqual(complaints.filter((words) => !words.includes("net::ERR_")), []);
console.log("attached");
await browser.close();
