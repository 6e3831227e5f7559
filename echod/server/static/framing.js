// The marks on a portrait: its faces, of which one is chosen by a click, and the crop, which is dragged once it is set.

import { cropOf, looseCrop, moved, resized } from "./crop.js";
import { t } from "./words.js";

const CORNERS = ["nw", "ne", "sw", "se"];
const GRIP = 10; // CSS pixels: radius of a corner's handle
const REACH = 24; // and of where it is taken hold of
const STEP = 0.02; // of the crop, by which a key moves or resizes it
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Dispatches "change" when somebody chose a face or dragged the crop. `crop` and `face` are as a request has them. */
export class Framing extends EventTarget {
  crop = null; // null: around the face
  face = null; // null: the largest
  element = svg("svg", { class: "marks" });
  #facts = null;
  #view = "picture";
  #size = [512, 512];
  #held = null; // what the pointer has hold of, where it began and the crop then

  constructor() {
    super();
    this.element.onpointerdown = (event) => this.#take(event);
    this.element.onpointermove = (event) => this.#held && this.#drag(event);
    this.element.onpointerup = this.element.onpointercancel = () => this.#drop();
    this.element.onclick = ({ target }) => target.dataset.face && this.choose(Number(target.dataset.face));
    this.element.onkeydown = (event) => this.#press(event);
  }

  /** The facts of a portrait, or null; what was chosen of another one is forgotten. */
  set facts(facts) {
    if (facts !== this.#facts) [this.crop, this.face] = [null, null];
    this.#facts = facts;
  }

  /** What was found of the picture, with the face that is meant. */
  get facts() {
    const box = this.#facts.boxes?.[this.face] ?? this.#facts.box;
    return { ...this.#facts, box };
  }

  get current() {
    return this.crop ?? cropOf(this.facts, this.#size);
  }

  /** Whether a crop may be set: there is a face, and room around it. */
  get loose() {
    return Boolean(this.#facts?.box && looseCrop(this.facts, this.#size));
  }

  look(view, size) {
    if (String(size) !== String(this.#size)) this.crop = null;
    [this.#view, this.#size] = [view, size];
  }

  choose(face) {
    [this.face, this.crop] = [face, null];
    this.#changed();
    this.element.querySelector(`[data-face="${face}"]`)?.focus();
  }

  /** Set the crop, to where it is, or leave it to the face again. */
  set(own) {
    this.crop = own ? looseCrop(this.facts, this.#size) : null;
    this.#changed();
  }

  /** Draw all marks anew. */
  draw() {
    if (!this.#facts) return this.element.replaceChildren();
    const { width, height, boxes = [], box } = this.facts;
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.element.setAttribute("class", `marks view-${this.#view}${this.crop ? " own" : ""}`);
    this.element.replaceChildren(svg("path", { class: "outside" }), svg("path", { class: "edge" }));
    if (box) this.element.append(svg("path", { class: "found", d: corners(box) }));
    if (this.crop) this.element.append(this.#body(), ...CORNERS.map((corner) => svg("circle", { "data-grip": corner })));
    if (boxes.length > 1) this.element.append(...boxes.map((each, index) => this.#choice(each, index, boxes.length)));
    return this.#place();
  }

  #body() {
    const label = t("The crop: arrow keys move it, plus and minus resize it");
    return svg("rect", { "data-grip": "all", tabindex: 0, role: "application", "aria-label": label });
  }

  #choice([x0, y0, x1, y1], index, count) {
    const label = t("Face {n} of {count}", { n: index + 1, count });
    const chosen = String(this.facts.box) === String([x0, y0, x1, y1]);
    return svg("rect", {
      class: "choice", x: x0, y: y0, width: x1 - x0, height: y1 - y0, "data-face": index, tabindex: 0, role: "button",
      "aria-label": label, "aria-pressed": chosen,
    });
  }

  /** Put the crop's marks where it is. */
  #place() {
    const { width, height } = this.facts;
    const [left, top, right, bottom] = this.current;
    const [outside, edge] = this.element.children;
    outside.setAttribute("d", `M0 0H${width}V${height}H0Z M${left} ${top}V${bottom}H${right}V${top}Z`);
    edge.setAttribute("d", `M${left} ${top}H${right}V${bottom}H${left}Z`);
    const pixel = 1 / (this.element.getScreenCTM()?.a || 1);
    for (const grip of this.element.querySelectorAll("circle")) {
      const corner = grip.dataset.grip;
      const place = { cx: corner.endsWith("e") ? right : left, cy: corner.startsWith("s") ? bottom : top };
      set(grip, { ...place, r: GRIP * pixel, "stroke-width": 2 * (REACH - GRIP) * pixel });
    }
    const body = this.element.querySelector("[data-grip=all]");
    if (body) set(body, { x: left, y: top, width: right - left, height: bottom - top });
  }

  #changed() {
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  #at({ clientX, clientY }) {
    return new DOMPoint(clientX, clientY).matrixTransform(this.element.getScreenCTM().inverse());
  }

  #take(event) {
    const { grip } = event.target.dataset;
    if (!grip) return;
    this.element.setPointerCapture(event.pointerId);
    this.#held = { grip, from: this.#at(event), crop: this.crop };
  }

  #drag(event) {
    const { grip, from, crop } = this.#held;
    const to = this.#at(event);
    if (grip === "all") this.crop = moved(crop, to.x - from.x, to.y - from.y, this.facts);
    else this.#pull(grip, crop, to.x - from.x, to.y - from.y);
    this.#place();
  }

  /** A corner follows the pointer, as far as the crop's shape lets it. */
  #pull(grip, crop, dx, dy) {
    const corner = { right: grip.endsWith("e"), low: grip.startsWith("s") };
    const [w, h] = this.#size;
    const more = Math.max(corner.right ? dx : -dx, ((corner.low ? dy : -dy) * w) / h);
    this.crop = resized(crop, crop[2] - crop[0] + more, corner, this.#size, this.facts);
  }

  #drop() {
    if (!this.#held) return;
    this.#held = null;
    this.dispatchEvent(new Event("change"));
  }

  #press(event) {
    const { face, grip } = event.target.dataset;
    if (face && (event.key === "Enter" || event.key === " ")) this.choose(Number(face));
    else if (grip && KEYS[event.key]) this.#nudge(...KEYS[event.key]);
    else if (grip && (event.key === "+" || event.key === "-")) this.#grow(event.key === "+" ? 1 : -1);
    else return;
    event.preventDefault();
  }

  #nudge(x, y) {
    const step = Math.max(1, STEP * (this.crop[2] - this.crop[0]));
    this.crop = moved(this.crop, x * step, y * step, this.facts);
    this.#place();
    this.dispatchEvent(new Event("change"));
  }

  /** On both sides, as far as there is room. */
  #grow(sign) {
    const step = Math.max(1, STEP * (this.crop[2] - this.crop[0])) * sign;
    for (const corner of [{ right: true, low: true }, { right: false, low: false }]) {
      this.crop = resized(this.crop, this.crop[2] - this.crop[0] + step, corner, this.#size, this.facts);
    }
    this.#place();
    this.dispatchEvent(new Event("change"));
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

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function svg(tag, attributes) {
  return set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
}
