// The first page, as somebody has it open.

import assert from "node:assert/strict";

import { audit } from "./audit.mjs";

// The page without anything on it, and what it says to do.
export async function isEmpty({ visit, token, screenshots }) {
  const page = await (await visit()).signIn(token, "/");
  await page.getByRole("heading", { name: "Two steps to the first figures" }).waitFor();
  return audit(page, "overview-empty", screenshots);
}

// The page updates itself: `more` is the address that makes another exchange be counted.
export async function updatesItself({ visit, token, exchanges }) {
  const page = await (await visit()).signIn(token, "/");
  const card = page.getByRole("region", { name: "Exchanges", exact: true });
  await card.getByText(`${exchanges[0]} in 24 h`).waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  const table = page.getByText("Figures as a table");
  await table.click();
  await page.evaluate(() => { window.isTheSamePage = true; });
  // Somebody else has it counted meanwhile.
  await card.getByText(`${exchanges[1]} in 24 h`).waitFor({ timeout: 30_000 });
  assert(await page.evaluate(() => window.isTheSamePage), "the page was loaded anew");
  // What was open still is.
  await page.getByRole("table", { name: "Figures over time, the latest first" }).waitFor();
}

// All of it, in pictures, and where a figure leads.
export async function shows({ visit, token, screenshots, texts }) {
  const page = await (await visit()).signIn(token, "/");
  const told = await page.getByRole("main").innerText();
  for (const text of texts) assert(told.includes(text), `there is no ${text}: ${told}`);
  const found = await audit(page, "overview", screenshots);
  await page.getByText("Custom", { exact: true }).click();
  await page.getByText("Figures as a table").click();
  found.push(...(await audit(page, "overview-open", screenshots)));
  await page.goto("/?from=2026-01-02T00:00&to=2026-01-01T00:00");
  await page.getByRole("alert").waitFor();
  found.push(...(await audit(page, "overview-wrong", screenshots)));
  await page.goto("/");
  await page.getByRole("region", { name: "Error rate" }).getByRole("link").first().click();
  await page.getByRole("heading", { name: "Traces", level: 1 }).waitFor();
  assert(new URL(page.url()).searchParams.has("from"));
  return found;
}
