// One's clips as cards, newest first.

import { STATUSES, pictureOf, titleOf } from "./clip.js";
import { $, element, glyph, show } from "./dom.js";
import { thumbnailOf } from "./growing.js";
import { ended, jobs } from "./live.js";
import { complain } from "./refusals.js";
import { lasting, t } from "./words.js";

const cards = new Map(); // by job

/** Cards are kept: a rebuilt one would lose focus and load its picture again. */
function render() {
  const all = jobs.clips;
  const ids = new Set(all.map((video) => video.id));
  for (const [id, card] of cards) {
    if (ids.has(id)) continue;
    card.remove();
    cards.delete(id);
  }
  all.forEach((video, i) => {
    const card = cards.get(video.id) ?? create(video);
    if ($("clips").children[i] !== card) $("clips").insertBefore(card, $("clips").children[i] ?? null);
    update(card, video);
  });
  show($("clips-none"), !all.length && !jobs.more);
  show($("more"), jobs.more);
}

function create(video) {
  const card = element("li", { className: "card" },
    element("a", { href: `#/clip/${video.id}` },
      element("div", { className: "thumb" }, glyph("clip")),
      element("span", { className: "name" }),
      element("span", { className: "soft" }),
    ),
  );
  cards.set(video.id, card);
  return card;
}

function update(card, video) {
  const [thumb, name, line] = card.firstElementChild.children;
  card.dataset.status = video.status;
  name.textContent = titleOf(video);
  line.textContent = video.status === "completed" ? lasting(Number(video.seconds)) : t(STATUSES[video.status]);
  const src = video.status === "completed" ? thumbnailOf(video.id) : pictureOf(video.id);
  const picture = thumb.querySelector("img");
  if (src && picture?.getAttribute("src") !== src) {
    thumb.replaceChildren(element("img", { src, alt: "", loading: "lazy" }));
  }
  ring(thumb, video);
}

function ring(thumb, video) {
  let badge = thumb.querySelector(".ring");
  if (ended(video)) return badge?.remove();
  if (!badge) thumb.append((badge = element("span", { className: "ring" })));
  badge.style.setProperty("--share", video.progress / 100);
  badge.textContent = video.status === "queued" ? "…" : `${video.progress}`;
  return undefined;
}

$("more").onclick = () => jobs.loadMore().catch((refusal) => complain($("submit-problem"), refusal));
jobs.addEventListener("list", render);
jobs.addEventListener("change", ({ detail: video }) => {
  const card = cards.get(video.id);
  if (card) update(card, video);
  else render();
});
document.addEventListener("language", render);
