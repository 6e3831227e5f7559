// The few words in which the other modules speak of the document.

export const $ = (id) => document.getElementById(id);

/** A new element: `element("a", {href: "#/talk", onclick: leave}, "Talk")`. Text is text, never markup. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on") || name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

/** A picture from glyphs.svg, for eyes only. */
export function glyph(name) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  picture.setAttribute("class", "glyph");
  picture.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `static/glyphs.svg#${name}`);
  picture.append(use);
  return picture;
}

/** Another picture on a button. The same one again would be loaded again, or be lost while the daemon is away. */
export function redraw(button, name) {
  const [use, href] = [button.querySelector("use"), `static/glyphs.svg#${name}`];
  if (use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/** Put `children`, those that are any, in the place of what is in `target`. Focus stays on the link, or the `data-action`, that had it. */
export function refill(target, ...children) {
  const had = target.contains(document.activeElement) ? document.activeElement : null;
  const named = had?.dataset.action;
  const mark = had && (named ? `[data-action="${named}"]` : `[href="${had.getAttribute("href")}"]`);
  target.replaceChildren(...children.filter(Boolean));
  if (mark) (target.querySelector(mark) ?? target.querySelector("[tabindex]"))?.focus();
}

/** Shown or not. */
export function show(target, shown) {
  target.hidden = !shown;
}

/** The window is called as the view that is open. */
export function retitle() {
  const heading = document.querySelector(".view:not([hidden]) h1");
  if (heading) document.title = `${heading.textContent} · echod`;
}

/** A line of text that is there only while there is something to say. */
export function say(target, text) {
  target.textContent = text ?? "";
  target.hidden = !text;
}

/** What screen readers are told in passing. */
export function announce(text) {
  $("news").textContent = text;
}

const SEEN = 5000; // ms

let fading = null;

/** The same, for everybody. */
export function tell(text) {
  announce(text);
  $("news").classList.add("seen");
  clearTimeout(fading);
  fading = setTimeout(() => $("news").classList.remove("seen"), SEEN);
}
