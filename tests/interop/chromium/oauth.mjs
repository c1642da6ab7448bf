// A server behind OAuth: the dashboard is on 127.0.0.1 and the provider on localhost, two sites as in production.

import assert from "node:assert/strict";
import { button, created, radio, reviewStep, serverStep, toolsStep } from "./steps.mjs";

// From the wizard to the provider's question, over a page of ours that says where one is taken and goes on by itself.
async function toTheProvider(page, server) {
  await serverStep(page, server);
  await radio(page, "OAuth 2.0").check();
  const callback = new URL(await page.getByLabel("Callback URL").inputValue());
  assert.equal(callback.origin, new URL(page.url()).origin);
  assert.match(callback.pathname, /^\/oauth\/callback\/[0-9a-f]{32}$/);
  await page.getByText("Not connected").waitFor();
  await button(page, "Connect now").click();
  await page.getByRole("heading", { name: /wants/ }).waitFor();
  assert.equal(new URL(page.url()).origin, new URL(server.provider).origin);
}

// Through the wizard: consent, back where one was, tools, created.
export async function connects({ visit, token, server, tools }) {
  const page = await (await visit({ others: [server.provider] })).signIn(token);
  await toTheProvider(page, server);
  await page.getByRole("link", { name: "Allow" }).click();
  // Our page says so, and leads back by itself.
  await page.waitForURL(`**/servers/${server.name}/setup/auth`);
  await page.getByText("Connected", { exact: true }).waitFor();
  await button(page, "Continue").click();
  await toolsStep(page, tools);
  await reviewStep(page, ["OAuth 2.0", ...tools]);
  assert.match(await created(page, server.name), /Active/);
}

// The person says no: a plain page says what to do, and nothing is connected.
export async function isRefused({ visit, token, server }) {
  const page = await (await visit({ others: [server.provider] })).signIn(token);
  await toTheProvider(page, server);
  await page.getByRole("link", { name: "Refuse" }).click();
  await page.waitForURL("**/oauth/callback/*?**");
  const said = await page.getByRole("main").innerText();
  await page.getByRole("main").getByRole("link").first().click();
  await page.waitForURL(`**/servers/${server.name}/setup/auth`);
  await page.getByText("Not connected").waitFor();
  return said;
}

// A server that has no OAuth: why it cannot be connected, and what was typed is kept.
export async function cannotBegin({ visit, token, server }) {
  const page = await (await visit()).signIn(token);
  await serverStep(page, server);
  await radio(page, "OAuth 2.0").check();
  await page.getByLabel("OAuth scopes").fill("repo, read:org");
  await button(page, "Connect now").click();
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.deepEqual((await page.getByLabel("OAuth scopes").inputValue()).split(", ").sort(), ["read:org", "repo"]);
  return alert.innerText();
}

// On the page of a server that is connected.
export async function disconnects({ visit, token, server }) {
  const page = await (await visit({ others: [server.provider] })).signIn(token, `/servers/${server.name}`);
  await page.getByRole("button", { name: /^Disconnect/ }).click();
  await page.getByText("Not connected").waitFor();
}

export async function connectsAgain({ visit, token, server }) {
  const page = await (await visit({ others: [server.provider] })).signIn(token, `/servers/${server.name}`);
  await button(page, "Connect now").click();
  await page.getByRole("link", { name: "Allow" }).click();
  await page.waitForURL(`**/servers/${server.name}`);
  await page.getByText("Connected", { exact: true }).waitFor();
}

// A start works once, and in the browser that made it.
export async function aCallbackElsewhereIsRefused({ visit, token, server }) {
  const page = await (await visit({ others: [server.provider] })).signIn(token);
  await toTheProvider(page, server);
  let callback = await page.getByRole("link", { name: "Allow" }).evaluate((link) => link.href);
  while (!new URL(callback).pathname.startsWith("/oauth/callback/")) {
    const answer = await page.request.get(callback, { maxRedirects: 0 });
    callback = new URL(answer.headers().location, callback).href;
  }
  const other = (await visit()).page;
  await other.goto(callback);
  const said = await other.getByRole("main").innerText();
  await page.goto(`/servers/${server.name}/setup/auth`);
  await page.getByText("Not connected").waitFor();
  return said;
}
