// What somebody says to a role: while a button is held, or hands-free, when the daemon hears by itself who speaks.

import { drawLevel } from "./level.js";
import { Microphone, RATE, peak } from "./microphone.js";

const LEAST = RATE / 10; // samples that are worth an answer
const SHOWN = 40; // pieces whose level is seen

/** `send(type, fields)` is told to the daemon; the level is drawn on `canvas`. */
export class Ear {
  #microphone = null; // while it is open
  #samples = 0; // that it has heard
  #levels = [];
  handsFree = false;
  speaking = false; // hands-free: whether somebody speaks, as the daemon hears it

  constructor(canvas, send) {
    Object.assign(this, { canvas, send });
  }

  get open() {
    return Boolean(this.#microphone);
  }

  /** When somebody has said all, as the daemon is to find out. */
  get detection() {
    return this.handsFree ? { type: "server_vad" } : null;
  }

  /** Listen while a button is held. Throws an Error that says what to do if there is no microphone. */
  async begin() {
    this.#samples = 0;
    this.#levels = [];
    const started = (this.#microphone = new Microphone((piece) => this.#hear(piece)));
    try {
      await started.start();
    } catch (error) {
      if (this.#microphone === started) this.#microphone = null;
      throw error;
    }
  }

  /** The button was let go: what was said is to be answered, if it is anything. */
  async end() {
    await this.close();
    if (this.#samples < LEAST) return this.send("input_audio_buffer.clear");
    this.send("input_audio_buffer.commit");
    return this.send("response.create");
  }

  /** Listen all the time, or no more; the session is to be told of `detection` afterwards. Throws as `begin`. */
  async setHandsFree(on) {
    if (!on) {
      await this.close();
      this.send("input_audio_buffer.clear"); // half a sentence is not to be part of the next one
      return;
    }
    this.handsFree = true;
    try {
      await this.begin();
    } catch (error) {
      this.handsFree = false;
      throw error;
    }
  }

  /** Hear nothing more. */
  async close() {
    const ended = this.#microphone;
    this.#microphone = null;
    this.handsFree = this.speaking = false;
    await ended?.stop();
  }

  #hear(piece) {
    this.#samples += piece.length;
    this.#levels = [...this.#levels, peak(piece)].slice(-SHOWN);
    drawLevel(this.canvas, this.#levels);
    this.send("input_audio_buffer.append", { audio: btoa(String.fromCharCode(...new Uint8Array(piece.buffer))) });
  }
}
