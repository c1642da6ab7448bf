// Every page in all its states, to everybody.

import { audit } from "./audit.mjs";
import { button, fillServer, radio, serverStep } from "./steps.mjs";

// The pages at these addresses, by the names of their pictures; with `opens` also with all that can be opened on them.
export async function pages({ visit, token, screenshots, paths, signedOut, opens }) {
  const visitor = await visit();
  const page = signedOut ? visitor.page : await visitor.signIn(token);
  const found = [];
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(path);
    found.push(...(await audit(page, name, screenshots)));
    const closed = page.locator("details:not([open]) > summary");
    if (!opens || (await closed.count()) === 0) continue;
    await closed.evaluateAll((summaries) => summaries.forEach((summary) => (summary.parentElement.open = true)));
    found.push(...(await audit(page, `${name}-open`, screenshots)));
  }
  return found;
}

// What the second of two people sees who change one server.
export async function conflict({ visit, token, screenshots, name }) {
  const visitor = await visit();
  const second = await visitor.signIn(token, `/servers/${name}`);
  const first = await visitor.context.newPage();
  await first.goto(`/servers/${name}`);
  await first.getByLabel("Description").fill("What the first one wrote.");
  await button(first, "Save").click();
  await first.getByRole("status").waitFor();
  await second.getByLabel("Display name").fill("What the second one wrote");
  await button(second, "Save").click();
  await second.getByRole("alert").waitFor();
  return [...(await audit(second, "edit-conflict", screenshots)), ...(await audit(first, "edit-saved", screenshots))];
}

// What comes up on the way through the wizard.
export async function wizard({ visit, token, screenshots, server }) {
  const page = await (await visit()).signIn(token);
  const found = [];
  const look = async (name) => found.push(...(await audit(page, `wizard-${name}`, screenshots)));

  await page.goto("/create");
  await look("1-server");
  await fillServer(page, { ...server, name: "Not A Slug", projects: "web" });
  await button(page, "Continue").click();
  await page.getByRole("alert").waitFor();
  await look("1-server-wrong");

  await serverStep(page, server);
  await look("2-auth-none");
  for (const [name, method] of Object.entries({ headers: "Static Headers", oauth: "OAuth 2.0", passthrough: "Token Passthrough" })) {
    await radio(page, method).check();
    if (method === "OAuth 2.0") await page.getByText("Advanced", { exact: true }).click();
    await look(`2-auth-${name}`);
  }
  await radio(page, "Static Headers").check();
  await page.getByLabel("Header", { exact: true }).first().fill("Host");
  await page.getByLabel("Value", { exact: true }).first().fill("a-secret-of-tests");
  await button(page, "Continue").click();
  await page.getByRole("alert").waitFor();
  await look("2-auth-wrong");
  await radio(page, "No Authentication").check();
  await button(page, "Continue").click();
  await page.getByRole("heading", { name: "Tools", level: 2 }).waitFor();
  await look("3-tools");
  await page.locator("details.tool-more summary").first().click();
  await button(page, "Clear All").click();
  await page.getByRole("checkbox").nth(1).check();
  await page.getByRole("searchbox").fill("e");
  await look("3-tools-chosen");
  await button(page, "Continue").click();
  await page.getByRole("heading", { name: "Connection" }).waitFor();
  await look("4-review");
  await button(page, "Create Server").click();
  await page.getByRole("heading", { name: "What now?" }).waitFor();
  await look("created");
  return found;
}

// What an import shows before it is done, and after; and what was wrong with the file.
export async function imported({ visit, token, screenshots, file }) {
  const page = await (await visit()).signIn(token, "/import");
  const found = [];
  const look = async (name) => found.push(...(await audit(page, `import-${name}`, screenshots)));
  await look("form");
  await page.getByLabel("Or its text").fill('{"mcpServers": {"a": {"url": 1}, "b": {}}}');
  await button(page, "Preview").click();
  await page.getByRole("alert").waitFor();
  await look("wrong");
  await page.getByLabel("File").setInputFiles({ name: "mcp.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await button(page, "Preview").click();
  await page.getByRole("heading", { name: "2 drafts" }).waitFor();
  await look("preview");
  await button(page, "Create 2 drafts").click();
  await page.getByRole("status").waitFor();
  await look("done");
  await page.goto("/servers/git-hub/setup/auth");
  await look("open");
  await page.goto("/servers/git-hub/discard");
  await look("discard");
  return found;
}

// What somebody sees who is on the way to a provider, and comes back without having agreed.
export async function oauth({ visit, token, screenshots, server, dashboard }) {
  const visitor = await visit({ others: [server.provider] });
  const page = await visitor.signIn(token);
  const found = [];
  const look = async (name) => found.push(...(await audit(page, `oauth-${name}`, screenshots)));
  // Our own page goes on by itself, at once; here it stays, to be looked at.
  const refresh = /<meta http-equiv="refresh" content="0; [^>]*>/;
  await page.route("**/setup/auth", async (route) => {
    // What is sent again is not sent by a page, so it has to say where it comes from.
    const response = await route.fetch({ headers: { ...(await route.request().allHeaders()), origin: dashboard } });
    await route.fulfill({ response, body: (await response.text()).replace(refresh, "") });
  });
  await serverStep(page, server);
  await radio(page, "OAuth 2.0").check();
  await button(page, "Connect now").click();
  await page.getByRole("link", { name: "Continue now" }).waitFor();
  await look("going");
  const start = await page.getByRole("link", { name: "Continue now" }).getAttribute("href");
  await page.goto(start);
  await page.getByRole("link", { name: "Refuse" }).click();
  await page.waitForURL("**/oauth/callback/*?**");
  await look("refused");
  await page.goto("/oauth/callback?state=of-nobody&code=c");
  await look("unknown");
  await page.goto(start);
  await look("used");
  return found;
}
