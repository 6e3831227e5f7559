// One clip beside its player: how far it is, what it is, what can be done with it.

import { call } from "./api.js";
import { doings, titleOf } from "./doings.js";
import { $, announce, element, refill, retitle, show } from "./dom.js";
import { ended, jobs } from "./live.js";
import { giveUp, play, stop } from "./player.js";
import { advise, complain, warningsOf } from "./refusals.js";
import { lasting, moment, t, timeLeft } from "./words.js";

export const STATUSES = {
  queued: "Waiting",
  in_progress: "Being made",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};
const STAGES = {
  speak: "Speaking the words",
  face: "Finding the face",
  audio: "Listening to the speech",
  reference: "Studying the portrait",
  denoise: "Imagining the motion",
  decode: "Drawing the pictures",
  mux: "Putting it together",
};

const PUPPET = "A preview: the picture's own lips are moved. It is not EchoMimic.";

let shown = null; // the id of the clip in view
let drawn = null; // the status that the panel was drawn for

const pictures = new Map(); // of jobs submitted here: the portrait as the clip begins with it

export const pictureOf = (id) => pictures.get(id);

export function rememberPicture(id, address) {
  if (address) pictures.set(id, address);
}

export async function openClip(id) {
  shown = id;
  drawn = null;
  headline(jobs.get(id));
  show($("clip"), true);
  $("clip").replaceChildren(element("p", { className: "soft" }, t("Loading…")));
  try {
    const video = await jobs.find(id);
    if (shown === id) render(video);
  } catch (refusal) {
    $("clip").replaceChildren(another());
    problem(refusal);
  }
}

export function closeClip() {
  shown = null;
  stop();
  show($("clip"), false);
}

/** The panel is drawn once for each status: what is rebuilt ten times a second cannot be clicked. */
function render(video) {
  play(video, titleOf(video), pictures.get(video.id));
  if (drawn !== video.status) draw(video);
  drawn = video.status;
  if (!ended(video)) follow(video);
}

/** The view and the window are called as the clip. */
function headline(video) {
  $("make-title").textContent = video ? titleOf(video) : t("Clip");
  retitle();
}

function draw(video) {
  headline(video);
  refill($("clip"),
    element("p", { tabIndex: -1 }, element("span", { className: `chip ${video.status}` }, t(STATUSES[video.status]))),
    ended(video) ? facts(video) : progress(),
    words(video),
    element("div", { className: "actions" }, ...actions(video), another()),
  );
  if (video.status === "failed") problem(video.error);
}

function progress() {
  return element("div", { className: "progress" },
    element("p", { className: "percent", "aria-hidden": "true" }, element("b"), "%"),
    element("progress", { max: 100, "aria-label": t("Progress") }),
    element("p", { className: "soft" }),
  );
}

function follow(video) {
  const [percent, bar, line] = $("clip").querySelector(".progress").children;
  percent.firstChild.textContent = video.progress;
  bar.value = video.progress;
  line.textContent = doing(video);
}

/** What happens to a job at present, in a line. */
export function doing(video) {
  const { stage, windows_done: done, windows_total: total, eta_s: left, queue_position: position, helpers = [] } = video.echod;
  if (video.status === "queued" && stage !== "speak") {
    return position ? t("{n} before it", { n: position }) : t("Next in line");
  }
  const parts = [t(STAGES[stage] ?? "Beginning")];
  if (total) parts.push(t("window {done} of {total}", { done, total }));
  if (left != null) parts.push(timeLeft(left));
  if (helpers.length) parts.push(t("helped by {devices}", { devices: helpers.join(", ") }));
  return parts.join(" · ");
}

function facts(video) {
  const { engine, voice, seed, frames, devices, dtype, approximation, timings_ms: timings } = video.echod;
  const { windows_resumed: resumed, windows_total: total } = video.echod;
  const rows = {
    [t("Engine")]: engine,
    [t("Voice")]: voice,
    [t("Size")]: video.size.replace("x", " × "),
    [t("Seed")]: seed,
    [t("Length")]: video.seconds && lasting(Number(video.seconds)),
    [t("Frames")]: frames || null,
    [t("Made in")]: timings?.total && t("{n} s", { n: (timings.total / 1000).toFixed(1) }),
    [t("Made on")]: devices?.length > 1 ? devices.join(", ") : null,
    [t("Computed in")]: dtype,
    [t("Approximation")]: approximation,
    [t("Resumed at")]: resumed ? t("window {done} of {total}", { done: resumed, total }) : null,
    [t("Not signed")]: video.echod.unsigned,
    [t("Submitted")]: moment(video.created_at),
    [t("Kept until")]: video.echod.pinned ? t("it is deleted") : video.expires_at && moment(video.expires_at),
  };
  const list = Object.entries(rows)
    .filter(([, value]) => value != null)
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value))));
  const puppet = engine === "preview" && video.status === "completed";
  const advice = element("div", {});
  advise(advice, warningsOf({ ...video.echod.portrait, warnings: video.echod.warnings }));
  return element("div", {},
    element("dl", { className: "facts" }, ...list),
    puppet && element("p", { className: "soft" }, t(PUPPET)),
    advice,
  );
}

/** All that is said, where the title has not room for it. */
function words({ prompt, echod }) {
  if (!echod.spoken || prompt === echod.title) return false;
  return element("p", { className: "words", tabIndex: 0, role: "region", "aria-label": t("What it says") }, prompt);
}

function actions(video) {
  const properties = { type: "button", "data-action": "cancel", onclick: () => cancel(video) };
  const stop = !ended(video) && element("button", properties, t("Cancel"));
  return [stop, ...doings(video, { remove, pin, refused: problem })];
}

async function pin(video) {
  drawn = null; // it says how long it is kept
  await jobs.pin(video.id, !video.echod.pinned);
  $("clip").querySelector('[data-action="pin"]')?.focus();
}

const another = () =>
  element("a", { className: "button", href: "#/make", "data-action": "another" }, t("Make another"));

async function cancel(video) {
  await end(video, () => call("POST", `v1/videos/${video.id}/cancel`)); // it has ended when an event says so
}

/** Delete a clip that has ended; nobody is left looking at it. */
export async function leave(video) {
  await (shown === video.id ? remove(video) : jobs.remove(video.id));
}

async function remove(video) {
  await end(video, async () => {
    await jobs.remove(video.id);
    location.hash = "#/make";
  });
}

async function end(video, ask) {
  giveUp(pictures.get(video.id)); // before it has ended: whoever still loads the clip would be refused it
  try {
    await ask();
  } catch (refusal) {
    if (shown !== video.id) return;
    stop();
    render(jobs.get(video.id) ?? video);
    problem(refusal);
  }
}

function problem(refusal) {
  $("clip").querySelector(":scope > .problem")?.remove();
  const line = element("p", { className: "problem", role: "alert" });
  complain(line, refusal);
  const status = $("clip").querySelector(":scope > p");
  if (status) status.after(line);
  else $("clip").prepend(line);
}

jobs.addEventListener("change", ({ detail: video }) => {
  if (video.id !== shown) return;
  if (ended(video) && drawn !== video.status) announce(`${titleOf(video)}: ${t(STATUSES[video.status])}`);
  render(video);
});
jobs.addEventListener("list", () => jobs.get(shown) && render(jobs.get(shown)));
document.addEventListener("language", () => shown && openClip(shown));
