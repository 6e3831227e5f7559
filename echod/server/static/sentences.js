// The sentences of an answer as clips, shown one after the other: each has a video of its own, which is filled while
// the one before plays and lies ready behind it on its first picture. The next begins a moment before the end of the one
// before, so that nobody sees or hears where.

import { element } from "./dom.js";
import { Growing } from "./growing.js";

const AHEAD = 0.1; // seconds from telling a video to play until it moves and is heard
const FILLED_AT_ONCE = 3; // browsers open six connections to one host, and other requests want some of them

/** `onstart` is called with each sentence that begins, `onidle` when the last one has been shown. */
export class Sentences {
  #stage;
  #waiting = []; // announced and not begun: {id, sentence, video, growing}
  #current = null;
  #previous = null; // stays in view until the next one plays
  #heard = 0; // ms of the sentences of this answer that have ended

  constructor(stage, { onstart, onidle }) {
    Object.assign(this, { onstart, onidle });
    this.#stage = stage;
  }

  get idle() {
    return !this.#current && !this.#waiting.length;
  }

  /** Whether something is seen of the answer. */
  get speaking() {
    return Boolean(this.#previous || this.#current?.playing);
  }

  /** What follows is a new answer: `stop` counts from here. */
  begin() {
    this.#heard = 0;
  }

  add(id, sentence) {
    const properties = { playsInline: true, preload: "auto", className: "sentence", "aria-hidden": "true" };
    const video = element("video", properties);
    this.#waiting.push({ id, sentence, video, growing: new Growing(video, id, 0) });
    this.#fill();
    this.#next();
  }

  /** Show nothing more. How much of the answer was heard, in ms. */
  stop() {
    const heard = this.#heard + 1000 * (this.#current?.video.currentTime ?? 0);
    for (const clip of [this.#previous, this.#current, ...this.#waiting]) if (clip) drop(clip);
    this.#waiting = [];
    this.#previous = this.#current = null;
    this.#heard = 0;
    return Math.round(heard);
  }

  /** Fill the videos of the first few. */
  #fill() {
    const near = [this.#current, ...this.#waiting].filter((clip) => clip && !clip.filled).slice(0, FILLED_AT_ONCE);
    for (const clip of near) {
      if (clip.begun) continue;
      clip.begun = true;
      this.#stage.append(clip.video);
      clip.growing.run().then(() => this.#filled(clip), () => this.#failed(clip));
    }
  }

  #filled(clip) {
    clip.filled = true;
    this.#fill();
  }

  /** A sentence without a clip is passed over; its words stand in the transcript. */
  #failed(clip) {
    this.#waiting = this.#waiting.filter((other) => other !== clip);
    this.#filled(clip);
    if (clip === this.#current) this.#ended();
    else drop(clip);
    if (this.idle) this.onidle();
  }

  #next() {
    if (this.#current || !this.#waiting.length) return;
    const clip = (this.#current = this.#waiting.shift());
    clip.video.onended = () => {
      if (clip === this.#current) this.#ended();
      else if (clip === this.#previous && this.#current?.playing) this.#forget();
    };
    clip.video.onplaying = () => {
      if (clip !== this.#current) return;
      clip.video.onplaying = null;
      clip.playing = true;
      clip.video.classList.add("front");
      if (!this.#previous) clip.video.classList.add("first");
      if (this.#previous?.video.ended) this.#forget(); // else it is heard to its end
      this.onstart(clip.sentence, clip.video);
      this.#approach(clip);
    };
    clip.video.autoplay = true; // if there is nothing to play yet
    clip.video.play().catch(() => {}); // refused until the page has been touched: it has, to send a turn
  }

  /** Begin with the next one in time, once there is one. */
  #approach(clip) {
    if (clip !== this.#current) return;
    const left = clip.filled ? clip.video.duration - clip.video.currentTime - AHEAD : AHEAD;
    if (left > 0) setTimeout(() => this.#approach(clip), 1000 * left);
    else if (this.#waiting.length) this.#ended();
  }

  #forget() {
    drop(this.#previous);
    this.#previous = null;
  }

  #ended() {
    const clip = this.#current;
    this.#heard += 1000 * clip.video.duration || 0;
    if (this.#previous) this.#forget();
    this.#previous = clip;
    this.#current = null;
    this.#next();
    if (this.idle) this.onidle();
  }
}

function drop({ video, growing }) {
  growing.close();
  video.remove();
}
