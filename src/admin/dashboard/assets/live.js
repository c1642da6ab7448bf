
// A page that is kept up to date, as long as somebody looks at it. The same page is asked for again,
// and its part is put in the place of the one that is shown: read as a document, so nothing in it
// runs.
const live = document.querySelector("[data-live]");
if (live) {
  const mark = document.querySelector("[data-live-mark]");
  const pause = Number(live.dataset.live) * 1000;
  let shown = live;
  let timer;

  // What is open, or has the focus, is found again by its id or by where it leads.
  const key = (element) => element.id ? `#${CSS.escape(element.id)}`
    : element.hasAttribute("href") ? `[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
  const show = (part) => {
    const focus = shown.contains(document.activeElement) ? key(document.activeElement) : null;
    for (const open of shown.querySelectorAll("details[open][id]")) {
      const same = part.querySelector(key(open));
      if (same) same.open = true;
    }
    offerCopies(part);
    shown.replaceWith(part);
    shown = part;
    if (focus) part.querySelector(focus)?.focus({ preventScroll: true });
  };
  const isRead = () => {
    const selection = getSelection();
    return !selection.isCollapsed && shown.contains(selection.anchorNode);
  };
  const later = () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") timer = setTimeout(ask, pause);
  };
  const ask = () => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 10000;
    request.onloadend = () => {
      const part = request.status === 200 && request.response?.querySelector("[data-live]");
      mark.hidden = !part;
      // Signed out: the next click leads to where one signs in.
      if (request.status === 200 && !part) return;
      if (part && !isRead()) show(document.adoptNode(part));
      later();
    };
    request.send();
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") ask();
  });
  // A range that has ended does not change.
  if (!new URLSearchParams(location.search).get("to")) {
    mark.hidden = false;
    later();
  }
}
