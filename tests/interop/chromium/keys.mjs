// Callers' API keys on pages, as somebody makes, uses and revokes them.

import assert from "node:assert/strict";
import { audit } from "./audit.mjs";
import { button } from "./steps.mjs";

// The form of a new key, from the list on.
async function newKey(page, { name, project }) {
  await page.goto("/api-keys");
  await page.getByRole("link", { name: "Create key" }).first().click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Project").fill(project);
}

// Makes a key; what is shown is the key, and a command that has it.
export async function makes({ visit, token, noScript, name, project, expires }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token);
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "API Keys" }).click();
  await page.getByRole("heading", { name: "API Keys", level: 1 }).waitFor();
  await newKey(page, { name, project });
  await page.getByLabel("Expires").selectOption({ label: expires });
  await button(page, "Create key").click();
  await page.getByRole("status").getByText("Copy the key now.").waitFor();
  const key = await page.getByLabel("API key").inputValue();
  assert.match(key, /^mcpk_[0-9A-Za-z]{43}$/);
  assert((await page.locator("#made-curl").innerText()).includes(`authorization: Bearer ${key}`));
  await page.getByRole("link", { name: "I have copied it" }).click();
  const row = page.getByRole("row").filter({ hasText: name });
  assert.match(await row.innerText(), new RegExp(`${project}[^]*not yet`));
  assert(!(await page.content()).includes("mcpk_"));
  return key;
}

// The button copies the key, and the other one the command.
export async function copies({ visit, token, name, project }) {
  const visitor = await visit({ permissions: ["clipboard-read", "clipboard-write"] });
  const page = await visitor.signIn(token);
  await newKey(page, { name, project });
  await button(page, "Create key").click();
  const key = await page.getByLabel("API key").inputValue();
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.locator("[data-copy=made-key]").click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await copied(), key);
  await page.locator("[data-copy=made-curl]").click();
  await page.waitForFunction(() => document.querySelectorAll("button").length && document.querySelector("[data-copy=made-curl]").textContent === "Copied");
  const command = await copied();
  assert(command.startsWith("curl -s ") && command.includes(key), command);
}

// A question that names the key, and then it is gone.
export async function revokes({ visit, token, noScript, name }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token, "/api-keys");
  await page.getByRole("link", { name: `Revoke ${name}`, exact: true }).click();
  await page.getByRole("heading", { name: `Revoke ${name}?` }).waitFor();
  await button(page, "Revoke the key").click();
  await page.getByRole("status").getByText("Revoked").waitFor();
  assert.equal(await page.getByRole("link", { name: `Revoke ${name}`, exact: true }).count(), 0);
}

// A date has a field of its own, which shows when it is wanted.
export async function dates({ visit, token, name, project }) {
  const page = await (await visit()).signIn(token);
  await newKey(page, { name, project });
  const date = page.getByLabel("Date (UTC)");
  assert.equal(await date.isVisible(), false);
  await page.getByLabel("Expires").selectOption({ label: "at the end of a date" });
  await button(page, "Create key").click();
  await page.getByRole("alert").getByText("The expiry needs a date").waitFor();
  await date.fill("2099-12-31");
  await button(page, "Create key").click();
  await page.getByText("until 1 Jan 2100, 00:00 UTC").waitFor();
}

// Every page in all its states, to everybody.
export async function looks({ visit, token, screenshots, name }) {
  const page = await (await visit()).signIn(token, "/api-keys");
  const found = [];
  const look = async (state) => found.push(...(await audit(page, `keys-${state}`, screenshots)));
  await look("list");
  await page.goto("/api-keys?project=none");
  await look("no-match");
  await page.goto("/api-keys/new");
  await look("new");
  await page.getByLabel("Name").fill(" ");
  await page.getByLabel("Project").fill("web");
  await page.getByLabel("Expires").selectOption({ label: "at the end of a date" });
  await button(page, "Create key").click();
  await page.getByRole("alert").waitFor();
  await look("wrong");
  await page.goto("/api-keys");
  await page.getByRole("link", { name: `Revoke ${name}`, exact: true }).click();
  await look("revoke");
  await newKey(page, { name: "shown-once", project: "web" });
  await button(page, "Create key").click();
  await page.getByRole("status").waitFor();
  await look("made");
  return found;
}
