// What a page looks like to everybody: axe-core's verdict, and pictures, light and dark, narrow and wide.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { asItIs } from "./visitor.mjs";

const axe = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const widths = [360, 1280];
const themes = ["light", "dark"];

// The violations on this page in all its looks; `folder` gets the pictures.
export async function audit(page, name, folder) {
  const found = [];
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of themes) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(folder, `${name}-${colorScheme}-${width}.png`), fullPage: true, ...asItIs });
      const look = `${name}, ${colorScheme}, ${width} px`;
      found.push(...(await violations(page)).map((violation) => `${look}: ${violation}`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) found.push(`${look}: the page is ${wide} px wide`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  return found;
}

async function violations(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, help, nodes }) =>
      nodes.map((node) => `${id} (${help}) at ${node.target.join(" ")}: ${node.failureSummary}`),
    );
  });
}
