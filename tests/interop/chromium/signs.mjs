// Markup on a page of ours that is not ours: what a planted text became, also where it waits for a click or a hover.
// It is looked for in the document and not in what runs, so it is found whatever the policy forbids.

// Runs in the page; answers the outer HTML of what is out of place.
export function signs() {
  const ours = (url) => new URL(url, location.href).origin === location.origin;
  const isOut = (element) => {
    const [name, of] = [element.localName, (attribute) => element.getAttribute(attribute)];
    if (["iframe", "frame", "object", "embed", "base", "style", "template", "math", "marquee", "video", "audio"].includes(name)) return true;
    if (["foreignObject", "animate", "set", "image", "canvas", "noscript", "dialog", "frameset"].includes(name)) return true;
    if (name === "script") return !element.src || !ours(element.src);
    if (name === "meta" && /^refresh$/i.test(of("http-equiv") ?? "")) return !ours(/url=(.*)/i.exec(of("content"))?.[1] ?? "");
    return [...element.attributes].some(({ name, value }) => {
      if (name.startsWith("on") || ["style", "srcdoc", "ping", "background", "is", "contenteditable"].includes(name)) return true;
      if (["href", "src", "action", "formaction", "poster", "data", "xlink:href"].includes(name)) return !URL.canParse(value, location.href) || !ours(value);
      return name === "srcset";
    });
  };
  return [...document.querySelectorAll("*")].filter(isOut).map((element) => element.outerHTML.slice(0, 200));
}
