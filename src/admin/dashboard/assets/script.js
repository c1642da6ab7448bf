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
