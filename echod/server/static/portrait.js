// Choosing a portrait: it is sent to the daemon at once and shown with the face that was found and the crop.

import { granted, inputOf, upload } from "./api.js";
import { drawCrop, drawPicture } from "./crop.js";
import { $, element, say, show } from "./dom.js";
import { Framing } from "./framing.js";
import { advise, complain, warningsOf } from "./refusals.js";
import { t } from "./words.js";

/** Dispatches "change". `input`: how a request names it, and its facts, once the daemon has looked at it. */
class Portrait extends EventTarget {
  input = null;
  #address = null; // of the picture, for this page only
  framing = new Framing();
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
    this.framing.addEventListener("change", () => this.#changed());
    $("crop-own").onchange = ({ target }) => this.framing.set(target.checked);
    document.addEventListener("language", () => this.#draw());
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
  async restore(reference, { crop = null, face = null } = {}) {
    const sending = ++this.#sending;
    const input = await inputOf(reference, "portrait");
    const picture = await (await granted(input.content)).blob();
    if (sending !== this.#sending) return; // another one meanwhile
    this.#show(URL.createObjectURL(picture));
    this.input = input;
    this.framing.facts = input.facts;
    Object.assign(this.framing, { crop, face });
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
    this.framing.look(view, size);
    this.#draw();
  }

  /** What a request says about face and crop. */
  get asked() {
    const { crop, face } = this.framing;
    return { ...(crop && { crop }), ...(face !== null && { face }) };
  }

  /** The portrait as the clip begins with it: the address of a picture. Throws if this browser reads it not. */
  async posed() {
    const picture = $("portrait-shown").querySelector("img");
    await picture.decode();
    const canvas = element("canvas");
    if (this.#view === "face") drawCrop(canvas, picture, this.framing.current, this.#size);
    else drawPicture(canvas, picture);
    return URL.createObjectURL(await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9)));
  }

  #show(address) {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = address;
    $("portrait-shown").replaceChildren(element("img", { src: address, alt: t("Your portrait") }));
    this.reveal();
  }

  #draw() {
    this.#tell();
    this.#mark();
  }

  #changed() {
    this.#draw();
    this.dispatchEvent(new Event("change"));
  }

  #tell() {
    advise($("portrait-advice"), this.input && this.#view === "face" ? warningsOf(this.input.facts) : []);
    const none = this.chosen ? "Looking for the face…" : "None chosen yet";
    if (!this.input) return say($("portrait-facts"), t(none));
    const { width, height, faces } = this.input.facts;
    const found =
      faces === 0 ? t("No face was found: the middle of the picture will be used.")
      : faces === 1 ? t("One face found.")
      : t("{n} faces found: click the one that speaks.", { n: faces });
    say($("portrait-facts"), `${found} ${width} × ${height}`);
  }

  /** Dim what is not in the clip, and frame the face; what is in the picture but not in the crop does not move. */
  #mark() {
    this.framing.facts = this.input?.facts ?? null;
    if (this.input) $("portrait-shown").append(this.framing.element);
    this.framing.draw();
    show($("crop-row"), this.framing.loose);
    $("crop-own").checked = Boolean(this.framing.crop);
  }
}

export const portrait = new Portrait();
