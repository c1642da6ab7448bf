// Somebody chats with `examples/chat.html`. `base` is the gateway that it asks, `dashboard` the server of the page.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { audit } from "./audit.mjs";

// The page, filled in.
async function opened({ visit, base, model = "demo", servers = "demo", key = "" }, options = {}) {
  const visitor = await visit({ others: [base], ...options });
  const page = visitor.page;
  await page.goto("/chat.html");
  await page.getByLabel("Base URL").fill(base);
  await page.getByLabel("Model").fill(model);
  await page.getByLabel("Servers").fill(servers);
  await page.getByLabel("Key").fill(key);
  return { visitor, page };
}

// Sends a message by keyboard.
async function ask(page, text = "Look for proxies.") {
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

const last = (page) => page.locator("article.assistant").last();
const said = async (page) => (await last(page).locator(".said").allTextContents()).join("");
const isOver = (page) => page.getByRole("button", { name: "Send" }).waitFor();

// What a browser says of requests that fail, which is what is looked for here.
function expectFailures(visitor) {
  const isFailure = ({ text }) => /^(Failed to load resource|Access to fetch)/.test(text);
  const others = visitor.complaints.filter((complaint) => !isFailure(complaint));
  visitor.complaints.splice(0, Infinity, ...others);
}

export async function demo(given) {
  const { page } = await opened(given);
  await ask(page, "Roll a 20-sided die.");
  await page.locator("li.done").first().waitFor();
  await isOver(page);
  assert.equal(await page.locator("details.settings").getAttribute("open"), null);
  assert(await page.getByLabel("Message").evaluate((element) => element === document.activeElement));
  return { calls: await page.locator("li.done").allTextContents(), text: await said(page) };
}

export async function activity(given) {
  const { page } = await opened(given);
  const found = await audit(page, "chat-empty", given.screenshots);
  await ask(page);
  const call = page.locator("li.running");
  await call.waitFor();
  const running = await call.textContent();
  assert.match(await page.getByRole("status").textContent(), /^Search issues · progress…/);
  assert.equal(await last(page).getAttribute("aria-busy"), "true");
  const bar = page.getByRole("progressbar");
  await bar.waitFor();
  const bars = new Set();
  const note = await call.locator("p.quiet").textContent();
  bars.add(await bar.evaluate((element) => element.value));
  found.push(...(await audit(page, "chat-running", given.screenshots)));
  while (bars.size < 3) {
    bars.add(await bar.evaluate((element) => element.value));
    await page.waitForTimeout(50);
  }
  await writeFile(given.seenEnough, "");
  await isOver(page);
  assert.equal(await last(page).getAttribute("aria-busy"), null);
  found.push(...(await audit(page, "chat-done", given.screenshots)));
  await page.setViewportSize({ width: 375, height: 700 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 375);
  for (const summary of await page.locator("li summary").all()) await summary.click();
  found.push(...(await audit(page, "chat-done-open", given.screenshots)));
  const text = await said(page);
  return {
    running,
    note,
    bars: [...bars],
    done: await page.locator("li.done").textContent(),
    text,
    markup: await page.locator("#log img, #log b").count(),
    found,
  };
}

export async function approval(given) {
  const { page } = await opened(given);
  await ask(page);
  // The button has the focus.
  await page.getByRole("button", { name: "Approve" }).waitFor();
  const found = await audit(page, "chat-approval", given.screenshots);
  await page.getByRole("button", { name: "Approve" }).focus();
  await page.keyboard.press("Enter");
  const call = page.locator("li.failed");
  await call.waitFor();
  await page.getByText("It broke.").waitFor();
  await isOver(page);
  found.push(...(await audit(page, "chat-failed", given.screenshots)));
  assert.deepEqual(found, []);
  return { call: await call.textContent(), text: await said(page) };
}

export async function declined(given) {
  const { page } = await opened(given);
  await ask(page);
  await page.getByRole("button", { name: "Decline" }).click();
  await page.getByText("As you like.").waitFor();
  return said(page);
}

export async function stopped(given) {
  const { page } = await opened(given);
  await ask(page);
  await page.getByRole("progressbar").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  const call = await page.locator("li.stopped").textContent();
  const note = await last(page).locator("> p.quiet").textContent();
  await isOver(page);
  await ask(page, "Are you there?");
  await page.getByText("Here again.").waitFor();
  return { call, note, text: await said(page) };
}

// `picture` is the name under which the page is looked at as a whole.
export async function problem({ missing, picture, ...given }) {
  const { visitor, page } = await opened({ ...given, servers: missing ?? given.servers });
  await ask(page);
  const alert = page.getByRole("alert");
  await alert.waitFor();
  assert.equal(await alert.locator("b, img").count(), 0);
  if (picture) assert.deepEqual(await audit(page, picture, given.screenshots), []);
  expectFailures(visitor);
  return last(page).innerText();
}

export async function cut({ pid, ...given }) {
  const { visitor, page } = await opened(given);
  await ask(page);
  await page.getByText("word word").waitFor();
  process.kill(pid, "SIGKILL");
  await page.getByRole("alert").waitFor();
  expectFailures(visitor);
  return last(page).innerText();
}

export async function withKey(given) {
  const { visitor, page } = await opened(given);
  await ask(page);
  await page.getByText("Welcome.").waitFor();
  await isOver(page);
  const text = await said(page);
  const kept = await page.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage), document.cookie].filter(Boolean));
  await page.reload();
  expectFailures(visitor);
  return { text, kept, after: await page.getByLabel("Key").inputValue() };
}
