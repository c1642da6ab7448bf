// Aliases and defaults on pages, as somebody makes, changes and removes them.

import assert from "node:assert/strict";
import { audit } from "./audit.mjs";
import { button, radio } from "./steps.mjs";

const preview = (page) => page.getByRole("region", { name: "What requests get" });

// The form of a new alias with this server, from the list on.
async function newAlias(page, { name, model, server }) {
  await page.goto("/models");
  await page.getByRole("link", { name: "Add alias" }).click();
  await page.locator("#f-name").fill(name);
  await page.locator("#f-model").fill(model);
  await page.getByRole("checkbox", { name: server, exact: true }).check();
}

// Looks at what it would get, then adds it.
export async function adds({ visit, token, noScript, offered, ...alias }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token);
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Models" }).click();
  await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
  await newAlias(page, alias);
  await button(page, "Preview without saving").click();
  await preview(page).getByRole("cell", { name: offered, exact: true }).waitFor();
  assert.equal(await page.locator("#f-name").inputValue(), alias.name);
  await button(page, "Add").click();
  await page.getByRole("status").getByText("Saved").waitFor();
  await preview(page).getByRole("cell", { name: offered, exact: true }).waitFor();
}

// Another model, and one project alone.
export async function changes({ visit, token, noScript, name, model, project }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token, "/models");
  await page.getByRole("link", { name: `Edit ${name}`, exact: true }).click();
  await page.locator("#f-model").fill(model);
  await radio(page, "Only some projects").check();
  await page.locator("#f-new-projects").fill(project);
  await button(page, "Save").click();
  await page.getByRole("status").getByText("Saved").waitFor();
  await page.getByRole("link", { name: "← Models" }).click();
  const row = page.getByRole("row").filter({ hasText: name });
  assert.match(await row.innerText(), new RegExp(`${model}[^]*${project}`));
}

export async function removes({ visit, token, noScript, name }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token, "/models");
  await page.getByRole("link", { name: `Remove ${name}`, exact: true }).click();
  await button(page, "Remove").click();
  await page.getByRole("status").getByText("Removed").waitFor();
  assert.equal(await page.getByRole("link", { name, exact: true }).count(), 0);
}

// By keys alone: from the address bar to an alias that is saved.
export async function byKeyboard({ visit, token, name, model, server }) {
  const page = await (await visit()).signIn(token, "/models/alias");
  const focused = () => page.evaluate(() => document.activeElement.name || document.activeElement.textContent.trim());
  const until = async (wanted) => {
    for (let presses = 0; presses < 60; presses += 1) {
      if ((await focused()) === wanted) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`no key leads to ${wanted}`);
  };
  await until("name");
  await page.keyboard.type(name);
  await until("model");
  await page.keyboard.type(model);
  await until("server");
  while ((await page.evaluate(() => document.activeElement.value)) !== server) await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await until("go");
  await page.keyboard.press("Enter");
  await preview(page).getByRole("table").waitFor();
  await page.locator("#f-model").press("Enter");
  await page.getByRole("status").getByText("Saved").waitFor();
}

// The second of two people gets a conflict, keeps what was typed, and may save it all the same.
export async function twoPeople({ visit, token, name }) {
  const [one, other] = [await visit(), await visit()];
  const first = await one.signIn(token, "/models");
  const second = await other.signIn(token, "/models");
  const edit = (page) => page.getByRole("link", { name: `Edit ${name}`, exact: true }).click();
  await edit(first);
  await edit(second);
  await first.locator("#f-model").fill("by-the-first");
  await button(first, "Save").click();
  await first.getByRole("status").waitFor();

  await second.locator("#f-model").fill("by-the-second");
  await button(second, "Save").click();
  const conflict = second.getByRole("alert");
  await conflict.getByText("Somebody else changed this").waitFor();
  assert.equal(await conflict.evaluate((element) => element === document.activeElement), true);
  assert.match(await conflict.innerText(), /by-the-first/);
  assert.equal(await second.locator("#f-model").inputValue(), "by-the-second");
  await button(second, "Overwrite theirs").click();
  await second.getByRole("status").waitFor();
  assert.equal(await second.locator("#f-model").inputValue(), "by-the-second");
}

// What is declared in the file is shown with what it gets, and has nothing to change.
export async function declared({ visit, token, name, offered }) {
  const page = await (await visit()).signIn(token, "/models");
  const row = page.getByRole("row").filter({ hasText: name });
  assert.match(await row.innerText(), /declared in file/);
  assert.equal(await row.getByRole("link", { name: /^(Edit|Remove)/ }).count(), 0);
  await row.getByRole("link", { name: `Show ${name}` }).click();
  await page.getByText("declared in the configuration file").first().waitFor();
  await preview(page).getByRole("cell", { name: offered, exact: true }).waitFor();
  await button(page, "Preview").click();
  await preview(page).getByRole("cell", { name: offered, exact: true }).waitFor();
  assert.equal(await page.getByRole("textbox").count(), 0);
}

// Every page in all its states, to everybody.
export async function looks({ visit, token, screenshots, name, server }) {
  const page = await (await visit()).signIn(token, "/models");
  const found = [];
  const look = async (state) => found.push(...(await audit(page, `models-${state}`, screenshots)));
  await look("list");
  await page.goto("/models/alias");
  await look("alias-new");
  await page.locator("#f-name").fill("not*a*name");
  await page.locator("#f-model").fill("gpt-5");
  await button(page, "Add").click();
  await page.getByRole("alert").waitFor();
  await look("alias-wrong");
  await page.goto("/models/default");
  await page.locator("#f-project").fill("web");
  await page.getByRole("checkbox", { name: server, exact: true }).check();
  await page.locator("#f-other-servers").fill("gone");
  await button(page, "Preview without saving").click();
  await page.getByText("go on without it").waitFor();
  await look("default-preview");
  await page.goto("/models");
  await page.getByRole("link", { name: `Edit ${name}`, exact: true }).click();
  await radio(page, "Only some projects").check();
  await look("alias");
  await page.getByRole("link", { name: "Remove…" }).click();
  await look("remove");
  await page.goto("/models");
  await page.getByRole("link", { name: /^Show/ }).first().click();
  await look("declared");
  return found;
}
