// What the portrait says: words to be spoken, a recording made here, or a recording that exists.

import { granted, inputOf, upload } from "./api.js";
import { $, redraw, say, show } from "./dom.js";
import { drawLevel } from "./level.js";
import { Microphone, peak, wav } from "./microphone.js";
import { complain } from "./refusals.js";
import { fillVoices } from "./voices.js";
import { clock, lasting, stamp, t } from "./words.js";

const LONGEST = 1800; // seconds of a recording made here
const SHOWN = 60; // pieces whose level is seen

/** Dispatches "change". `way`: "words", "record" or "file". */
class Speech extends EventTarget {
  #sounds = { record: null, file: null }; // what each way has: {input, address}
  #microphone = null; // while it records
  #ending = false; // until the last of what was recorded is there
  #pieces = [];

  constructor() {
    super();
    $("ways").onchange = () => {
      this.finish();
      complain($("speech-problem"), null);
      this.#changed();
    };
    $("words").oninput = $("voice").onchange = () => this.#changed();
    $("speech-choose").onclick = () => $("speech-file").click();
    $("speech-file").onchange = ({ target }) => {
      if (target.files.length) this.take(target.files[0]);
      target.value = "";
    };
    $("record").onclick = () => (this.#microphone ? this.#stop() : this.#start());
    document.addEventListener("language", () => this.#render());
  }

  get way() {
    return document.querySelector("input[name=way]:checked").value;
  }

  set way(way) {
    this.finish();
    document.querySelector(`input[name=way][value=${way}]`).checked = true;
    this.#changed();
  }

  /** The recording in use, as in api.js, once the daemon has looked at it; null for words. */
  get input() {
    return this.#sounds[this.way]?.input ?? null;
  }

  /** Whether there is a recording that is not complete, or that the daemon still looks at. */
  get pending() {
    return (this.#ending && this.way === "record") || (Boolean(this.#sounds[this.way]) && !this.input);
  }

  /** How the daemon knows the recordings, by way. */
  get references() {
    return { record: this.#sounds.record?.input?.reference, file: this.#sounds.file?.input?.reference };
  }

  /** A recording that was chosen or dropped. */
  async take(recording) {
    this.way = "file";
    await this.#send("file", recording);
  }

  /** Recordings that the daemon has, by way, in the place of others. */
  async restore(references) {
    for (const [way, reference] of Object.entries(references)) {
      const before = this.#sounds[way];
      const input = await inputOf(reference, "speech");
      const content = await (await granted(input.content)).blob();
      if (before === this.#sounds[way]) this.#sounds[way] = { input, address: URL.createObjectURL(content) };
    }
    this.#changed();
  }

  /** Nobody is there to record: what was said so far is kept. */
  finish() {
    if (this.#microphone) this.#stop();
  }

  clear() {
    this.#microphone?.stop();
    this.#microphone = null;
    this.#pieces = [];
    this.#sounds = { record: null, file: null };
    $("words").value = "";
    this.#changed();
  }

  /** The recording in use is of no use any more. */
  drop() {
    this.#sounds[this.way] = null;
    this.#changed();
  }

  async #send(way, recording) {
    complain($("speech-problem"), null);
    const sound = { input: null, address: URL.createObjectURL(recording) };
    this.#sounds[way] = sound;
    this.#changed();
    try {
      const input = await upload(recording);
      if (input.facts.kind !== "speech") throw { code: "unsupported_media", message: "" };
      sound.input = input;
    } catch (refusal) {
      if (sound !== this.#sounds[way]) return;
      this.#sounds[way] = null;
      complain($("speech-problem"), refusal);
    }
    this.#changed();
  }

  async #start() {
    this.#pieces = [];
    this.#sounds.record = null;
    $("record-time").textContent = clock(0);
    complain($("speech-problem"), null);
    this.#microphone = new Microphone((piece) => this.#heard(piece));
    try {
      await this.#microphone.start();
    } catch (error) {
      this.#microphone = null;
      complain($("speech-problem"), error);
    }
    this.#changed();
  }

  async #stop() {
    const microphone = this.#microphone;
    this.#microphone = null;
    this.#ending = true;
    this.#changed();
    await microphone.stop();
    this.#ending = false;
    if (this.#pieces.length) await this.#send("record", wav(this.#pieces, `${t("recording")} ${stamp()}.wav`));
    else this.#changed();
  }

  #heard(piece) {
    this.#pieces.push(piece);
    const seconds = this.#pieces.length / 10;
    $("record-time").textContent = clock(seconds);
    drawLevel($("level"), this.#pieces.slice(-SHOWN).map(peak));
    if (seconds >= LONGEST) this.finish();
  }

  #changed() {
    this.#render();
    this.dispatchEvent(new Event("change"));
  }

  #render() {
    const way = this.way;
    for (const part of document.querySelectorAll("[data-way]")) show(part, part.dataset.way === way);
    const recording = Boolean(this.#microphone);
    redraw($("record"), recording ? "stop" : "mic");
    $("record").setAttribute("aria-pressed", recording);
    $("record").setAttribute("aria-label", recording ? t("Stop recording") : t("Record"));
    const sound = this.#sounds[way];
    show($("speech-shown"), Boolean(sound) && !recording);
    if (!sound) return;
    if ($("speech-player").src !== sound.address) $("speech-player").src = sound.address;
    const { input } = sound;
    const facts = input ? `${input.name} · ${lasting(input.facts.seconds)}` : t("Listening to it…");
    say($("speech-facts"), facts);
  }
}

export const speech = new Speech();

/** Fill the list of voices and choose the `wanted` one, else as before; without any there is nothing to choose. */
export async function listVoices(wanted) {
  show($("voice-row"), await fillVoices($("voice"), wanted));
}
