// Two languages. English is written where it is used; zh.js has the Chinese for it.

import { chinese } from "./zh.js";

const LANGUAGES = { en: {}, zh: chinese };

let language = document.documentElement.lang.startsWith("zh") ? "zh" : "en"; // by early.js

/** `english` in the reader's language, each {name} replaced by its value. */
export function t(english, values = {}) {
  const text = LANGUAGES[language]?.[english] ?? english;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** The other language for every reader of this page; "language" is dispatched on the document. */
export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
  document.dispatchEvent(new Event("language"));
}

/** Translate what index.html says: the text of `data-t`, the attributes of `data-t-placeholder` and the like. */
export function translate() {
  document.documentElement.lang = locale();
  for (const element of document.querySelectorAll("[data-t]")) {
    element.dataset.t ||= element.textContent;
    element.textContent = t(element.dataset.t);
  }
  for (const attribute of ["placeholder", "aria-label", "alt", "label"]) {
    for (const element of document.querySelectorAll(`[data-t-${attribute}]`)) {
      const kept = `data-t-${attribute}`;
      if (!element.getAttribute(kept)) element.setAttribute(kept, element.getAttribute(attribute));
      element.setAttribute(attribute, t(element.getAttribute(kept)));
    }
  }
}

/** `1:07` */
export function clock(seconds) {
  const whole = Math.floor(seconds); // as players show it
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** How long something lasts, which is never nothing. */
export const lasting = (seconds) => clock(Math.max(1, seconds));

export function timeLeft(seconds) {
  if (seconds < 2) return t("a moment left");
  if (seconds < 90) return t("about {n} s left", { n: Math.ceil(seconds) });
  return t("about {n} min left", { n: Math.round(seconds / 60) });
}

/** A moment as people say it: today by the hour, before that by the day. */
export function moment(epoch) {
  const date = new Date(epoch * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return date.toLocaleString(locale(), style);
}

/** This minute, as part of a file's name. */
export function stamp() {
  const now = new Date();
  now.setMinutes(now.getMinutes() - now.getTimezoneOffset());
  return now.toISOString().slice(0, 16).replace("T", " ").replace(":", ".");
}

export function day(epoch) {
  return new Date(epoch * 1000).toLocaleDateString(locale(), { dateStyle: "medium" });
}
