// What was said in a conversation, line by line. Its end stays in view, unless somebody has scrolled up to read.

import { element, show } from "./dom.js";
import { t } from "./words.js";

const NEAR = 24; // pixels from its end: a line

export class Transcript {
  #lines = new Map(); // the words of an item, by its id
  #list;
  #log;
  #top = 0; // where the log was scrolled to
  #follows = true;

  constructor(list) {
    this.#list = list;
    this.#log = list.parentElement;
    this.#log.addEventListener("scroll", () => this.#scrolled());
    const sizes = new ResizeObserver(() => this.#follow());
    for (const part of [list, this.#log]) sizes.observe(part);
  }

  clear() {
    this.#follows = true;
    this.#lines.clear();
    this.#list.replaceChildren();
  }

  /** What was said, to be kept. */
  get lines() {
    const spoken = [...this.#lines].filter(([, words]) => words.textContent);
    return spoken.map(([id, words]) => [id, words.parentElement.className, words.textContent]);
  }

  restore(lines) {
    for (const [id, className, text] of lines) {
      const [speaker] = className.split(" ");
      this.line(speaker, id).textContent = text;
      if (className !== speaker) this.cut(id);
    }
  }

  /** The words of an item; a new line of `speaker`, "you" or "role", if there is none yet. */
  line(speaker, id) {
    if (!this.#lines.has(id)) {
      if (speaker === "you") this.#follows = true;
      const words = element("p", {});
      this.#lines.set(id, words);
      this.#add(element("li", { className: speaker }, words));
    }
    return this.#lines.get(id);
  }

  append(id, words) {
    this.line("role", id).append(words);
  }

  /** The rest of an answer was not heard; `words`, if they are known, were. */
  cut(id, words) {
    const line = this.#lines.get(id);
    if (!line) return;
    if (words != null) line.textContent = words.replace(/…$/, ""); // the style of such a line has it
    line.parentElement.classList.add("cut");
    show(line.parentElement, words !== "");
  }

  /** Something that nobody said, in English. */
  note(text) {
    this.#add(element("li", { className: "note" }, element("p", { "data-t": text }, t(text))));
  }

  #add(row) {
    const who = { you: t("You"), role: t("Answer") }[row.className];
    if (who) row.prepend(element("span", { className: "unseen" }, `${who}: `));
    this.#list.append(row);
  }

  #follow() {
    if (this.#follows) this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Only upwards leaves the end: it moves away by itself, too, as words are added. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#follows = near || (this.#follows && scrollTop >= this.#top);
    this.#top = scrollTop;
  }
}
