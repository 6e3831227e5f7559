// The microphone as 16-bit mono samples, for a conversation as they come or for a clip as one WAV file.

export const RATE = 24_000; // samples/s; the worklet has the same number

const WHY_NOT = {
  NotAllowedError: "The microphone is not allowed. Allow it in the browser's settings for this page.",
  NotFoundError: "No microphone was found. Connect one, or use a recording.",
  NotReadableError: "The microphone is in use by another program. Close it and try again.",
  insecure: "Browsers give the microphone only to pages opened by https, or on the daemon's own machine.",
};

/** Records from `start` to `stop`; `onpiece` gets an Int16Array every 100 ms. */
export class Microphone {
  #context = null;
  #stream = null;
  #node = null; // while it records
  #stopped = false; // perhaps before somebody has answered whether it may record

  constructor(onpiece) {
    this.onpiece = onpiece;
  }

  /** Throws an Error that says what to do if there is no microphone to be had. */
  async start() {
    if (!navigator.mediaDevices) throw new Error(WHY_NOT.insecure);
    try {
      const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
      this.#context = new AudioContext();
      await this.#context.audioWorklet.addModule("static/microphone-worklet.js");
      await this.#context.resume();
    } catch (error) {
      this.#release();
      throw new Error(WHY_NOT[error.name] ?? error.message);
    }
    if (this.#stopped) this.#release();
    else this.#record();
  }

  #record() {
    this.#node = new AudioWorkletNode(this.#context, "recorder", { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => data?.length && this.onpiece(data);
    this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
  }

  /** Resolves when the last piece has been handed over. */
  async stop() {
    this.#stopped = true;
    if (!this.#node) return;
    const { port } = this.#node;
    const last = new Promise((resolve) => {
      port.addEventListener("message", ({ data }) => data === null && resolve());
    });
    port.postMessage("stop");
    await last;
    this.#release();
  }

  #release() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#context?.close();
    this.#context = this.#stream = this.#node = null;
  }
}

/** A WAV file of these pieces. */
export function wav(pieces, name) {
  const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of what follows up to "data"
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, RATE, true);
  header.setUint32(28, 2 * RATE, true);
  header.setUint16(32, 2, true); // bytes of a sample
  header.setUint16(34, 16, true); // bits of a sample
  text(36, "data");
  header.setUint32(40, size, true);
  return new File([header, ...pieces], name, { type: "audio/wav" });
}

/** The loudest sample of a piece, 0..1. */
export const peak = (piece) => piece.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32768;
