// The four steps of creating a server, as somebody with a mouse takes them; they work without JavaScript, too.

import assert from "node:assert/strict";

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const radio = (page, name) => page.getByRole("radio", { name: new RegExp(`^${name}`) });
const next = (page) => button(page, "Continue").click();
const step = (page, name) => page.getByRole("heading", { name, level: 2, exact: true }).waitFor();

// Step 1; `projects` are new ones, with commas between them.
export async function fillServer(page, { name, url, transport = "Streamable HTTP", display, about, projects }) {
  await page.getByLabel("Server name").fill(name);
  await radio(page, transport).check();
  await page.getByLabel("Server URL").fill(url);
  if (display) await page.getByLabel("Display name").fill(display);
  if (about) await page.getByLabel("Description").fill(about);
  if (projects) {
    await radio(page, "Only some projects").check();
    await page.locator("#f-new-projects").fill(projects);
  }
}

export async function serverStep(page, server) {
  await page.goto("/create");
  await fillServer(page, server);
  await next(page);
  await step(page, "Authentication");
}

// Step 2 without credentials.
export async function openStep(page) {
  await radio(page, "No Authentication").check();
  await next(page);
  await step(page, "Tools");
}

// Step 3: exactly these tools, `asks` of them marked.
export async function toolsStep(page, tools, asks = []) {
  await button(page, "Clear All").click();
  await radio(page, "Selected tools").check();
  for (const tool of tools) await page.getByRole("checkbox", { name: tool, exact: true }).check();
  for (const tool of asks) await policy(page, tool).selectOption("ask first");
  await next(page);
  await step(page, "Connection");
}

export const policy = (page, tool) => page.getByLabel(`When a model calls ${tool}`, { exact: true });

// Step 4: what is shown is what was chosen.
export async function reviewStep(page, texts) {
  const shown = await page.getByRole("main").innerText();
  for (const text of texts) assert(shown.includes(text), `the review does not show ${text}:\n${shown}`);
  await button(page, "Create Server").click();
}

// The row of a server in the list, after it was created.
export async function created(page, name) {
  await page.getByRole("heading", { name: `${name} is created` }).waitFor();
  await page.getByRole("link", { name: "← MCP Servers" }).click();
  const row = page.getByRole("row").filter({ has: page.getByText(name, { exact: true }) });
  return row.innerText();
}
