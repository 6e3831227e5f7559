// The view that makes clips: a draft at first, then the clip that came of it. See portrait.js and speech.js for what
// goes in, clip.js and clips.js for what comes out.

import { lack, look, speaks, speaksIn } from "./abilities.js";
import { call, granted, patiently } from "./api.js";
import { closeClip, openClip, rememberPicture } from "./clip.js";
import { $, announce, element, say, show } from "./dom.js";
import { jobs } from "./live.js";
import { portrait } from "./portrait.js";
import { complain, lengthProblem } from "./refusals.js";
import { listVoices, speech } from "./speech.js";
import { locale, t } from "./words.js";

const ENGINES = {
  preview: "preview – quick, a puppet of the picture",
  echomimic: "EchoMimic – 6 steps",
  "echomimic-fast": "EchoMimic fast – 4 steps",
  "echomimic-quality": "EchoMimic quality – 30 steps, slow",
};
const DEFAULTS = { engine: "", view: "picture", size: "512x512", seed: "420", label: "" };
const LARGEST_SEED = 2n ** 63n - 1n;
const NO_SEED = "The seed must be a whole number, such as 420.";

// By the field of the request that was refused: where to change it, and what to do if its file is there no more.
const FIELDS = {
  input_reference: "portrait-choose", audio_reference: "speech-choose", prompt: "words", voice: "voice",
  model: "engine", crop: "crop-own", size: "size", seed: "seed", label: "label",
};
const GONE = {
  input_reference: "The portrait is not there any more: files are kept for a day. Choose the picture again.",
  audio_reference: "The recording is not there any more: files are kept for a day. Choose or record it again.",
};
const SENTENCE = "Hello! I am only a picture, and yet I speak. Give me a portrait of yours, and words to say.";
const NO_VOICE =
  "No voice is installed on the daemon's machine, so words cannot be spoken. Record yourself, or use a recording.";
const WAITING = {
  picture: "Still looking at the picture. The clip is made right after.",
  recording: "Still listening to the recording. The clip is made right after.",
};

/** Show the draft, or the clip whose id stands in the address. */
export function open(id) {
  closeClip();
  show($("draft"), !id);
  $("make-title").textContent = t("Make a picture speak");
  if (id) {
    for (const part of ["portrait-shown", "portrait-drop"]) show($(part), false);
    openClip(id);
  } else {
    portrait.reveal();
    refresh();
  }
}

/** Show the draft, filled with what a clip was made of. */
export async function again(id) {
  history.replaceState(null, "", "#/make"); // reloading the page does not fill it again
  open();
  complain($("submit-problem"), null);
  try {
    await restored;
    await fill(await jobs.find(id));
    keep();
    announce(t("All of that clip is here. Change what you like."));
  } catch (refusal) {
    put(refusal);
  }
}

async function fill(video) {
  const made = { video_id: video.id };
  speech.way = video.echod.spoken ? "words" : "file";
  if (video.echod.spoken) $("words").value = video.prompt;
  const { voice, view } = video.echod;
  const size = view === "face" ? video.size : DEFAULTS.size;
  for (const [id, value] of [["voice", voice], ["engine", video.model], ["size", size]]) choose($(id), value);
  see(view);
  $("seed").value = video.echod.seed;
  choose($("label"), video.echod.label);
  summarise();
  await Promise.all([portrait.restore(made, video.echod.framing), video.echod.spoken || speech.restore({ file: made })]);
}

/** Choose one of the options, if it is one; a size may be any. */
function choose(select, value) {
  if (select === $("size") && ![...select.options].some((each) => each.value === value)) select.append(new Option(value));
  select.value = value ?? "";
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

export function close() {
  closeClip();
  speech.finish();
}

/** What the daemon offers at present. What it offered before stays if it cannot be asked. */
function refresh() {
  if (begun) Promise.all([listEngines(), listVoices(), offerWays()]).catch(() => {});
}

/** Why words cannot be spoken, if they cannot. */
function unspoken() {
  return lack("speaks") && { ...lack("speaks"), advice: NO_VOICE };
}

/** The first clip, in one click: of an example portrait and a sentence, or a recording where nothing speaks. */
async function showExample() {
  complain($("submit-problem"), null);
  try {
    portrait.take(await example("portrait", "image/png"));
    if (speaks()) {
      speech.way = "words";
      $("words").value ||= locale().startsWith("zh") && !speaksIn("zh") ? SENTENCE : t(SENTENCE);
    } else {
      speech.take(await example("speech", "audio/wav"));
    }
    await submit();
  } catch (refusal) {
    put(refusal);
  }
}

async function example(name, type) {
  const content = await (await granted(`v1/examples/${name}`)).blob();
  return new File([content], t("Example"), { type });
}

/** An example is for whoever has made nothing yet. */
function offerExample() {
  show($("example"), jobs.connected && !jobs.all.length && !jobs.more);
}

/** Words come last, with the reason, where nothing speaks them. */
async function offerWays() {
  await look();
  complain($("voice-advice"), unspoken());
  show($("words"), speaks());
  const words = document.querySelector("#ways label:has([value=words])");
  const there = speaks() ? !words.previousElementSibling : !words.nextElementSibling;
  if (there) return; // to move it all the same would take the focus from it
  $("ways")[speaks() ? "prepend" : "append"](words);
  if (!speaks() && speech.way === "words") speech.way = navigator.mediaDevices ? "record" : "file";
}

/** Fill the list of engines and choose the `wanted` one, else as before. */
async function listEngines(wanted) {
  const { data } = await call("GET", "v1/models");
  const models = data.filter((model) => model.echod);
  const engines = models.map((model) => model.id);
  const options = models.map(({ id, echod }) => element("option", { value: id }, labelOf(id, echod.exact)));
  const chosen = wanted ?? $("engine").value;
  $("engine").replaceChildren(element("option", { value: "" }, t("Automatic")), ...options);
  $("engine").value = engines.includes(chosen) ? chosen : "";
  summarise();
}

function labelOf(engine, exact) {
  const label = t(ENGINES[engine] ?? engine);
  return exact === false && engine !== "preview" ? t("{engine}, an approximation", { engine: label }) : label;
}

function summarise() {
  const engine = $("engine").value || t("automatic");
  const size = view() === "picture" ? t("whole picture") : $("size").value.replace("x", " × ");
  $("options-summary").textContent = `${engine} · ${size} · ${t("seed")} ${$("seed").value}`;
  show($("size-row"), view() === "face");
  portrait.look(view(), (view() === "face" ? $("size").value : DEFAULTS.size).split("x").map(Number));
}

const view = () => document.querySelector("#views :checked").value;
const see = (wanted) => (document.querySelector(`#views [value=${wanted}]`).checked = true);

// A draft outlives a reload: the files are with the daemon, the rest is kept by the browser until the tab is closed.

let restored = null; // when the draft is as it was left
let begun = false; // whether the draft is as it was left: only then are changes kept

const kept = () => JSON.parse(sessionStorage.getItem("draft") ?? "{}");

function keep() {
  if (!begun) return;
  const draft = {
    portrait: portrait.input?.reference, framing: portrait.asked, sounds: speech.references, way: speech.way, words: $("words").value, voice: $("voice").value,
    engine: $("engine").value, view: view(), size: $("size").value, seed: $("seed").value, label: $("label").value,
  };
  sessionStorage.setItem("draft", JSON.stringify(draft));
  complain($("submit-problem"), null); // it may be so no more
}

async function restore() {
  const draft = { ...DEFAULTS, way: "words", words: "", voice: "", sounds: {}, ...kept() };
  $("words").value = draft.words;
  choose($("size"), draft.size);
  see(draft.view);
  $("seed").value = draft.seed;
  choose($("label"), draft.label);
  speech.way = draft.way;
  summarise();
  checkSeed();
  await Promise.allSettled([draft.portrait && portrait.restore(draft.portrait, draft.framing), speech.restore(draft.sounds)]);
  await patiently(() => Promise.all([listEngines(draft.engine), listVoices(draft.voice), offerWays()]));
}

/** Called when somebody is there. */
export async function begin() {
  try {
    await (restored = restore());
  } catch {
    return; // signed out meanwhile
  }
  begun = true;
  keep();
}

/** Called when nobody is there; `begin` finds the draft again. */
export function suspend() {
  begun = false;
}

/** Nothing of what was chosen stays for whoever comes next. */
export function forget() {
  suspend();
  portrait.clear();
  speech.clear();
  sessionStorage.clear();
}

// Submitting

async function submit(event) {
  event?.preventDefault();
  await restored?.catch(() => {}); // of a draft that is still on its way all is meant
  if ($("submit").disabled) return undefined; // a click before this one has asked for it
  complain($("submit-problem"), null);
  speech.finish(); // whoever still records has said all
  if (speech.way === "words" && !speaks()) return put(unspoken());
  const missing = whatIsMissing();
  if (missing) return put({ message: missing[0] }, missing[1]);
  const tooLong = speech.way === "words" && lengthProblem($("words").value.trim());
  if (tooLong) return put(tooLong, "words");
  $("submit").disabled = true; // what was asked for is on its way
  try {
    if (await arrived()) await send();
  } catch (refusal) {
    refused(refusal);
  } finally {
    $("submit").disabled = false;
    say($("submit-wait"), null);
  }
  return undefined;
}

/** Whether all that was chosen is of use, once the daemon has looked at it. What is not is told of where it stands. */
async function arrived() {
  while (begun && (portrait.pending || speech.pending)) {
    say($("submit-wait"), t(portrait.pending ? WAITING.picture : WAITING.recording));
    await new Promise((resolve) => {
      for (const input of [portrait, speech]) input.addEventListener("change", resolve, { once: true });
    });
  }
  if (!begun) return false; // nobody is there any more
  const missing = whatIsMissing();
  if (missing) goTo(missing[1]);
  return !missing;
}

async function send() {
  const [asked, key] = [request(), unique()];
  const video = await patiently(() => call("POST", "v1/videos", asked, { key }));
  rememberPicture(video.id, await portrait.posed().catch(() => null));
  jobs.add(video);
  announce(t("The clip is being made."));
  if (!$("draft").hidden && !$("make").hidden) location.hash = `#/clip/${video.id}`; // else one is busy elsewhere
}

/** Say what is wrong, and go to what has to be changed. */
function put(problem, id) {
  complain($("submit-problem"), problem);
  if (id) goTo(id);
}

function refused(refusal) {
  const gone = refusal.code === "not_found" && GONE[refusal.param];
  if (refusal.param === "input_reference" && gone) portrait.clear();
  if (refusal.param === "audio_reference" && gone) speech.drop();
  put(gone ? { message: gone } : refusal, FIELDS[refusal.param]);
}

/** Focus a control, wherever it is folded away. */
function goTo(id) {
  if ($("options").contains($(id))) $("options").open = true;
  $(id).focus();
}

function checkSeed() {
  const seed = $("seed").value.trim();
  const possible = /^\d+$/.test(seed) && BigInt(seed) <= LARGEST_SEED;
  $("seed").setCustomValidity(possible ? "" : t(NO_SEED));
  $("seed").setAttribute("aria-invalid", !possible);
  return possible;
}

/** With the same key a request that is sent twice, since an answer was lost, makes one clip. */
function unique() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // plain http has no randomUUID
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What to say about it, and where to go. */
function whatIsMissing() {
  if (!portrait.chosen) return ["Choose a portrait first.", "portrait-choose"];
  if (!checkSeed()) return [NO_SEED, "seed"];
  if (speech.way === "words" ? $("words").value.trim() : speech.input || speech.pending) return null;
  return {
    words: ["Type the words to be spoken first.", "words"],
    record: ["Record something first.", "record"],
    file: ["Choose a recording first.", "speech-choose"],
  }[speech.way];
}

function request() {
  const asked = { input_reference: portrait.input.reference, view: view(), seed: $("seed").value.trim(), ...portrait.asked };
  if (view() === "face") asked.size = $("size").value;
  if ($("engine").value) asked.model = $("engine").value;
  if ($("label").value) asked.label = $("label").value;
  if (asked.label === "corner") asked.label_language = locale().startsWith("zh") ? "zh" : "en";
  if (speech.way === "words") {
    asked.prompt = $("words").value.trim();
    if ($("voice").value) asked.voice = $("voice").value;
  } else {
    asked.audio_reference = speech.input.reference;
  }
  return asked;
}

// Dropping files: a picture is a portrait, anything else speech

function drop(event) {
  event.preventDefault();
  $("make").classList.remove("dropping");
  for (const file of event.dataTransfer.files) {
    if (file.type.startsWith("image/")) portrait.take(file);
    else speech.take(file);
  }
  location.hash = "#/make";
}

$("draft").onsubmit = submit;
$("example").onclick = showExample;
jobs.addEventListener("list", offerExample);
jobs.addEventListener("change", offerExample);
$("draft").oninput = keep;
for (const input of [portrait, speech]) input.addEventListener("change", keep);
$("views").onchange = summarise;
$("options").onchange = () => {
  checkSeed();
  summarise();
  keep();
};
$("dice").onclick = () => {
  $("seed").value = Math.floor(Math.random() * 100_000);
  $("options").onchange();
};
$("make").ondragover = (event) => {
  event.preventDefault();
  $("make").classList.add("dropping");
};
$("make").ondragleave = ({ relatedTarget }) => {
  if (!$("make").contains(relatedTarget)) $("make").classList.remove("dropping");
};
$("make").ondrop = drop;
document.addEventListener("language", () => {
  refresh();
  checkSeed();
  summarise();
});
