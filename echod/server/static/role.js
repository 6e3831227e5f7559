// The view in which an admin makes a role, or changes one.

import { look } from "./abilities.js";
import { isAdmin } from "./account.js";
import { call } from "./api.js";
import { $, element, retitle, say, show } from "./dom.js";
import { complain } from "./refusals.js";
import { portraitOf, talkTo } from "./roles.js";
import { fillVoices, languageOf } from "./voices.js";
import { t } from "./words.js";

const TEXTS = ["title", "greeting", "personality"];
const CHOICES = ["language", "voice", "mode"];
const NAME = /[^a-z0-9]+/g; // what no role's name has in it, as it is made of a title
const LONGEST = 32; // characters of a name

let role = null; // as the daemon has it; null for a new one
let picture = null; // a file, if another one was chosen
let named = false; // whether somebody has chosen the name

const field = (name) => $(`role-${name}`);

/** Show the role of that name, or an empty form. */
export async function open(name) {
  [role, picture, named] = [null, null, false];
  complain($("role-problem"), null);
  $("role-form").reset();
  show($("role-form"), false);
  head();
  if (!isAdmin()) return complain($("role-problem"), { code: "forbidden" });
  try {
    if (name) role = await call("GET", `v1/roles/${encodeURIComponent(name)}`);
    await fillLists();
    fill();
    show($("role-form"), true);
    if (!name) field("title").focus();
  } catch (refusal) {
    complain($("role-problem"), refusal);
  }
  return undefined;
}

export function close() {
  see(null);
}

async function fillLists() {
  const [{ speaks }] = await Promise.all([look(), fillVoices(field("voice"), role?.voice ?? "")]);
  const tags = new Set(["en", "zh-CN", ...(speaks.languages ?? []), role?.language].filter(Boolean));
  const options = [...tags].map((tag) => element("option", { value: tag }, languageOf(tag)));
  options.sort((a, b) => a.text.localeCompare(b.text));
  field("language").replaceChildren(element("option", { value: "" }, t("Automatic")), ...options);
  if (role?.voice && !field("voice").value) {
    field("voice").append(element("option", { value: role.voice, selected: true }, role.voice));
  }
}

function fill() {
  for (const name of TEXTS) field(name).value = role?.[name] ?? "";
  field("language").value = role?.language ?? "";
  field("mode").value = role?.mode ?? "video";
  field("view").value = seen(role);
  field("name").value = role?.name ?? "";
  show($("role-name-row"), !role);
  show($("role-delete"), role);
  see(role && portraitOf(role));
  head();
}

const seen = (someone) => someone?.view ?? "picture";

function head() {
  $("role-heading").textContent = role ? t("Change {title}", role) : t("Make a role");
  retitle();
}

/** Show a portrait at this address, or none. */
function see(address) {
  const shown = $("role-picture");
  if (shown.src.startsWith("blob:")) URL.revokeObjectURL(shown.src);
  if (address) shown.src = address;
  show(shown, Boolean(address));
}

function take({ target }) {
  if (!target.files.length) return;
  [picture] = target.files;
  target.value = "";
  see(URL.createObjectURL(picture));
}

/** A new role is named after its title, until somebody names it otherwise. */
function nameIt() {
  if (role || named) return;
  const plain = field("title").value.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  field("name").value = plain.replace(NAME, "-").slice(0, LONGEST).replace(/^-|-$/g, "");
}

/** All that the form says, and what it does not show of a role that is there. */
function form() {
  const asked = new FormData();
  for (const name of [...TEXTS, ...CHOICES]) if (field(name).value.trim()) asked.append(name, field(name).value.trim());
  if (role?.engine) asked.append("engine", role.engine);
  const options = { ...role?.options };
  if (field("view").value !== seen(role)) options.view = field("view").value;
  for (const [name, value] of Object.entries(options)) asked.append(`options[${name}]`, value);
  if (!role) asked.append("name", field("name").value.trim() || `role-${Math.floor(Math.random() * 10_000)}`);
  if (picture) asked.append("portrait", picture, picture.name);
  return asked;
}

async function save(event) {
  event.preventDefault();
  complain($("role-problem"), null);
  if (!role && !picture) return put({ message: "Choose a portrait first.", param: "portrait" });
  $("role-save").disabled = true;
  say($("role-wait"), t("Looking for the face…"));
  try {
    const [method, path] = role ? ["PUT", `v1/roles/${encodeURIComponent(role.name)}`] : ["POST", "v1/roles"];
    location.hash = talkTo(await call(method, path, form()));
  } catch (refusal) {
    put(refusal);
  } finally {
    $("role-save").disabled = false;
    say($("role-wait"), "");
  }
  return undefined;
}

/** Say what is wrong, and go to what has to be changed. */
function put(refusal) {
  complain($("role-problem"), refusal);
  const place = refusal.param === "portrait" ? $("role-choose") : field(refusal.param ?? "save");
  place?.focus();
}

async function remove() {
  if (!confirm(t("Delete “{title}”? It cannot be brought back.", role))) return;
  try {
    await call("DELETE", `v1/roles/${encodeURIComponent(role.name)}`);
    sessionStorage.removeItem(`talk:${role.name}`);
    location.hash = "#/talk";
  } catch (refusal) {
    put(refusal);
  }
}

$("role-form").onsubmit = save;
$("role-delete").onclick = remove;
$("role-choose").onclick = () => $("role-portrait").click();
$("role-portrait").onchange = take;
field("title").oninput = nameIt;
field("name").oninput = () => (named = true);
document.addEventListener("language", head);
