// Somebody's browser at the dashboard, and everything that it complains of on any page.

import assert from "node:assert/strict";

export class Visitor {
  // `options` are those of a browser's context; `others` are origins that it may go to besides the dashboard.
  static async enter(browser, { origin, others = [], ...options }) {
    const context = await browser.newContext({
      baseURL: origin,
      reducedMotion: "reduce",
      viewport: { width: 1280, height: 900 },
      ...options,
    });
    context.setDefaultTimeout(8_000);
    const visitor = new Visitor(context, origin, others);
    await visitor.#listen();
    visitor.page = await context.newPage();
    return visitor;
  }

  // What went wrong, in words, in order.
  complaints = [];
  #refused = new Set();

  constructor(context, origin, others) {
    this.context = context;
    this.origin = origin;
    this.origins = [origin, ...others.map((url) => new URL(url).origin)];
  }

  // Signs in at the page that asks for it, wherever one was going.
  async signIn(token, path = "/servers") {
    await this.page.goto(path);
    await this.page.getByLabel("Token").fill(token);
    await this.page.getByRole("button", { name: "Sign in" }).click();
    await this.page.getByRole("button", { name: "Sign out" }).waitFor();
    return this.page;
  }

  complainedOfNothing() {
    // That a page was answered with 4xx is the scenario's to judge, who sees it; what others have on their pages
    // is their own matter.
    const isOurs = ({ text, url }) => {
      const isMissing = text.startsWith("Failed to load resource");
      return !(isMissing && (this.#refused.has(url) || !url.startsWith(`${this.origin}/`)));
    };
    const complaints = this.complaints.filter(isOurs).map(({ kind, text, url }) => `${kind}: ${text} (${url})`);
    assert.deepEqual(complaints, []);
  }

  // The address of the page, and a picture of it.
  async lastPage(picture) {
    const page = this.context.pages().at(-1);
    if (!page) return ["no page is open"];
    await page.screenshot({ path: picture, fullPage: true, ...asItIs }).catch(() => {});
    return [`at ${page.url()}, see ${picture}`];
  }

  async #listen() {
    const complain = (kind, text, url) => this.complaints.push({ kind, text, url });
    this.context.on("weberror", (error) => complain("error", error.error().message, error.page()?.url()));
    this.context.on("console", (said) => {
      if (["error", "warning"].includes(said.type())) complain(`console ${said.type()}`, said.text(), said.location().url);
    });
    this.context.on("dialog", async (dialog) => {
      complain("dialog", dialog.message(), dialog.page()?.url());
      await dialog.dismiss();
    });
    this.context.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (protocol !== "about:" && !this.origins.includes(origin)) complain("request", request.url(), origin);
    });
    this.context.on("response", (response) => {
      const isRefused = response.status() >= 400 && response.status() < 500;
      if (isRefused && response.request().isNavigationRequest()) this.#refused.add(response.url());
    });
    await this.context.exposeBinding("complain", ({ frame }, kind, text) => complain(kind, text, frame.url()));
    await this.context.addInitScript(() => {
      // What planted scripts call; nobody else does.
      window.xss = () => complain("script", "a planted script ran");
      document.addEventListener("securitypolicyviolation", (event) =>
        complain("policy", `${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
      );
    });
  }
}

// A picture of a page as it is: hiding the caret or stopping animations would add a style, which the policy forbids.
export const asItIs = { animations: "allow", caret: "initial" };
