// In and out.

import assert from "node:assert/strict";
import { button } from "./steps.mjs";

// A wrong token says so; the right one leads to where one was going; whoever is out stays out.
export async function inAndOut({ visit, token }) {
  const visitor = await visit();
  const { page } = visitor;
  await page.goto("/servers?status=active");
  await page.getByLabel("Token").fill("wrong");
  await button(page, "Sign in").click();
  const wrong = page.getByRole("alert");
  await wrong.getByText("This is not the admin token").waitFor();
  assert.equal(await page.getByLabel("Token").getAttribute("aria-invalid"), "true");

  await page.getByLabel("Token").fill(token);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/servers?status=active");
  const [cookie] = await visitor.context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  assert.equal(await page.evaluate(() => document.cookie), "");

  const other = await visitor.context.newPage();
  await other.goto("/create");
  await button(page, "Sign out").click();
  await page.getByText("You are signed out.").waitFor();
  assert.deepEqual(await visitor.context.cookies(), []);

  // What the other tab sends is refused, in words.
  await other.getByLabel("Server name").fill("sent-too-late");
  await other.getByLabel("Server URL").fill("https://mcp.example.com/mcp");
  await button(other, "Continue").click();
  await other.getByRole("heading", { name: "You are signed out" }).waitFor();
  await page.goto("/servers");
  await page.waitForURL("**/sign-in?next=%2Fservers");
}
