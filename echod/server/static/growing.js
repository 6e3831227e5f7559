// One clip in a <video>: by Media Source while it is made, so that it plays from its first fragment on and is shown
// as long as it will be; the finished file otherwise.

import { granted } from "./api.js";

const AGAIN = 500; // ms before a stream that broke off is asked for again
const KEPT = 10; // seconds behind the picture that stay in memory when it runs out

const Source = window.ManagedMediaSource ?? window.MediaSource;

export const contentOf = (id) => `v1/videos/${id}/content`;
export const thumbnailOf = (id) => `v1/videos/${id}/content?variant=thumbnail`;

/** Fills `video` with the clip of a job that lasts `seconds`, as far as that is known. */
export class Growing {
  #aborter = new AbortController();
  #source = null;
  #buffer = null;

  constructor(video, id, seconds) {
    Object.assign(this, { video, id, seconds });
  }

  /** Resolves once all of the clip is in the video. Throws a Refusal if there will be none. */
  async run() {
    while (!this.#aborter.signal.aborted) {
      try {
        if (await this.#attempt()) return;
      } catch (error) {
        if (error.status >= 400 && error.status < 500) throw error;
      }
      // The attempt or the connection was lost. The next one makes the same frames, so it may begin anew underneath.
      if (this.#source?.readyState === "open") this.#buffer?.abort();
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }

  /** Stop filling; what is there stays. */
  close() {
    this.#aborter.abort();
  }

  async #attempt() {
    const response = await granted(`v1/videos/${this.id}/stream`, { signal: this.#aborter.signal });
    if (response.headers.has("Content-Length") || !Source) {
      await response.body.cancel();
      if (!response.headers.has("Content-Length")) return false; // this browser has to wait for the finished file
      this.video.src = contentOf(this.id);
      return true;
    }
    await this.#take(response.body.getReader());
    this.#source.endOfStream();
    return true;
  }

  async #take(reader) {
    let head = new Uint8Array();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (!head) {
        await this.#append(value);
        continue;
      }
      head = joined(head, value);
      const codecs = codecsOf(head);
      if (!codecs) continue;
      await this.#open(codecs);
      await this.#append(head);
      head = null;
    }
  }

  async #open(codecs) {
    if (this.#buffer) return;
    this.#source = new Source();
    const opened = happens(this.#source, "sourceopen");
    this.video.disableRemotePlayback = true; // else Safari wants a second kind of source
    this.video.src = URL.createObjectURL(this.#source);
    await opened;
    URL.revokeObjectURL(this.video.src);
    this.#buffer = this.#source.addSourceBuffer(`video/mp4; codecs="${codecs}"`);
    if (this.seconds) this.#source.duration = this.seconds;
  }

  async #append(bytes) {
    for (;;) {
      const done = happens(this.#buffer, "updateend");
      try {
        this.#buffer.appendBuffer(bytes);
        await done;
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError") throw error;
        await this.#makeRoom();
      }
    }
  }

  /** Until the picture has moved on, and what lies well behind it is forgotten. */
  async #makeRoom() {
    await happens(this.video, "timeupdate");
    const behind = this.video.currentTime - KEPT;
    if (behind <= 0) return;
    const done = happens(this.#buffer, "updateend");
    this.#buffer.remove(0, behind);
    await done;
  }
}

const happens = (target, event) => new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));

function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** The codecs of a clip by its header: profile, constraints and level stand in the avcC box (ISO 14496-15, 5.3.3). */
function codecsOf(head) {
  const [a, v, c, C] = [0x61, 0x76, 0x63, 0x43];
  const at = head.findIndex((byte, i) => byte === a && head[i + 1] === v && head[i + 2] === c && head[i + 3] === C);
  if (at < 0 || head.length < at + 8) return null;
  const profile = [...head.slice(at + 5, at + 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `avc1.${profile},mp4a.40.2`;
}
