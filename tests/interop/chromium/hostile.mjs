// Pages with texts from servers, providers and models that mean harm.

import { signs } from "./signs.mjs";

// The most that two cores are good for.
const atOnce = 3;

// Opens every page, a path and the texts that it is there for, which must be seen; `bypassCSP` switches the policy off.
export async function visits({ visit, token, pages, bypassCSP }) {
  const visitor = await visit({ bypassCSP });
  await visitor.signIn(token);
  const found = await all(pages, visitor, async (page, [path, texts]) => {
    await page.goto(path, { waitUntil: "load" });
    const missing = await page.evaluate(missed, texts);
    return missing.map((text) => `${path} does not show ${text}`);
  });
  return { found, complaints: complaintsOf(visitor), pages: pages.length };
}

// Connects `server` so many times in vain: each time the provider says something else.
export async function callbacks({ visit, token, server, count, others, bypassCSP }) {
  const visitor = await visit({ bypassCSP, others });
  await visitor.signIn(token);
  const found = await all(Array(count).fill(server), visitor, async (page) => {
    const answer = await page.request.post(`/api/v1/servers/${server}/oauth/connect`, {
      headers: { authorization: `Bearer ${token}` },
    });
    await page.goto((await answer.json()).authorization_url, { waitUntil: "load" });
    const heading = await page.getByRole("heading").innerText();
    const isThere = new URL(page.url()).pathname.startsWith("/oauth/callback/") && heading === "Not connected";
    return isThere ? [] : [`${page.url()} says ${heading}`];
  });
  return { found, complaints: complaintsOf(visitor), pages: count };
}

// Opens something for each of `items`; what `open` has to complain of, and what is out of place on the page.
async function all(items, visitor, open) {
  const found = [];
  const left = [...items];
  async function go() {
    const page = await visitor.context.newPage();
    while (left.length > 0) {
      found.push(...(await open(page, left.shift())));
      for (const sign of await page.evaluate(signs)) found.push(`${page.url()}: ${sign}`);
    }
  }
  await Promise.all(Array.from({ length: atOnce }, go));
  return found;
}

// Runs in the page: which of `texts` are not to be read there. What is unseen has a badge in its place.
function missed(texts) {
  const shown = document.documentElement.cloneNode(true);
  for (const badge of shown.querySelectorAll(".unseen")) {
    badge.textContent = String.fromCodePoint(parseInt(badge.textContent.slice(2), 16));
  }
  const fields = [...shown.querySelectorAll("input, textarea")].map((field) => field.getAttribute("value") ?? field.value);
  const all = [shown.textContent, ...fields].join("\n");
  return texts.filter((text) => !all.includes(text));
}

// Pages that put the payloads where careless ones do: each must be noticed, else the search is blind.
export async function planted({ visit, payloads, bypassCSP }) {
  const found = { unnoticed: [], ran: 0, seen: 0, asked: 0 };
  const left = [...payloads];
  async function go() {
    const visitor = await visit({ bypassCSP });
    let content;
    await visitor.context.route("**", (route) =>
      route.request().url().endsWith("/planted") ? route.fulfill({ contentType: "text/html", body: content }) : route.abort(),
    );
    for (let payload; (payload = left.shift()); ) {
      let noticed = false;
      for (const place of places) {
        content = `<!doctype html><meta charset=utf-8>${place(payload)}`;
        await visitor.page.goto("/planted", { waitUntil: "domcontentloaded" }).catch(() => {});
        const seen = await visitor.page.evaluate(signs).catch(() => ["it went elsewhere"]);
        await visitor.page.waitForLoadState("load", { timeout: 300 }).catch(() => {});
        const kinds = new Set(visitor.complaints.splice(0).map(({ kind }) => kind));
        noticed = seen.length > 0 || kinds.size > 0;
        found.ran += kinds.has("script");
        found.asked += kinds.has("request");
        found.seen += seen.length > 0;
        if (noticed) break;
      }
      if (!noticed) found.unnoticed.push(payload);
    }
    // Whatever comes late was meant to come.
    await visitor.context.close();
    visitor.complaints.length = 0;
  }
  await Promise.all(Array.from({ length: atOnce }, go));
  return found;
}

const attribute = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
const places = [
  (text) => `<p>${text}</p>`,
  (text) => `<p title="${text}">x</p>`,
  (text) => `<p title='${text}'>x</p>`,
  (text) => `<p title=${text}>x</p>`,
  (text) => `<a href="${attribute(text)}">x</a>`,
  (text) => `<script>"use strict"; const said = '${text}';</script>`,
  (text) => `<script>"use strict"; const said = "${text}";</script>`,
  (text) => `<script>"use strict"; const said = '${text.replaceAll("'", "\\'")}';</script>`,
  (text) => `<script>"use strict"; const said = \`${text}\`;</script>`,
];

// What was noticed; what a browser says of a page that was refused or is gone is not of interest here.
function complaintsOf(visitor) {
  const complaints = visitor.complaints.filter(({ text }) => !text.startsWith("Failed to load resource"));
  visitor.complaints.length = 0;
  return complaints.map(({ kind, text, url }) => `${kind}: ${text} (${url})`);
}
