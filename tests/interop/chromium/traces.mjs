// Exchanges that are over, as they are shown.

import assert from "node:assert/strict";

// The row of this model leads to the exchange, whose bars have these texts; each is opened.
export async function shows({ visit, token, model, row, bars }) {
  const page = await (await visit()).signIn(token, "/traces");
  const line = page.getByRole("row").filter({ hasText: model }).first();
  const told = await line.innerText();
  for (const text of row) assert(told.includes(text), `the row has no ${text}: ${told}`);
  await line.getByRole("link").click();
  await page.getByRole("heading", { name: "Timeline" }).waitFor();

  const items = page.getByRole("region", { name: "Timeline" }).locator("ol > li");
  const found = [];
  for (const item of await items.all()) {
    await item.locator("summary").click();
    found.push(await item.innerText());
  }
  for (const texts of bars) {
    const bar = found.find((bar) => texts.every((text) => bar.includes(text)));
    assert(bar, `no bar has ${texts}:\n${found.join("\n\n")}`);
    // How long it took, where it was run.
    assert.match(bar, texts.includes("not executed here") ? /–/ : /\d+(\.\d+)? (µs|ms|s)/);
  }
  return found;
}

// Filters live in the address here as well.
export async function filters({ visit, token, servers }) {
  const page = await (await visit()).signIn(token, "/traces");
  const rows = page.locator("tbody tr");
  for (const [server, count] of Object.entries(servers)) {
    await page.goto(`/traces?server=${server}`);
    assert.equal(await rows.count(), count, server);
    for (const row of await rows.all()) assert((await row.innerText()).includes(server));
  }
  await page.goto("/traces?server=never-asked-for");
  await page.getByRole("heading", { name: "No trace matches" }).waitFor();
  await page.getByRole("link", { name: "Clear all filters" }).click();
  assert.equal(new URL(page.url()).search, "");
}
