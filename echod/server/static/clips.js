// One's clips as cards, newest first: found by what is typed; those that came to nothing are folded away.

import { STATUSES, leave, pictureOf } from "./clip.js";
import { doings, titleOf } from "./doings.js";
import { $, element, glyph, refill, say, show } from "./dom.js";
import { thumbnailOf } from "./growing.js";
import { ended, jobs } from "./live.js";
import { complain } from "./refusals.js";
import { lasting, moment, t } from "./words.js";

const PAUSE = 300; // ms without a key until older clips are looked through

const cards = new Map(); // by job

let sought = []; // words that are looked for
let waiting = null; // until older clips are looked through

const cameToNothing = (video) => video.status === "failed" || video.status === "cancelled";

function render() {
  const all = jobs.clips;
  const found = all.filter(matches);
  const ids = new Set(all.map((video) => video.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  fill($("clips"), found.filter((video) => !cameToNothing(video)));
  fill($("failed-clips"), found.filter(cameToNothing));
  const failed = $("failed-clips").children.length;
  show($("failed"), failed);
  $("failed-title").textContent = t("Failed and cancelled: {n}", { n: failed });
  show($("seek"), all.length > 1 || sought.length);
  show($("clips-none"), !all.length && !jobs.more);
  show($("more"), jobs.more && !sought.length);
  tellFound(found.length);
}

/** Cards are kept: a rebuilt one would lose focus and load its picture again. */
function fill(list, videos) {
  const wanted = new Set(videos.map((video) => video.id));
  for (const card of [...list.children]) if (!wanted.has(card.dataset.id)) card.remove();
  videos.forEach((video, i) => {
    const card = cards.get(video.id) ?? create(video);
    if (list.children[i] !== card) list.insertBefore(card, list.children[i] ?? null);
    update(card, video);
  });
}

function create(video) {
  const card = element("li", { className: "card", "data-id": video.id },
    element("a", { href: `#/clip/${video.id}` },
      element("div", { className: "thumb" }, glyph("clip")),
      element("span", { className: "name" }),
      element("span", { className: "soft" }),
    ),
    element("div", { className: "doings" }),
  );
  cards.set(video.id, card);
  return card;
}

function update(card, video) {
  const [link, buttons] = card.children;
  const [thumb, name, line] = link.children;
  card.dataset.status = video.status;
  name.textContent = titleOf(video);
  line.textContent = facts(video).join(" · ");
  const src = video.status === "completed" ? thumbnailOf(video.id) : pictureOf(video.id);
  const picture = thumb.querySelector("img");
  if (src && picture?.getAttribute("src") !== src) {
    thumb.replaceChildren(element("img", { src, alt: "", loading: "lazy" }));
  }
  ring(thumb, video);
  const drawn = `${video.status} ${document.documentElement.lang}`;
  if (card.dataset.drawn !== drawn) refill(buttons, ...doings(video, { small: true, remove, refused }));
  card.dataset.drawn = drawn;
}

/** When it was made, how long it is, by which engine and in whose voice. */
function facts(video) {
  const { engine, voice, title } = video.echod;
  const shown = video.status === "completed" ? lasting(Number(video.seconds)) : t(STATUSES[video.status]);
  return [title && moment(video.created_at), shown, engine, voice?.split("/").at(-1)].filter(Boolean);
}

function ring(thumb, video) {
  let badge = thumb.querySelector(".ring");
  if (ended(video)) return badge?.remove();
  if (!badge) thumb.append((badge = element("span", { className: "ring" })));
  badge.style.setProperty("--share", video.progress / 100);
  badge.textContent = video.status === "queued" ? "…" : `${video.progress}`;
  return undefined;
}

const refused = (refusal) => complain($("clips-problem"), refusal);

/** Delete a clip; who did so by the keyboard goes on at the next one. */
async function remove(video) {
  complain($("clips-problem"), null);
  const card = cards.get(video.id);
  const next = card.nextElementSibling ?? card.previousElementSibling;
  const held = card.contains(document.activeElement);
  try {
    await leave(video);
    if (held) (next?.querySelector("[data-action=delete]") ?? $("clips-title")).focus();
  } catch (refusal) {
    refused(refusal);
  }
}

async function removeAll() {
  const all = jobs.clips.filter((video) => cameToNothing(video) && matches(video));
  if (!confirm(t("Delete {n} failed and cancelled clips?", { n: all.length }))) return;
  try {
    for (const video of all) await leave(video);
  } catch (refusal) {
    refused(refusal);
  }
}

// Looking for a clip

/** Whether each word that is looked for stands somewhere in what is known of a clip. */
function matches(video) {
  const text = [titleOf(video), video.prompt, ...facts(video)].join(" ").toLowerCase();
  return sought.every((word) => text.includes(word));
}

function seek() {
  sought = $("seek").value.toLowerCase().split(/\s+/).filter(Boolean);
  render();
  clearTimeout(waiting);
  if (sought.length) waiting = setTimeout(() => seekOlder(sought).catch(refused), PAUSE);
}

/** Load what is older, as long as the same words are looked for. */
async function seekOlder(words) {
  while (jobs.more && words === sought) await jobs.loadMore();
  render();
}

function tellFound(n) {
  const unknown = jobs.more ? t("Looking through older clips…") : t("Nothing is called so.");
  say($("found"), !sought.length || n ? "" : unknown);
}

$("seek").oninput = seek;
$("failed-clear").onclick = removeAll;
$("more").onclick = () => jobs.loadMore().catch(refused);
jobs.addEventListener("list", render);
jobs.addEventListener("change", ({ detail: video }) => {
  const card = cards.get(video.id);
  if (card?.dataset.status === video.status) update(card, video);
  else render();
});
document.addEventListener("language", render);
document.addEventListener("signed-out", () => {
  $("seek").value = "";
  seek();
});
