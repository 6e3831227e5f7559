// A conversation with a role over /v1/realtime, in OpenAI's Realtime events; it comes back after a lost connection.

import { socketAddress } from "./api.js";

const FIRST_PAUSE = 250; // ms before a lost connection is tried again; doubled up to
const LAST_PAUSE = 5000;

/** Dispatches every event of the server under its own type (detail: the event); "state"; and, each time it is open,
 *  "begun", "resumed", or "anew" if the daemon has forgotten the conversation. */
export class Realtime extends EventTarget {
  #socket = null;
  #pause = FIRST_PAUSE;
  #closed = false;
  state = "connecting"; // then "open"; "lost" while it is tried again

  /** `conversation`: the id of one to return to, if any. */
  constructor(role, session, conversation = null) {
    super();
    Object.assign(this, { role, session, conversation });
    this.#connect();
  }

  send(type, fields = {}) {
    if (this.state === "open") this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  /** Change the session, now and after every return to it. */
  update(session) {
    this.session = { ...this.session, ...session };
    this.send("session.update", { session: { type: "realtime", ...this.session } });
  }

  close() {
    this.#closed = true;
    this.#socket.close();
  }

  #connect() {
    const address = socketAddress("v1/realtime");
    address.searchParams.set("model", `role:${this.role}`);
    if (this.conversation) address.searchParams.set("conversation", this.conversation);
    this.#socket = new WebSocket(address);
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.#socket.onclose = () => this.#lost();
  }

  #take(event) {
    if (event.type === "session.created") this.#begin(event.session.id);
    else if (this.state !== "open" && this.conversation && event.error?.code === "not_found") this.conversation = "";
    else this.dispatchEvent(new CustomEvent(event.type, { detail: event }));
  }

  #begin(id) {
    const resumed = this.conversation === id;
    const began = this.conversation === null ? "begun" : resumed ? "resumed" : "anew";
    this.conversation = id;
    this.#pause = FIRST_PAUSE;
    this.#become("open");
    this.update({});
    this.dispatchEvent(new Event(began));
  }

  #lost() {
    if (this.#closed) return;
    this.#become("lost");
    setTimeout(() => this.#closed || this.#connect(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LAST_PAUSE);
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
