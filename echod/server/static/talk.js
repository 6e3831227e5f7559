// The view that talks to a role: one turn is what somebody types or says, and the answer to it.

import { hears, lack, look, speaks } from "./abilities.js";
import { cropOf, drawCrop, drawPicture } from "./crop.js";
import { $, element, redraw, retitle, say, show } from "./dom.js";
import { Ear } from "./ear.js";
import { holdable } from "./hold.js";
import { RATE } from "./microphone.js";
import { Realtime } from "./realtime.js";
import { advise, complain, isMissing, lengthProblem, sentence } from "./refusals.js";
import { listRoles, portraitOf } from "./roles.js";
import { Sentences } from "./sentences.js";
import { Speaker } from "./speaker.js";
import { Transcript } from "./transcript.js";
import { t } from "./words.js";

const HASTY = "hasty"; // marks events that may come too late, when the answer has ended by itself
const LACKS = {
  replies: "No language model is set up on the daemon's machine, so nobody can answer.",
  speaks: "No voice is installed on the daemon's machine: the answers come as text.",
  hears: "Nothing on the daemon's machine understands speech: please type.",
};
const STATES = {
  connecting: "Connecting…",
  lost: "The connection was lost. Trying to get it back…",
  ready: "Ready",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking…",
  speaking: "Speaking",
};

let visit = null; // changes whenever the view is opened or left
let role = null;
let realtime = null;
let misheard = null; // the code of the error by which speech was not understood
let answer = null; // the id of the response under way
let item = null; // the id of the item that is heard
let filmed = false; // whether the picture at rest is of a clip

const transcript = new Transcript($("transcript"));
const ear = new Ear($("hearing"), (type, fields) => realtime?.send(type, fields));
const speaker = new Speaker(rest);
const sentences = new Sentences($("scene"), { onstart: begins, onidle: rest });

export async function open(name) {
  const here = (visit = Symbol("visit"));
  complain($("roles-problem"), null);
  title();
  try {
    const [roles] = await Promise.all([listRoles(), look()]);
    if (here !== visit) return;
    const chosen = roles.find((each) => each.name === name);
    if (chosen) enter(chosen);
    else if (name) complain($("roles-problem"), { message: "There is no role called {name}.", values: { name } });
  } catch (refusal) {
    complain($("roles-problem"), refusal);
  }
}

export function close() {
  visit = null;
  quiet();
  ear.close();
  realtime?.close();
  realtime = role = answer = item = null;
  show($("conversation"), false);
  show($("role-list"), true);
}

function enter(chosen) {
  role = chosen;
  show($("role-list"), false);
  show($("conversation"), true);
  title();
  offer();
  document.querySelector(`input[name=mode][value=${role.mode}]`).checked = true;
  filmed = false;
  show($("rest"), false);
  pose(role);
  const { conversation, lines = [] } = kept();
  transcript.clear();
  transcript.restore(lines);
  connect(conversation);
  if (matchMedia("(pointer: fine)").matches) $("say").focus(); // elsewhere a keyboard would cover the page
}

/** Only what this box can do; beside it, why the rest is not there. */
function offer() {
  show($("modes"), speaks());
  $("say").placeholder = t(hears() ? "Type, or hold to talk" : "Type something");
  show($("hands-free"), hears());
  advise($("talk-advice"), Object.keys(LACKS).filter(lack).map((part) => ({ ...lack(part), advice: LACKS[part] })));
}

// A conversation outlives a reload: the daemon keeps it for a while, and the browser what was said.

const kept = () => JSON.parse(sessionStorage.getItem(`talk:${role.name}`) ?? "{}");

function keep() {
  if (!realtime) return;
  const talk = { conversation: realtime.conversation, lines: transcript.lines };
  sessionStorage.setItem(`talk:${role.name}`, JSON.stringify(talk));
}

function title() {
  $("talk-title").textContent = role ? role.title || role.name : t("Talk to someone");
  retitle();
}

// What the server tells

const EVENTS = {
  state: () => {
    if (realtime.state === "lost") lose();
    if (realtime.state === "open") complain($("talk-problem"), null);
    render();
  },
  begun: () => greet(),
  anew: () => transcript.note("The conversation could not be continued; a new one begins."),
  "conversation.item.added": ({ item: added }) => {
    if (added.role !== "user") return;
    const words = added.content?.map((part) => part.text ?? part.transcript ?? "").join("");
    transcript.line("you", added.id).textContent = words || "…";
    keep();
  },
  "conversation.item.input_audio_transcription.completed": ({ item_id, transcript: words }) => {
    transcript.line("you", item_id).textContent = words || t("(nothing was heard)");
    keep();
  },
  "conversation.item.input_audio_transcription.failed": ({ item_id, error }) => {
    transcript.line("you", item_id).textContent = t("(not understood)");
    complain($("talk-problem"), error);
    misheard = error.code;
  },
  "conversation.item.truncated": ({ item_id, transcript: words }) => {
    transcript.cut(item_id, words);
    keep();
  },
  "input_audio_buffer.speech_started": () => {
    ear.speaking = ear.handsFree;
    interrupt();
    render();
  },
  "input_audio_buffer.speech_stopped": () => {
    ear.speaking = false;
    render();
  },
  "response.created": ({ response }) => {
    answer = response.id;
    speaker.begin();
    sentences.begin();
    render();
  },
  "response.output_item.added": (event) => {
    if (event.response_id === answer) item = event.item.id;
  },
  "response.output_text.delta": write,
  "response.output_audio_transcript.delta": write,
  "response.output_audio.delta": ({ response_id, delta }) => {
    if (response_id !== answer) return; // of an answer that was interrupted
    speaker.play(delta);
    render();
  },
  "response.output_video.added": ({ response_id, video_id, sentence: words }) => {
    if (response_id === answer) sentences.add(video_id, words);
  },
  "response.done": ({ response }) => {
    const error = response.status_details?.error ?? { code: "internal" };
    if (response.status === "failed" && error.code !== misheard) fail(error);
    if (response.status === "incomplete") transcript.cut(response.output.at(-1)?.id);
    misheard = null;
    if (response.id === answer) answer = null;
    rest();
    keep();
  },
  error: ({ error }) => {
    if (error.event_id !== HASTY) complain($("talk-problem"), error);
  },
};

function session() {
  const input = { turn_detection: ear.detection, format: { type: "audio/pcm", rate: RATE } };
  return { output_modalities: [mode()], audio: { input } };
}

function connect(conversation) {
  const connection = (realtime = new Realtime(role.name, session(), conversation));
  for (const [type, take] of Object.entries(EVENTS)) {
    connection.addEventListener(type, (event) => connection === realtime && take(event.detail));
  }
  render();
}

/** What is missing is told of once, with what brings it; anything else where it happened. */
function fail(error) {
  if (isMissing(error)) complain($("talk-problem"), error);
  else transcript.note(sentence(error));
}

/** The daemon ends the answer of whoever has gone. */
function lose() {
  quiet();
  answer = item = null;
  ear.speaking = false;
}

function write({ item_id, response_id, delta }) {
  if (response_id === answer) transcript.append(item_id, delta);
}

function begins(words, video) {
  say($("caption"), words);
  still(video);
  render();
}

/** The role speaks first, if browsers let it: they want the page to have been touched before it makes a sound. */
function greet() {
  if (!role.greeting) return;
  if (navigator.userActivation?.hasBeenActive ?? true) realtime.send("response.create");
  else transcript.line("role", "greeting").textContent = role.greeting;
}

/** Before it has said anything the role is seen as its clips will show it. */
async function pose(chosen) {
  const picture = element("img", { src: portraitOf(chosen) });
  await picture.decode();
  if (chosen !== role || filmed) return;
  if (chosen.view === "picture") drawPicture($("rest"), picture);
  else drawFace(picture, chosen);
  show($("rest"), true);
}

function drawFace(picture, { box, size }) {
  const sides = size.split("x").map(Number);
  drawCrop($("rest"), picture, cropOf({ width: picture.naturalWidth, height: picture.naturalHeight, box }, sides), sides);
}

/** Between two answers the role is seen as its clips begin. */
function still(video) {
  if (filmed) return;
  filmed = true;
  const { videoWidth: width, videoHeight: height } = video;
  drawCrop($("rest"), video, [0, 0, width, height], [width, height]);
  show($("rest"), true);
}

function rest() {
  if (!answer && speaker.idle && sentences.idle) {
    say($("caption"), "");
    sentences.stop();
  }
  render();
}

function state() {
  if (realtime?.state !== "open") return realtime?.state ?? "connecting";
  if (ear.open && !ear.handsFree) return "listening";
  if (ear.speaking) return "hearing";
  if (!speaker.idle || sentences.speaking) return "speaking";
  if (answer || !sentences.idle) return "thinking";
  return ear.open ? "listening" : "ready";
}

function render() {
  const now = state();
  const busy = now === "speaking" || now === "thinking";
  $("turn-state").textContent = t(STATES[now]);
  $("turn-state").dataset.state = now;
  $("scene").dataset.state = now;
  const typed = $("say").value.trim() !== "";
  const focused = document.activeElement === $("interrupt");
  show($("send"), !busy || typed);
  if (focused && !busy) $("send").focus();
  show($("interrupt"), busy);
  show($("hold"), hears() && !ear.handsFree && !(busy && typed)); // on a phone there is room for two
  redraw($("hold"), ear.open ? "stop" : "mic");
  $("hold").setAttribute("aria-pressed", ear.open);
  $("hands-free").setAttribute("aria-pressed", ear.handsFree);
  show($("hearing"), ear.open && !typed);
}

// What somebody does

const mode = () => (speaks() ? document.querySelector("input[name=mode]:checked").value : "text");

/** Be silent; how much of the answer was heard, in ms. */
function quiet() {
  say($("caption"), "");
  return speaker.stop() + sentences.stop();
}

/** End the answer, and tell the server how much of it was heard: the rest was never said. */
function interrupt() {
  if (!answer && speaker.idle && sentences.idle) return;
  if (answer) realtime.send("response.cancel", { event_id: HASTY, response_id: answer });
  const heard = quiet();
  if (item) {
    const cut = { item_id: item, content_index: 0, audio_end_ms: heard };
    realtime.send("conversation.item.truncate", { event_id: HASTY, ...cut });
    transcript.cut(item);
  }
  answer = item = null;
  render();
}

function send(event) {
  event.preventDefault();
  const text = $("say").value.trim();
  if (!text || realtime.state !== "open") return;
  const tooLong = lengthProblem(text);
  complain($("talk-problem"), tooLong);
  if (tooLong) return;
  interrupt();
  const content = [{ type: "input_text", text }];
  realtime.send("conversation.item.create", { item: { type: "message", role: "user", content } });
  realtime.send("response.create");
  $("say").value = "";
  render();
}

/** Open or close the ear, and say why if it cannot be. */
async function listen(change) {
  complain($("talk-problem"), null);
  try {
    const changed = change();
    render();
    await changed;
  } catch (error) {
    complain($("talk-problem"), error);
  }
  render();
}

function hold() {
  if (realtime?.state !== "open") return;
  interrupt();
  listen(() => ear.begin());
}

async function switchHandsFree() {
  const wanted = !ear.handsFree;
  const changing = listen(() => ear.setHandsFree(wanted));
  realtime?.update(session());
  await changing;
  if (ear.handsFree !== wanted) realtime?.update(session()); // there is no microphone
}

holdable($("hold"), { begin: hold, end: () => listen(() => ear.end()), active: () => ear.open });
$("hands-free").onclick = switchHandsFree;
$("composer").onsubmit = send;
$("say").oninput = render;
$("interrupt").onclick = interrupt;
$("modes").onchange = () => realtime?.update(session());
document.addEventListener("keydown", ({ key }) => key === "Escape" && realtime && interrupt());
window.addEventListener("pagehide", () => {
  if (answer && item) transcript.cut(item);
  keep();
});
document.addEventListener("language", () => {
  title();
  if (!role) return;
  offer();
  render();
});
