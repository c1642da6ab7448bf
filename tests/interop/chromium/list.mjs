// The list of servers: filters that live in the address, search, pages.

import assert from "node:assert/strict";

// The names on this page, in order.
const names = (page) => page.locator("td.name .slug").allTextContents();
const filters = (page) => Object.fromEntries(new URL(page.url()).searchParams);

async function choose(page, chip, choice) {
  await page.getByText(`+ ${chip}`, { exact: true }).click();
  await page.getByRole("link", { name: choice, exact: true }).click();
  await page.getByText(`${chip}: ${choice}`).waitFor();
}

// Chips combine, are taken away one by one, and come back with the page's history and a reload.
export async function filtersLiveInTheAddress({ visit, token }) {
  const page = await (await visit()).signIn(token);
  await choose(page, "Project", "batch");
  assert.deepEqual(filters(page), { project: "batch" });
  await choose(page, "Status", "Inactive");
  await choose(page, "Authentication Method", "Static Headers");
  const all = { project: "batch", status: "inactive", auth: "static_headers" };
  await showsOnly(page, all);
  await page.reload();
  await showsOnly(page, all);
  await page.goBack();
  assert.deepEqual(filters(page), { project: "batch", status: "inactive" });
  await page.goForward();
  await page.getByRole("link", { name: "Remove the filter Status" }).click();
  assert.deepEqual(filters(page), { project: "batch", auth: "static_headers" });
  await page.getByRole("link", { name: "Clear all" }).click();
  assert.deepEqual(filters(page), {});
}

// Which servers are there may change from one look to the next: those that do not answer are found out by and by.
async function showsOnly(page, all) {
  assert.deepEqual(filters(page), all);
  const texts = await page.locator("tbody tr").allTextContents();
  assert(texts.length > 0);
  for (const text of texts) {
    assert.match(text, /Inactive/);
    assert.match(text, /Static Headers/);
    assert.match(text, /batch|All Projects/);
  }
}

// Next page, until there is none: every server once, in order; the filter stays.
export async function pagesHaveEveryServerOnce({ visit, token, expected }) {
  const page = await (await visit()).signIn(token, "/servers?project=web&auth=oauth2");
  const found = await names(page);
  for (let next; (next = page.getByRole("link", { name: "Next page" })), await next.count(); ) {
    await next.click();
    await page.getByRole("link", { name: "First page" }).waitFor();
    assert.equal(filters(page).project, "web");
    found.push(...(await names(page)));
  }
  assert.deepEqual(found, expected);
}

// A search keeps the filters, and says so where nothing matches.
export async function aSearchNarrowsWhatIsFiltered({ visit, token, expected }) {
  const page = await (await visit()).signIn(token, "/servers?auth=none");
  const search = page.getByRole("searchbox", { name: "Search servers" });
  await search.fill("number 012");
  await search.press("Enter");
  await page.waitForURL(/q=/);
  assert.deepEqual(filters(page), { auth: "none", q: "number 012" });
  assert.deepEqual(await names(page), expected);
  await search.fill("no server is called like this");
  await search.press("Enter");
  await page.getByRole("heading", { name: "No server matches" }).waitFor();
  await page.getByRole("link", { name: "Clear all filters" }).click();
  assert.equal((await names(page)).length, 50);
}

// Menus open and close by keys, and one at a time.
export async function filtersByKeyboard({ visit, token }) {
  const page = await (await visit()).signIn(token);
  const summary = page.locator("summary", { hasText: "+ Status" });
  await summary.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Inactive", exact: true }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.getByRole("link", { name: "Inactive", exact: true }).isVisible(), false);
  assert.equal(await summary.evaluate((element) => element === document.activeElement), true);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("Status: Inactive").waitFor();
}
