// What was said in a conversation, line by line.

import { element } from "./dom.js";
import { t } from "./words.js";

export class Transcript {
  #lines = new Map(); // the words of an item, by its id
  #list;

  constructor(list) {
    this.#list = list;
  }

  clear() {
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
      const words = element("p", {});
      this.#lines.set(id, words);
      this.#add(element("li", { className: speaker }, words));
    }
    return this.#lines.get(id);
  }

  append(id, words) {
    this.line("role", id).append(words);
    this.#follow();
  }

  /** The rest of an answer was not heard. */
  cut(id) {
    this.#lines.get(id)?.parentElement.classList.add("cut");
  }

  /** Something that nobody said. */
  note(text) {
    this.#add(element("li", { className: "note" }, element("p", {}, text)));
  }

  #add(row) {
    const who = { you: t("You"), role: t("Answer") }[row.className];
    if (who) row.prepend(element("span", { className: "unseen" }, `${who}: `));
    this.#list.append(row);
    this.#follow();
  }

  #follow() {
    const log = this.#list.parentElement;
    log.scrollTop = log.scrollHeight;
  }
}
