// The clipboard, which plain http does not have and a browser may refuse.

import { element } from "./dom.js";

/** Put a text where it can be pasted from; false if there is no such place. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { readOnly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
