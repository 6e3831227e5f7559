// Runs in the audio thread: microphone samples at the device's rate in, 16-bit samples at RATE out, 100 ms at a time.

const RATE = 24_000;
const PIECE = RATE / 10;

class Recorder extends AudioWorkletProcessor {
  #ratio = sampleRate / RATE; // input samples of one output sample, which is their average
  #sum = 0;
  #weight = 0;
  #piece = new Int16Array(PIECE);
  #filled = 0;
  #running = true;

  constructor() {
    super();
    this.port.onmessage = () => this.#finish();
  }

  process([[samples = []]]) {
    for (const sample of samples) this.#take(sample);
    return this.#running;
  }

  #take(sample) {
    let share = 1;
    for (let needed; share >= (needed = this.#ratio - this.#weight); share -= needed) {
      this.#put((this.#sum + sample * needed) / this.#ratio);
      this.#sum = this.#weight = 0;
    }
    this.#sum += sample * share;
    this.#weight += share;
  }

  #put(value) {
    this.#piece[this.#filled++] = 32767 * Math.max(-1, Math.min(1, value));
    if (this.#filled === PIECE) this.#send();
  }

  #send() {
    const piece = this.#piece.slice(0, this.#filled);
    this.port.postMessage(piece, [piece.buffer]);
    this.#filled = 0;
  }

  #finish() {
    this.#running = false;
    this.#send();
    this.port.postMessage(null);
  }
}

registerProcessor("recorder", Recorder);
