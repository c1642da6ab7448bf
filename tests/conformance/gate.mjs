// Runs the suite and judges what it saw more strictly than it does itself: `node gate.mjs PARTS [SCENARIO]...`.
//
// The suite calls a scenario passed in which nothing was checked, as it is when the client never connects, and in a
// whole suite does not look at the client's exit code. Here exactly the scenarios of scenarios.txt must have been
// run, each with as many successes as it names, no failure, no warning, and a client that ended as it should.

import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

const [parts, ...patterns] = process.argv.slice(2);
const here = import.meta.dirname;
const suite = path.join(parts, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
const results = path.join(parts, "results");

// How the suite is told to run a revision: all of it, or one scenario of it. Those of extensions belong to no
// revision, so they are forced.
const REVISIONS = {
  "2026-07-28": { all: ["--requirements", "2026-07-28"], one: ["--spec-version", "2026-07-28", "--force"] },
  "2025-11-25": {
    all: ["--requirements", "2025-11-25", "--expected-failures", path.join(here, "baseline.yml")],
    one: ["--spec-version", "2025-11-25", "--force"],
  },
  "2025-06-18": { all: ["--suite", "all", "--spec-version", "2025-06-18"], one: ["--spec-version", "2025-06-18"] },
  "2025-03-26": { all: ["--suite", "backcompat"], one: [] },
};

function main() {
  rmSync(results, { recursive: true, force: true });
  const chosen = ({ name, wanted }) => wanted !== "unscored" && patterns.some((pattern) => path.matchesGlob(name, pattern));
  const expected = scenarios().filter((scenario) => !patterns.length || chosen(scenario));
  if (!expected.length) {
    console.error(`conformance: no scenario is called ${patterns.join(" or ")}`);
    return 1;
  }

  const rows = [];
  for (const [revision, how] of Object.entries(REVISIONS)) {
    const ours = expected.filter((scenario) => scenario.revision === revision);
    if (!patterns.length) rows.push(suiteSays(revision, run(revision, how.all)));
    else for (const { name } of ours) run(revision, ["--scenario", name, ...how.one]);
    rows.push(...judge(revision, ours));
  }
  if (!patterns.length) rows.push(nothingGetsThrough());
  return report(rows);
}

// The lines of scenarios.txt.
function scenarios() {
  const lines = readFileSync(path.join(here, "scenarios.txt"), "utf8").split("\n");
  return lines
    .filter((line) => line && !line.startsWith("#"))
    .map((line) => line.split(/\s+/))
    .map(([revision, name, wanted, refuses]) => ({ revision, name, wanted, refuses: refuses === "refuses" }));
}

// Runs the suite; its results and its log get the name of the run. Returns whether it was content.
function run(name, how, client = process.env.CONFORMANCE_CLIENT) {
  mkdirSync(results, { recursive: true });
  const args = [suite, "client", "--command", `bash ${path.relative(".", here)}/client`, ...how];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args, "-o", path.join(results, name)], {
    env: { ...process.env, CONFORMANCE_CLIENT: client },
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  writeFileSync(path.join(results, `${name}.log`), stdout + stderr, { flag: "a" });
  return status === 0;
}

// A row for each scenario that was expected, and for each that was not.
function judge(run, expected) {
  const seen = new Map();
  for (const file of globSync("**/checks.json", { cwd: path.join(results, run) })) {
    const folder = path.dirname(file);
    seen.set(folder.replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, ""), path.join(results, run, folder));
  }
  const rows = expected.map((scenario) => {
    const folder = seen.get(scenario.name);
    seen.delete(scenario.name);
    if (!folder) return { run, name: scenario.name, faults: ["was not run, or has no result"] };
    return { run, name: scenario.name, ...verdict(scenario, folder) };
  });
  return [...rows, ...[...seen.keys()].map((name) => ({ run, name, faults: ["is not in scenarios.txt"] }))];
}

function verdict({ wanted, refuses }, folder) {
  const checks = JSON.parse(readFileSync(path.join(folder, "checks.json"), "utf8"));
  const having = (status) => checks.filter((check) => check.status === status);
  const [good, bad] = [having("SUCCESS"), [...having("FAILURE"), ...having("WARNING")]];
  const counts = { good: good.length, bad: bad.length };
  if (wanted === "unscored") return { ...counts, note: "not scored", faults: [] };
  if (wanted === "fails") return { ...counts, note: "known to fail", faults: bad.length ? [] : ["passes: take it off"] };

  const faults = bad.map((check) => `${check.id}: ${check.errorMessage ?? check.description}`);
  if (good.length < wanted) faults.push(`${good.length} successes where ${wanted} are expected`);
  const said = readFileSync(path.join(folder, "stderr.txt"), "utf8").trimEnd().split("\n");
  const ended = said.pop();
  if (ended !== (refuses ? "exit 1" : "exit 0")) faults.push(`the client ended with: ${ended || "nothing"}`);
  if (faults.length && said.length) faults.push(`the client's last words: ${said.slice(-3).join(" / ")}`);
  return { ...counts, faults };
}

function suiteSays(run, content) {
  return { run, name: "(the suite's own verdict)", faults: content ? [] : ["is not content"] };
}

// A client that does nothing must not pass, also where the suite itself says that it did.
function nothingGetsThrough() {
  const name = "http-standard-headers";
  run("nothing", ["--scenario", name, "--spec-version", "2026-07-28"], "true");
  const [{ faults }] = judge("nothing", [{ name, wanted: 1 }]);
  return { run: "nothing", name, note: "refused, as it must", faults: faults.length ? [] : ["a client that does nothing got through"] };
}

function report(rows) {
  for (const { run, name, good = "", bad = "", note = "ok", faults } of rows) {
    const verdict = faults.length ? "MISSED" : note;
    console.log(`${run.padEnd(11)} ${name.padEnd(44)} ${String(good).padStart(3)} ${String(bad).padStart(3)}  ${verdict}`);
    for (const fault of faults) console.log(`    ${fault}`);
  }
  const missed = rows.filter((row) => row.faults.length).length;
  console.log(`conformance: ${rows.length - missed} of ${rows.length} as expected; logs are in ${results}`);
  return missed ? 1 : 0;
}

process.exitCode = main();
