// Open WebUI in Chromium: what a person types into the chat, and reads there.

import { chromium } from "playwright-core";
import { serve } from "./driver.mjs";

// Asks one question after the other in a new chat with `task.chat`, a model of `task.page`, or with the one that the
// person `picks` from the list. The person stops the answer after `task.stops` seconds, and has it regenerated where
// they ask `again`.
async function chat(task) {
  const browser = await chromium.connect(task.chromium);
  try {
    const page = await (await browser.newContext({ baseURL: task.page })).newPage();
    page.setDefaultTimeout(task.timeout * 1000);
    await page.goto(task.picks ? "/" : `/?models=${task.chat}`);
    if (task.picks) await pick(page, task.picks);
    let asked = 0;
    return await task.converse(async (question) => {
      asked += 1;
      await page.locator("#chat-input").click();
      await page.keyboard.type(question);
      await page.keyboard.press("Enter");
      if (task.stops) await stop(page, task.stops);
      if (task.again) await regenerate(page);
      const answer = page.locator(".chat-assistant").nth(asked - 1);
      // The page offers it when the answer is whole.
      await page.getByRole("button", { name: "Regenerate" }).nth(asked - 1).waitFor();
      return answer.innerText();
    });
  } finally {
    await browser.close();
  }
}

async function pick(page, model) {
  await page.locator("#model-selector-model-button").click();
  await page.locator("#model-search-input").fill(model);
  await page.locator("#model-selector-list").getByText(model, { exact: true }).click();
}

async function stop(page, seconds) {
  await page.waitForTimeout(seconds * 1000);
  await page.getByLabel("Stop").click();
}

async function regenerate(page) {
  await page.getByRole("button", { name: "Regenerate" }).click();
  await page.getByText("Try Again").click();
  // Which of the answers is shown.
  await page.getByText("2/2").waitFor();
}

serve({ chat });
