"use strict";
// Saves clicks; every page works without it. Texts are set as text, never as markup.

// A menu closes by Escape, by a click elsewhere, and when another one opens.
const menus = [...document.querySelectorAll("details.chip")];
document.addEventListener("keydown", (event) => {
  const open = menus.find((menu) => menu.open);
  if (event.key === "Escape" && open) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});
document.addEventListener("click", (event) => {
  for (const menu of menus) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// What was wrong is where reading goes on.
document.querySelector(".notice.bad[tabindex]")?.focus();

// A button that has to wait for a server says so, and is pressed once.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button || event.target.method === "get") return;
  if (button.getAttribute("aria-busy") === "true") {
    event.preventDefault();
    return;
  }
  button.setAttribute("aria-busy", "true");
  if (button.dataset.busy) button.textContent = button.dataset.busy;
});
// Back from another page, nothing is busy any more.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});

// Copying what has to be pasted elsewhere.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// A button that can only be pressed once the name is typed.
for (const field of document.querySelectorAll("[data-confirm]")) {
  const button = field.form.querySelector("button[type=submit]");
  const judge = () => { button.disabled = field.value.trim() !== field.dataset.confirm; };
  field.addEventListener("input", judge);
  judge();
}

// The panels of tools: searching, selecting, and the selection beside the list.
const tools = document.querySelector("[data-tools]");
if (tools) {
  const rows = [...tools.querySelectorAll("[data-tool]")].map((row) => ({
    row,
    box: row.querySelector("input[type=checkbox]"),
    policy: row.querySelector("select"),
    text: row.textContent.toLowerCase(),
  }));
  const chosen = tools.querySelector("[data-chosen]");
  const count = tools.querySelector("[data-count]");
  const typed = tools.querySelector("[name=more_tools]");
  const only = tools.querySelector("[name=tools][value=only]");
  const all = tools.querySelector("[name=tools][value=all]");
  const none = tools.querySelector("[data-none]");

  const show = () => {
    const on = rows.filter(({ box }) => box.checked);
    const names = typed.value.split("\n").map((line) => line.trim()).filter(Boolean);
    chosen.replaceChildren(...on.map(({ box, policy }) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.append(...box.parentElement.querySelector(".tool-name").cloneNode(true).childNodes);
      item.append(name);
      if (policy.value === "ask_first") {
        const badge = document.createElement("span");
        badge.className = "badge warn";
        badge.textContent = "ask first";
        item.append(badge);
      }
      return item;
    }));
    count.textContent = on.length + names.length;
    const empty = tools.querySelector(".panel-right .panel-empty");
    if (empty) empty.hidden = on.length + names.length > 0;
  };
  const select = (is) => {
    for (const { row, box } of rows) if (!row.hidden) box.checked = is;
  };

  for (const button of tools.querySelectorAll("[data-select]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      select(button.dataset.select === "all");
      only.checked = true;
      show();
    });
  }
  for (const { box, policy } of rows) {
    box.addEventListener("change", () => { only.checked = true; show(); });
    policy.addEventListener("change", () => {
      if (policy.value === "ask_first") { box.checked = true; only.checked = true; }
      show();
    });
  }
  all.addEventListener("change", () => {
    for (const { box, policy } of rows) { box.checked = true; policy.value = "auto"; }
    show();
  });
  typed.addEventListener("input", show);

  const search = tools.querySelector("[data-tool-search]");
  const field = search.querySelector("input");
  search.hidden = rows.length < 2;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let found = 0;
    for (const { row, text } of rows) {
      row.hidden = !text.includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    if (none) none.hidden = found > 0;
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
}
