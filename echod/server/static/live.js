// One's jobs as they are: a list to begin with, then every change, over a WebSocket that comes back by itself.

import { call, socketAddress, whoami } from "./api.js";

const TERMINAL = new Set(["completed", "failed", "cancelled"]);
const FIRST_PAUSE = 250; // ms before a lost connection is tried again; doubled up to
const LAST_PAUSE = 5000;
const PAGE = 50; // jobs
const CLIPS = 24; // that are shown at first, and more of at a time

export const ended = (video) => TERMINAL.has(video.status);

/** Dispatches "change" (detail: the video), "list" and "connection". */
class Jobs extends EventTarget {
  #videos = new Map();
  #deleted = new Set(); // an event may come later than the answer to its deletion
  #listings = new Set(); // for each list on its way, the jobs that were told of since: what was told is newer
  #seq = null;
  #socket = null;
  #pause = FIRST_PAUSE;
  #oldest = null; // the last job of the list as far as it was loaded
  connected = false;
  more = false;

  /** Newest first. */
  get all() {
    return [...this.#videos.values()].sort((a, b) => b.echod.created_at - a.echod.created_at);
  }

  /** Those that are clips by themselves, and not sentences of a conversation. */
  get clips() {
    return this.all.filter((video) => !video.echod.conversation);
  }

  get(id) {
    return this.#videos.get(id);
  }

  start() {
    this.#pause = FIRST_PAUSE;
    this.#connect();
  }

  /** Forget everything: somebody else may sign in. */
  stop() {
    const socket = this.#socket;
    this.#socket = this.#seq = this.#oldest = null;
    socket?.close();
    this.#videos = new Map(); // a list on its way still fills the old one
    this.more = false;
    this.#changed("list");
  }

  /** A job that has just been accepted; its events may have come before the answer, and are newer. */
  add(video) {
    if (!this.#videos.has(video.id)) this.#put(video);
  }

  #put(video) {
    if (this.#deleted.has(video.id)) return;
    for (const told of this.#listings) told.add(video.id);
    this.#videos.set(video.id, video);
    this.dispatchEvent(new CustomEvent("change", { detail: video }));
  }

  /** Keep a clip until it is deleted, or no longer than a new one. */
  async pin(id, pinned) {
    this.#put(await call(pinned ? "POST" : "DELETE", `v1/videos/${id}/pin`));
  }

  /** Delete a job and its clip. */
  async remove(id) {
    await call("DELETE", `v1/videos/${id}`);
    this.#deleted.add(id);
    const all = this.all.map((video) => video.id);
    if (id === this.#oldest) this.#oldest = all[all.indexOf(id) - 1] ?? null; // the list goes on after it
    this.#videos.delete(id);
    this.#changed("list");
  }

  /** A job that may be older than what was loaded of the list. */
  async find(id) {
    return this.#videos.get(id) ?? (await call("GET", `v1/videos/${encodeURIComponent(id)}`));
  }

  async loadMore() {
    await this.#load(this.clips.length + CLIPS);
  }

  /** Older pages, until there are so many clips or the list ends: sentences of conversations stand in it too. */
  async #load(wanted) {
    const videos = this.#videos;
    while (this.more && this.clips.length < wanted) {
      const page = await this.#list(this.#oldest ? `&after=${this.#oldest}` : "");
      if (videos !== this.#videos) return;
      this.#oldest = page.last_id ?? this.#oldest;
      this.more = page.has_more;
      this.#changed("list");
    }
  }

  #connect() {
    const address = socketAddress("v1/events");
    if (this.#seq !== null) address.searchParams.set("after", this.#seq);
    const socket = (this.#socket = new WebSocket(address));
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      const { seq, video } = JSON.parse(data);
      this.#seq = seq;
      this.#put(video);
    };
    socket.onclose = () => this.#lost(socket);
  }

  /** What ended or was deleted while nobody listened is told by the list alone. */
  async #opened(socket) {
    try {
      const page = await this.#list("");
      if (socket !== this.#socket) return;
      if (this.#oldest === null) {
        this.#oldest = page.last_id;
        this.more = page.has_more;
      }
    } catch {
      socket.close();
      return;
    }
    this.#pause = FIRST_PAUSE;
    this.connected = true;
    this.#changed("connection");
    this.#changed("list");
    this.#load(CLIPS).catch(() => {}); // they can still be asked for
  }

  async #list(from) {
    const [told, videos] = [new Set(), this.#videos];
    this.#listings.add(told);
    try {
      const page = await call("GET", `v1/videos?limit=${PAGE}${from}`);
      if (!from) this.#forgetDeleted(page, told);
      for (const video of page.data) if (!told.has(video.id)) videos.set(video.id, video);
      return page;
    } finally {
      this.#listings.delete(told);
    }
  }

  /** Of the time that the first page covers, what it does not list is there no more. */
  #forgetDeleted(page, told) {
    const listed = new Set(page.data.map((video) => video.id));
    const since = page.has_more ? page.data.at(-1).created_at : -1;
    for (const { id, created_at } of this.all) {
      if (created_at > since && !listed.has(id) && !told.has(id)) this.#videos.delete(id);
    }
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.connected = false;
    this.#changed("connection");
    whoami().then((account) => account || document.dispatchEvent(new Event("nobody"))).catch(() => {});
    setTimeout(() => socket === this.#socket && this.#connect(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
  }

  #changed(what) {
    this.dispatchEvent(new Event(what));
  }
}

export const jobs = new Jobs();
