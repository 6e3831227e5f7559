// Plays audio as it comes: pieces of 16-bit samples in base64, one right after the other.

import { RATE } from "./microphone.js";

const HEADSTART = 0.05; // seconds between the first piece and its sound, so that the next one is there in time

/** `onidle` is called when all that came has been played. */
export class Speaker {
  #context = null;
  #playing = new Set();
  #ends = 0; // on the context's clock
  #queued = 0; // seconds since the last `stop` or `begin`

  constructor(onidle) {
    this.onidle = onidle;
  }

  get idle() {
    return this.#playing.size === 0;
  }

  /** What follows is a new answer: `heard` counts from here. */
  begin() {
    this.#queued = 0;
  }

  play(base64) {
    this.#context ??= new AudioContext();
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const samples = new Int16Array(bytes.buffer);
    if (!samples.length) return;
    const sound = this.#context.createBuffer(1, samples.length, RATE);
    sound.copyToChannel(Float32Array.from(samples, (sample) => sample / 32768), 0);
    const source = this.#context.createBufferSource();
    source.buffer = sound;
    source.connect(this.#context.destination);
    this.#ends = Math.max(this.#ends, this.#context.currentTime + HEADSTART);
    source.start(this.#ends);
    this.#ends += sound.duration;
    this.#queued += sound.duration;
    this.#playing.add(source);
    source.onended = () => {
      this.#playing.delete(source);
      if (this.idle) this.onidle();
    };
  }

  /** Be silent at once. How much of the answer was heard, in ms. */
  stop() {
    if (!this.#context) return 0;
    const left = this.idle ? 0 : Math.max(0, this.#ends - this.#context.currentTime);
    for (const source of this.#playing) {
      source.onended = null;
      source.stop();
    }
    this.#playing.clear();
    this.#ends = 0;
    const heard = Math.max(0, this.#queued - left);
    this.#queued = 0;
    return Math.round(1000 * heard);
  }
}
