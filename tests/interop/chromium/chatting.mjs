// A chat that an operator tries.

import assert from "node:assert/strict";
import { button } from "./steps.mjs";

// Asks from the page of a server; the answer has its tools, and the code to copy is of what was asked.
export async function asks({ visit, token, noScript, server, model, message, answer, tool }) {
  const page = await (await visit({ javaScriptEnabled: !noScript })).signIn(token, `/servers/${server}`);
  await page.getByRole("link", { name: "Try a chat" }).click();
  await page.getByLabel("Model").fill(model);
  await page.getByLabel("Message").fill(message);
  await button(page, "Send").click();
  await page.getByRole("link", { name: /its trace$/i }).waitFor();
  const told = await page.getByRole("region", { name: "Answer" }).innerText();
  for (const text of [answer, tool]) assert(told.includes(text), `there is no ${text}: ${told}`);
  await page.getByText("Python", { exact: true }).click();
  const code = await page.locator("[data-sample=Python]").innerText();
  for (const text of [model, message, server]) assert(code.includes(JSON.stringify(text)), `there is no ${text}: ${code}`);
  await page.getByRole("link", { name: /its trace$/i }).click();
  await page.getByText(model).first().waitFor();
}
