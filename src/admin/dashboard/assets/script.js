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
const offerCopies = (part) => {
  for (const button of part.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
};
offerCopies(document);
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(from.value ?? from.textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

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
    always: row.querySelector("[name=always]"),
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
    chosen.replaceChildren(...on.map(({ box, policy, always }) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.append(...box.parentElement.querySelector(".tool-name").cloneNode(true).childNodes);
      item.append(name);
      const mark = (look, text) => {
        const badge = document.createElement("span");
        badge.className = look;
        badge.textContent = text;
        item.append(badge);
      };
      if (policy.value === "ask_first") mark("badge warn", "ask first");
      if (always.checked) mark("badge", "always offered");
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
  for (const { box, policy, always } of rows) {
    box.addEventListener("change", () => { only.checked = true; show(); });
    policy.addEventListener("change", () => {
      if (policy.value === "ask_first") { box.checked = true; only.checked = true; }
      show();
    });
    always.addEventListener("change", () => {
      if (always.checked) { box.checked = true; only.checked = true; }
      show();
    });
  }
  all.addEventListener("change", () => {
    for (const { box, policy, always } of rows) {
      box.checked = true;
      policy.value = "auto";
      always.checked = false;
    }
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

// A chat that is tried shows its answer while it comes, and the tools that run for it.
const chat = document.querySelector("[data-chat]");
if (chat && "TextDecoderStream" in window) {
  const live = document.querySelector("[data-chat-live]");
  const part = (name) => live.querySelector(`[data-chat-${name}]`);
  const calls = new Map();

  const called = ({ event, id, server, tool, is_error }) => {
    if (!calls.has(id)) {
      const item = document.createElement("li");
      item.className = "badge";
      calls.set(id, item);
      part("calls").append(item);
    }
    const item = calls.get(id);
    item.textContent = `${tool} · ${server ?? "no server"}`;
    if (event === "call_finished") item.classList.add(is_error ? "bad" : "good");
  };
  const chunk = (text) => {
    if (text === "[DONE]") return;
    const { choices, mcp, error } = JSON.parse(text);
    if (error) throw new Error(error.message);
    if (mcp?.event?.startsWith("call_")) called(mcp);
    part("answer").append(choices?.[0]?.delta?.content ?? "");
  };
  const read = async (answer) => {
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
      // Anything else is not from the gateway, or asks to sign in.
      const { error, choices } = await answer.json().catch(() => {
        throw new Error(answer.redirected ? "You are signed out." : `the status is ${answer.status}.`);
      });
      if (error) throw new Error(error.message);
      part("answer").append(choices?.[0]?.message?.content ?? "");
      return;
    }
    let rest = "";
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) chunk(line.slice(5).trim());
    }
  };

  // The same request in code is that of what is typed.
  const samples = [...document.querySelectorAll("[data-sample]")].map((pre) => ({ pre, text: pre.textContent }));
  const fill = () => {
    const form = new FormData(chat);
    const typed = {
      MODEL: [form.get("model")],
      SERVER: form.getAll("server"),
      MESSAGE: [form.get("message")],
    };
    for (const { pre, text } of samples) {
      pre.textContent = text.replace(/"YOUR-(MODEL|SERVER|MESSAGE)"/g, (placeholder, what) => {
        const values = typed[what].filter(Boolean).map((value) => JSON.stringify(value)).join(", ");
        if (!values) return placeholder;
        return pre.dataset.sample === "curl" ? values.replaceAll("'", "'\\''") : values;
      });
    }
  };
  chat.addEventListener("input", fill);
  fill();

  chat.addEventListener("submit", async (event) => {
    event.preventDefault();
    const began = new Date();
    const button = chat.querySelector("button[type=submit]");
    const form = new URLSearchParams(new FormData(chat));
    calls.clear();
    part("calls").replaceChildren();
    part("answer").replaceChildren();
    part("state").textContent = "Asking…";
    live.hidden = false;
    live.scrollIntoView({ block: "nearest" });
    button.disabled = true;
    try {
      const answer = await fetch(chat.dataset.chat, { method: "POST", body: form, headers: { accept: "application/json" } });
      await read(answer);
      const trace = document.createElement("a");
      trace.href = `${chat.dataset.chatTraces}/${answer.headers.get("x-trace-id")}`;
      trace.textContent = "See its trace";
      part("state").replaceChildren(`in ${((new Date() - began) / 1000).toFixed(1)} s · `, trace);
    } catch (error) {
      part("state").textContent = `No answer: ${error.message}`;
    }
    button.disabled = false;
  });
}
