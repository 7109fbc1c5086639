// Chromium for a test of the page. In: its path and playwright's, from the environment. Out: pages that report what
// went wrong in them, and claims that fail loudly.

import { strict as assert } from "node:assert";
import { createRequire } from "node:module";

const { chromium } = createRequire(import.meta.url)(process.env.PLAYWRIGHT_CORE);

/** Long enough for a slow machine; what takes it has failed. */
export const PATIENCE = 60_000;

export { assert };

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });

/** A page that shows `url`, and what its console and its scripts complain of. */
export async function open(browser, url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => request.url().startsWith(url) || complaints.push(`asks for ${request.url()}`));
  await page.goto(url);
  return { page, complaints };
}

/** Until `is` gives something true in the page. */
export const until = (page, is, argument) => page.waitForFunction(is, argument, { timeout: PATIENCE, polling: 100 });

/** The texts of a column of a table, from the top. */
export const column = (page, table, name) =>
  page.$$eval(`#${table}-table td.${name}`, (cells) => cells.map((cell) => cell.textContent));
