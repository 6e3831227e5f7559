// Choosing a portrait: it is sent to the daemon at once and shown with the face that was found and the crop.

import { granted, inputOf, upload } from "./api.js";
import { cropOf, drawCrop, drawPicture } from "./crop.js";
import { $, element, say, show } from "./dom.js";
import { advise, complain, warningsOf } from "./refusals.js";
import { t } from "./words.js";

/** Dispatches "change". `input`: how a request names it, and its facts, once the daemon has looked at it. */
class Portrait extends EventTarget {
  input = null;
  #address = null; // of the picture, for this page only
  #view = "picture";
  #size = [512, 512];
  #sending = 0;

  constructor() {
    super();
    $("portrait-choose").onclick = $("portrait-again").onclick = () => $("portrait-file").click();
    $("portrait-file").onchange = ({ target }) => {
      if (target.files.length) this.take(target.files[0]);
      target.value = "";
    };
    document.addEventListener("language", () => this.#tell());
  }

  /** Whether one has been chosen, though it may not have been looked at yet. */
  get chosen() {
    return this.#address !== null;
  }

  /** Whether the daemon still looks at it. */
  get pending() {
    return this.chosen && !this.input;
  }

  /** A picture that was chosen or dropped. */
  async take(picture) {
    const sending = ++this.#sending;
    this.#show(URL.createObjectURL(picture));
    this.input = null;
    complain($("portrait-problem"), null);
    say($("portrait-facts"), t("Looking for the face…"));
    try {
      const input = await upload(picture);
      if (input.facts.kind !== "portrait") throw { code: "unsupported_media", message: "" };
      if (sending === this.#sending) this.input = input;
    } catch (refusal) {
      if (sending !== this.#sending) return;
      this.clear();
      complain($("portrait-problem"), refusal);
    }
    this.#changed();
  }

  /** One that the daemon has, in the place of any other. */
  async restore(reference) {
    const sending = ++this.#sending;
    const input = await inputOf(reference, "portrait");
    const picture = await (await granted(input.content)).blob();
    if (sending !== this.#sending) return; // another one meanwhile
    this.#show(URL.createObjectURL(picture));
    this.input = input;
    this.#changed();
  }

  clear() {
    this.#sending += 1; // what is on its way is not wanted any more
    this.input = null;
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.reveal();
    this.#changed();
  }

  /** The picture, or the place to drop one. */
  reveal() {
    const chosen = this.#address !== null;
    show($("portrait-shown"), chosen);
    show($("portrait-again"), chosen);
    show($("portrait-drop"), !chosen);
  }

  /** What the clip shows; the size of its frames decides the shape of the crop. */
  look(view, size) {
    [this.#view, this.#size] = [view, size];
    this.#mark();
  }

  /** The portrait as the clip begins with it: the address of a picture. Throws if this browser reads it not. */
  async posed() {
    const picture = $("portrait-shown").querySelector("img");
    await picture.decode();
    const canvas = element("canvas");
    if (this.#view === "face") drawCrop(canvas, picture, cropOf(this.input.facts, this.#size), this.#size);
    else drawPicture(canvas, picture);
    return URL.createObjectURL(await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9)));
  }

  #show(address) {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = address;
    $("portrait-shown").replaceChildren(element("img", { src: address, alt: t("Your portrait") }));
    this.reveal();
  }

  #changed() {
    this.#tell();
    this.#mark();
    this.dispatchEvent(new Event("change"));
  }

  #tell() {
    advise($("portrait-advice"), this.input ? warningsOf(this.input.facts) : []);
    const none = this.chosen ? "Looking for the face…" : "None chosen yet";
    if (!this.input) return say($("portrait-facts"), t(none));
    const { width, height, faces } = this.input.facts;
    const found =
      faces === 0 ? t("No face was found: the middle of the picture will be used.")
      : faces === 1 ? t("One face found.")
      : t("{n} faces found; the largest one will speak.", { n: faces });
    say($("portrait-facts"), `${found} ${width} × ${height}`);
  }

  /** Dim what is not in the clip, and frame the face; what is in the picture but not in the crop does not move. */
  #mark() {
    $("portrait-shown").querySelector("svg")?.remove();
    if (!this.input) return;
    const { width, height, box } = this.input.facts;
    const [left, top, right, bottom] = cropOf(this.input.facts, this.#size);
    const outside = `M0 0H${width}V${height}H0Z M${left} ${top}V${bottom}H${right}V${top}Z`;
    const overlay = svg("svg", { class: `marks ${this.#view}`, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    overlay.append(svg("path", { class: "outside", d: outside }));
    if (box) overlay.append(svg("path", { class: "found", d: corners(box) }));
    $("portrait-shown").append(overlay);
  }
}

/** The four corners of a box, as a path. */
function corners([x0, y0, x1, y1]) {
  const arm = Math.min(x1 - x0, y1 - y0) / 5;
  return (
    `M${x0} ${y0 + arm}V${y0}H${x0 + arm} M${x1 - arm} ${y0}H${x1}V${y0 + arm} ` +
    `M${x1} ${y1 - arm}V${y1}H${x1 - arm} M${x0 + arm} ${y1}H${x0}V${y1 - arm}`
  );
}

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export const portrait = new Portrait();
