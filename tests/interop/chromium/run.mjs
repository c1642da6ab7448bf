// Runs one scenario, and prints as JSON what the test looks at.
//
//     node run.mjs FILE SCENARIO < given.json
//
// A scenario is an exported function of FILE.mjs. It gets what the test has given, and `visit`, which opens the
// dashboard as somebody's browser. It fails by what it asserts, and by anything that a browser complained of;
// then the last pages are kept as pictures.

import path from "node:path";
import { json } from "node:stream/consumers";
import { chromium } from "playwright-core";
import { Visitor } from "./visitor.mjs";

const [file, name] = process.argv.slice(2);
const given = await json(process.stdin);
const browser = await chromium.connect(given.chromium);
const visitors = [];

async function visit(options = {}) {
  const visitor = await Visitor.enter(browser, { origin: given.dashboard, ...options });
  visitors.push(visitor);
  return visitor;
}

try {
  const scenarios = await import(`./${file}.mjs`);
  const found = await scenarios[name]({ ...given, visit });
  for (const visitor of visitors) visitor.complainedOfNothing();
  console.log(JSON.stringify(found ?? null));
} catch (error) {
  console.error(error.stack ?? error);
  for (const [number, visitor] of visitors.entries()) {
    console.error(...(await visitor.lastPage(path.join(given.screenshots, "failed", `${file}-${name}-${number}.png`))));
  }
  process.exitCode = 1;
} finally {
  await browser.close();
}
