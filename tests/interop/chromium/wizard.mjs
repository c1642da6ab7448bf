// Creating a server.

import assert from "node:assert/strict";
import { button, created, fillServer, openStep, policy, radio, reviewStep, serverStep, toolsStep } from "./steps.mjs";

// All four steps against a real server; with `noScript` as a browser without JavaScript takes them.
export async function fourSteps({ visit, token, server, tools, asks, noScript }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token);
  await page.getByRole("link", { name: "Create Server" }).first().click();
  await fillServer(page, server);
  await button(page, "Continue").click();
  await openStep(page);

  // What a tool does, and what it is called for models, is there on demand.
  const details = page.locator("details.tool-more").first();
  await details.locator("summary").click();
  assert.match(await details.innerText(), new RegExp(`${server.name}__`));
  await toolsStep(page, tools, asks);
  await reviewStep(page, [server.name, server.display, server.transport, server.url, "No Auth", ...tools, ...asks, "ask first"]);
  const row = await created(page, server.name);
  for (const text of [server.display, server.about, "Active", String(tools.length), "No Auth"]) {
    assert(row.includes(text), `the row has no ${text}: ${row}`);
  }
  // Without the script and with it, nothing is left to be finished.
  assert.equal(await page.getByText("Unfinished servers").count(), 0);
}

// The same with nothing but keys.
export async function byKeyboard({ visit, token, server, tool }) {
  const page = await (await visit()).signIn(token);
  const { keyboard } = page;
  // Presses Tab until `what` has the focus.
  async function tabTo(what) {
    for (let tabs = 0; tabs < 80; tabs++) {
      if (await what.evaluate((element) => element === document.activeElement)) return;
      await keyboard.press("Tab");
    }
    throw new Error(`Tab does not lead to ${what}`);
  }
  const skip = page.getByRole("link", { name: "Skip to content" });
  await tabTo(skip);
  await keyboard.press("Enter");
  await tabTo(page.getByRole("link", { name: "Create Server" }).first());
  await keyboard.press("Enter");

  await page.getByRole("heading", { name: "Server and scope" }).waitFor();
  await tabTo(page.getByLabel("Server name"));
  await keyboard.type(server.name);
  await tabTo(radio(page, "Streamable HTTP"));
  await keyboard.press("ArrowDown");
  assert(await radio(page, "SSE").isChecked());
  await keyboard.press("ArrowUp");
  await tabTo(page.getByLabel("Server URL"));
  await keyboard.type(server.url);
  // Enter in a field is as good as the button.
  await keyboard.press("Enter");

  await page.getByRole("heading", { name: "Authentication", level: 2 }).waitFor();
  await tabTo(radio(page, "No Authentication"));
  await tabTo(button(page, "Continue"));
  await keyboard.press("Enter");

  await page.getByRole("heading", { name: "Tools", level: 2 }).waitFor();
  await tabTo(button(page, "Clear All"));
  await keyboard.press("Enter");
  await tabTo(page.getByRole("searchbox", { name: "Search tools" }));
  await keyboard.type(tool);
  await tabTo(page.getByRole("checkbox", { name: tool, exact: true }));
  await keyboard.press("Space");
  await tabTo(policy(page, tool));
  await keyboard.type("ask");
  assert.equal(await policy(page, tool).inputValue(), "ask_first");
  await tabTo(button(page, "Continue"));
  await keyboard.press("Enter");

  await page.getByRole("heading", { name: "Connection" }).waitFor();
  await tabTo(button(page, "Create Server"));
  await keyboard.press("Enter");
  assert.match(await created(page, server.name), /Active/);
}

// Going back, reloading, leaving and another name lose nothing.
export async function nothingIsLost({ visit, token, server, tools, noScript }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token);
  await serverStep(page, server);
  await page.reload();
  await radio(page, "Static Headers").check();
  await page.getByLabel("Header", { exact: true }).first().fill("x-api-key");
  await page.getByLabel("Value", { exact: true }).first().fill("a-secret-of-tests");
  await button(page, "Save and add another header").click();
  await page.getByText("Leave empty to keep it").or(page.getByPlaceholder("Leave empty to keep it")).first().waitFor();
  assert.equal((await page.content()).includes("a-secret-of-tests"), false);

  // Back to the first step: all is there, and may be changed.
  await page.getByRole("link", { name: "Back", exact: true }).click();
  for (const [label, value] of [["Server name", server.name], ["Server URL", server.url], ["Display name", server.display], ["Description", server.about]]) {
    assert.equal(await page.getByLabel(label).inputValue(), value);
  }
  for (const project of server.projects.split(", ")) assert(await page.getByRole("checkbox", { name: project, exact: true }).isChecked());
  const renamed = `${server.name}-renamed`;
  await page.getByLabel("Server name").fill(renamed);
  await button(page, "Continue").click();
  await page.waitForURL(`**/servers/${renamed}/setup/auth`);
  assert(await radio(page, "Static Headers").isChecked());
  assert.equal(await page.getByLabel("Header", { exact: true }).first().inputValue(), "x-api-key");
  await button(page, "Continue").click();

  // Away, and in again by the list.
  await toolsStep(page, tools);
  await page.getByRole("link", { name: "← MCP Servers" }).click();
  const unfinished = page.getByRole("region", { name: "Unfinished servers" });
  assert.equal(await unfinished.getByRole("listitem").count(), 1);
  await unfinished.getByRole("link", { name: `Continue setup of ${renamed}` }).click();
  await page.getByRole("link", { name: "Tools", exact: true }).click();
  for (const tool of tools) assert(await page.getByRole("checkbox", { name: tool, exact: true }).isChecked(), tool);
  await page.reload();
  await page.goBack();
  await page.goForward();
  await button(page, "Continue").click();
  await reviewStep(page, [renamed, "Static Headers", "x-api-key", ...tools, ...server.projects.split(", ")]);
  await created(page, renamed);
}

// What is wrong stands beside its field, is read with it, and what was typed stays.
export async function errorsStandBesideTheirFields({ visit, token, url, taken, wrong }) {
  const page = await (await visit()).signIn(token);
  const found = [];
  for (const { server, label, says } of wrong) {
    await page.goto("/create");
    await fillServer(page, { name: "some-server", url, about: "typed with care", ...server });
    await button(page, "Continue").click();
    const field = page.getByLabel(label);
    await page.getByRole("alert").getByText("Nothing was saved").waitFor();
    assert.equal(await page.getByRole("alert").evaluate((element) => element === document.activeElement), true, "the summary has no focus");
    assert.equal(await field.getAttribute("aria-invalid"), "true", `${label} is not marked`);
    const said = await describedBy(page, field);
    assert.match(said, new RegExp(says, "i"));
    assert.equal(await page.getByLabel("Description").inputValue(), "typed with care");
    await page.getByRole("alert").getByRole("link").click();
    assert.equal(await field.evaluate((element) => element === document.activeElement), true, "the summary does not lead to the field");
    found.push(said);
  }

  // Headers that cannot be sent; the value is not shown again.
  await serverStep(page, { name: "some-server", url });
  await radio(page, "Static Headers").check();
  await page.getByLabel("Header", { exact: true }).first().fill("Host");
  await page.getByLabel("Value", { exact: true }).first().fill("a-secret-of-tests");
  await button(page, "Continue").click();
  await page.getByRole("alert").waitFor();
  const header = page.getByLabel("Header", { exact: true }).first();
  assert.equal(await header.inputValue(), "Host");
  found.push(await describedBy(page, header));
  assert.equal((await page.content()).includes("a-secret-of-tests"), false);
  return found;
}

async function describedBy(page, field) {
  const ids = (await field.getAttribute("aria-describedby"))?.split(" ") ?? [];
  const texts = ids.filter((id) => id.endsWith("-wrong")).map((id) => page.locator(`[id="${id}"]`).innerText());
  return (await Promise.all(texts)).join(" ").trim();
}

// A server that does not answer: why, a way to try again, and a way on.
export async function aServerThatIsDown({ visit, token, url }) {
  const page = await (await visit()).signIn(token);
  await serverStep(page, { name: "down", url });
  await openStep(page);
  const problem = page.getByRole("alert");
  await problem.getByText("tools could not be listed").waitFor();
  const said = await problem.innerText();
  await button(page, "Try again").click();
  await problem.waitFor();
  await radio(page, "All tools").check();
  await button(page, "Continue").click();
  await reviewStep(page, ["All tools"]);
  assert.match(await created(page, "down"), /Inactive/);
  return said;
}
