// Debian's Chromium, for all scenarios of a run: prints where `run.mjs` finds it.
//
//     node serve.mjs

import { chromium } from "playwright-core";

// Without these, Chromium asks its maker's hosts for this and that when it starts.
const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
// There is no graphics card; and as root it has no sandbox.
const args = [...quiet, "--disable-quic", "--disable-gpu", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])];

const server = await chromium.launchServer({ executablePath: "/usr/bin/chromium", args, host: "127.0.0.1" });
console.log(server.wsEndpoint());
server.on("close", () => process.exit());
