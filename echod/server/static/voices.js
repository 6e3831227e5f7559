// The voices that speak words, as a list to choose from.

import { call } from "./api.js";
import { element } from "./dom.js";
import { locale, t } from "./words.js";

/** Fill a list with the voices there are and choose the `wanted` one, else as before; how many there are. */
export async function fillVoices(select, wanted) {
  const { data } = await call("GET", "v1/voices");
  const chosen = wanted ?? select.value;
  const groups = Object.groupBy(data, ({ backend, model }) => `${backend} · ${model}`);
  select.replaceChildren(element("option", { value: "" }, t("Automatic")));
  for (const [label, voices] of Object.entries(groups)) {
    const options = voices.map((voice) => element("option", { value: voice.id }, nameOf(voice)));
    options.sort((a, b) => a.text.localeCompare(b.text, locale()));
    select.append(element("optgroup", { label }, ...options));
  }
  select.value = data.some((voice) => voice.id === chosen) ? chosen : "";
  return data.length;
}

/** espeak-ng's voices are named by their languages' codes. */
const nameOf = ({ model, name }) => (model === "espeak-ng" ? languageOf(name) : name);

/** A language by its tag, as its readers call it. */
export function languageOf(tag) {
  try {
    return new Intl.DisplayNames(locale(), { type: "language" }).of(tag);
  } catch {
    return tag; // a code of espeak-ng's own
  }
}
