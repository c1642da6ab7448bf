// Servers that are there: changed, looked at, deleted.

import assert from "node:assert/strict";
import { button } from "./steps.mjs";

// Another text, a secret that stays, and the switch.
export async function changes({ visit, token, name, secret }) {
  const page = await (await visit()).signIn(token);
  await page.getByRole("link", { name: `Edit ${name}`, exact: true }).click();
  await page.getByText(/^Set on \d{4}-\d\d-\d\d/).waitFor();
  assert.equal((await page.content()).includes(secret), false);
  await page.getByLabel("Display name").fill("Called anew");
  await button(page, "Save").click();
  await page.getByRole("status").waitFor();
  await page.getByRole("heading", { name: "Called anew", level: 1 }).waitFor();
  await page.getByText(/^Set on \d{4}-\d\d-\d\d/).waitFor();

  await page.getByRole("checkbox", { name: /^Enabled/ }).uncheck();
  await button(page, "Save").click();
  await page.getByRole("status").waitFor();
  await page.getByRole("link", { name: "← MCP Servers" }).click();
  const row = page.getByRole("row").filter({ hasText: "Called anew" });
  assert.match(await row.innerText(), /Inactive[^]*Switched off/);
}

// The second of two people gets a conflict, keeps what was typed, and may save it all the same.
export async function twoPeople({ visit, token, name }) {
  const [one, other] = [await visit(), await visit()];
  const first = await one.signIn(token, `/servers/${name}`);
  const second = await other.signIn(token, `/servers/${name}`);
  await first.getByLabel("Description").fill("by the first");
  await button(first, "Save").click();
  await first.getByRole("status").waitFor();

  await second.getByLabel("Display name").fill("by the second");
  await button(second, "Save").click();
  const conflict = second.getByRole("alert");
  await conflict.getByText("Somebody else saved this server").waitFor();
  assert.equal(await conflict.evaluate((element) => element === document.activeElement), true);
  assert.match(await conflict.innerText(), /by the first/);
  assert.equal(await second.getByLabel("Display name").inputValue(), "by the second");

  // Seen by the first, too, who reloads: nothing was lost by the refusal.
  await first.reload();
  assert.equal(await first.getByLabel("Description").inputValue(), "by the first");
  await button(second, "Overwrite theirs").click();
  await second.getByRole("status").waitFor();
  await first.reload();
  assert.equal(await first.getByLabel("Display name").inputValue(), "by the second");
}

// With the name typed; without the script it is compared afterwards.
export async function deletes({ visit, token, name, noScript }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token);
  await page.getByRole("link", { name: `Delete ${name}`, exact: true }).click();
  const field = page.getByLabel(`Type ${name} to confirm`);
  await field.fill("something else");
  if (noScript) {
    await button(page, "Delete server").click();
    await page.getByRole("alert").getByText("Nothing was deleted").waitFor();
  } else {
    assert.equal(await button(page, "Delete server").isDisabled(), true);
  }
  await field.fill(name);
  await button(page, "Delete server").click();
  await page.getByRole("status").getByText(`${name} is deleted`).waitFor();
  assert.equal(await page.getByRole("link", { name: `Edit ${name}`, exact: true }).count(), 0);
}

// What is declared in the file is shown, and has nothing to press.
export async function declared({ visit, token, name }) {
  const page = await (await visit()).signIn(token);
  const row = page.getByRole("row").filter({ hasText: name });
  assert.match(await row.innerText(), /declared in file/);
  assert.equal(await row.getByRole("link", { name: /^(Edit|Delete)/ }).count(), 0);
  await row.getByRole("link", { name: `Show ${name}` }).click();
  await page.getByText("declared in the configuration file").first().waitFor();
  assert.equal(await page.getByRole("main").getByRole("button").count(), 0);
  await page.getByRole("link", { name: /^Tools/ }).click();
  await page.getByRole("heading", { name: "Offered tools" }).waitFor();
  assert.equal(await button(page, "Save").count(), 0);
  await page.goto(`/servers/${name}/delete`);
  await page.getByText("declared in the configuration file").first().waitFor();
  assert.equal(await button(page, "Delete server").count(), 0);
}

// A tool is not what it was: the difference, and accepting it.
export async function acceptsAChange({ visit, token, name, tool, before, after }) {
  const page = await (await visit()).signIn(token, `/servers/${name}`);
  await page.getByRole("link", { name: /^Tools 1 to review/ }).click();
  const changes = page.getByRole("region", { name: "Needs review" });
  const difference = page.getByRole("group", { name: `Definition of ${tool}, with what has changed` });
  const shown = await difference.innerText();
  assert.match(shown, new RegExp(`[-−][^]*${before}`));
  assert.match(shown, new RegExp(`\\+[^]*${after}`));
  await changes.getByRole("button", { name: new RegExp(`^Accept`) }).click();
  await page.getByRole("status").waitFor();
  assert.equal(await changes.count(), 0);
}

// Other tools, by the page of a server that is there.
export async function selectsTools({ visit, token, name, tool }) {
  const page = await (await visit()).signIn(token, `/servers/${name}/tools`);
  await button(page, "Clear All").click();
  await page.getByRole("checkbox", { name: tool, exact: true }).check();
  await button(page, "Save").click();
  await page.getByRole("status").waitFor();
  assert(await page.getByRole("checkbox", { name: tool, exact: true }).isChecked());
}
