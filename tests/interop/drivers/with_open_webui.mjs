// Open WebUI in Chromium: what a person types into the chat, and reads there.

import { chromium } from "playwright-core";
import { serve } from "./driver.mjs";

// Asks one question after the other in a new chat with `task.chat`, a model of `task.page`.
async function chat(task) {
  const browser = await chromium.connect(task.chromium);
  try {
    const page = await (await browser.newContext({ baseURL: task.page })).newPage();
    page.setDefaultTimeout(task.timeout * 1000);
    await page.goto(`/?models=${task.chat}`);
    let asked = 0;
    return await task.converse(async (question) => {
      asked += 1;
      await page.locator("#chat-input").click();
      await page.keyboard.type(question);
      await page.keyboard.press("Enter");
      const answer = page.locator(".chat-assistant").nth(asked - 1);
      // The page offers it when the answer is whole.
      await page.getByRole("button", { name: "Regenerate" }).nth(asked - 1).waitFor();
      return answer.innerText();
    });
  } finally {
    await browser.close();
  }
}

serve({ chat });
