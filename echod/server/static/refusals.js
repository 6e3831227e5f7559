// What went wrong, as a sentence that says what to do. The codes are those of echod/errors.py.

import { t } from "./words.js";
import { element, show } from "./dom.js";

const SENTENCES = {
  unreachable: "The daemon does not answer. Check that it runs; this page tries again by itself.",
  invalid_request: "Something that was entered is not possible. Change it and try again.",
  portrait_unreadable: "This picture cannot be read. Choose another one, or a smaller copy of it as PNG, JPEG or WebP.",
  no_face_detected: "No face was found. Choose a picture with one face, seen from the front and well lit.",
  speech_unreadable: "This recording cannot be read. Choose a WAV, MP3, M4A or OGG file that other programs play.",
  speech_silent: "Nothing can be heard in this recording. Check the microphone and record again.",
  speech_too_short: "This recording is too short. Say a few words more.",
  speech_too_long: "This recording is too long. Cut it, or ask your admin to raise max_seconds.",
  unsupported_size: "This size is not possible. Choose another one under Options.",
  unsupported_media:
    "This file cannot be used. A portrait must be a picture, such as PNG or JPEG, speech a recording, such as WAV or MP3.",
  response_cancel_not_active: "There is no answer to stop.",
  input_audio_buffer_commit_empty: "Nothing was heard. Go on for a little longer, and speak up.",
  conversation_already_has_active_response: "An answer is on its way. Wait for it, or stop it.",
  model_not_loaded: "This engine or role is not there at present. Choose another one.",
  voice_not_installed: "No voice for these words is installed on the daemon's machine.",
  hearing_not_installed: "Nothing on the daemon's machine understands speech: please type.",
  reply_not_installed: "No language model is set up on the daemon's machine, so nobody can answer.",
  face_small: "The face is only {n} pixels wide, so that the clip is soft. Use a closer picture, or a smaller size.",
  not_found: "This is not there any more. It may have expired or been deleted.",
  not_ready: "This is not finished yet. Wait a little and try again.",
  idempotency_conflict: "This was sent before with other contents. Try again.",
  payload_too_large: "This file is too big. Choose a smaller one, or ask your admin to raise max_upload.",
  unauthorized: "You have been signed out. Sign in again.",
  forbidden: "This is not allowed here.",
  queue_full: "Too many clips are waiting. Try again when some are done.",
  quota_exceeded: "You have too many clips waiting. Try again when some are done, or cancel one.",
  rate_limited: "Too many tries in a short time. Wait a moment, then try again.",
  draining: "The daemon is about to restart. Try again in a minute.",
  no_device: "No device can work at present. Look under Devices; an admin can repair it.",
  disk_full: "The daemon's disk is full. Delete old clips, or ask your admin.",
  disk_failed: "The daemon's disk cannot be written. Tell your admin.",
  internal: "Something went wrong inside the daemon. Try again; its log says more.",
  poison: "Making this clip crashed the worker twice, so it was given up. Try another portrait or recording.",
  stalled: "The worker got stuck on this clip. Try again, perhaps in a smaller size.",
  out_of_memory: "The device has not enough memory for this clip. Choose a smaller size.",
  not_finite: "The engine made no usable picture of this. Try another seed or portrait.",
  cancelled: "This was cancelled.",
  upstream_asr: "What you said could not be understood, because speech recognition failed. Try again, or type.",
  upstream_reply: "The language model failed to answer. Try again.",
  upstream_tts: "These words could not be spoken. Change them, or choose another voice, and try again.",
  upstream_model_retired: "The speech model in use exists no more. An admin must choose another one in the settings.",
};

const MOST = 10_000; // characters of a text, as the daemon takes it

const INSTALL = "What helps, run on that machine:";

/** One sentence about anything thrown, or about a job's error, in English; `advice`, if it has some, fits the place. */
export function sentence({ code, message, advice }) {
  return advice ?? SENTENCES[code] ?? message ?? SENTENCES.internal;
}

/** What is wrong with a text that is too long; null if nothing is. */
export function lengthProblem(text) {
  const n = [...text].length; // .length counts some characters twice
  const message = "These are {n} characters, and at most {most} are taken.";
  return n > MOST ? { message, values: { n, most: MOST } } : null;
}

/** Whether something has to be installed first. */
export const isMissing = ({ code }) => Boolean(code?.endsWith("_not_installed"));

const told = new WeakMap(); // what each place tells of

/** Tell of a refusal in place; nothing hides it again. The daemon's own words, with values and limits, go below. */
export function complain(target, refusal) {
  show(target, Boolean(refusal));
  target.replaceChildren();
  told.set(target, refusal);
  if (!refusal) return;
  const known = SENTENCES[refusal.code];
  target.append(t(sentence(refusal), refusal.values));
  if (isMissing(refusal)) target.append(...remedies(refusal));
  else if (known && refusal.message) target.append(element("small", { lang: "en" }, refusal.message));
}

/** The warnings about a portrait, as reasons; `box` is its face's. */
export function warningsOf({ warnings = [], box }) {
  const reason = ({ code, message }) => (SENTENCES[code] ? { code, values: { n: Math.round(box[2] - box[0]) } } : { message });
  return warnings.map(reason);
}

/** Tell of each of what is no refusal, but good to know. */
export function advise(target, reasons) {
  const line = (reason) => {
    const made = element("p", { className: "advice" });
    complain(made, reason);
    return made;
  };
  target.replaceChildren(...reasons.map(line));
}

/** The commands that bring what is missing, of which one is enough. */
function remedies({ message, commands = [...message.matchAll(/`([^`]+)`/g)].map(([, command]) => command) }) {
  const list = commands.map((command) => element("code", {}, command));
  return list.length ? [" ", t(INSTALL), element("span", { className: "remedies" }, ...list)] : [];
}

document.addEventListener("language", () => {
  for (const place of document.querySelectorAll(".problem, .advice")) if (told.has(place)) complain(place, told.get(place));
});
