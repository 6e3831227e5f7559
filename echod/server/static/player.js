// The clip in view: a still picture until its first fragment is there, then the clip as it grows, at last its file.

import { $, element, show } from "./dom.js";
import { Growing, contentOf } from "./growing.js";
import { ended } from "./live.js";
import { t } from "./words.js";

let growing = null; // what fills the video of a clip that is being made
let next = null; // the player of the finished file, until it takes over
let final = false; // whether the finished file is played, or about to be
let over = false; // whether nobody waits for the clip any more

/** Follow the job: called with each of its states. */
export function play(video, title, picture) {
  show($("clip-shown"), true);
  if (video.status === "completed") finish(video, title);
  else if (ended(video)) giveUp(picture);
  else grow(video, title, picture);
}

export function stop() {
  unload();
  growing = next = null;
  final = over = false;
  $("clip-shown").replaceChildren();
  show($("clip-shown"), false);
}

/** Waiting in the queue takes no connection, of which browsers have few. */
function grow(video, title, picture) {
  if (!$("clip-shown").hasChildNodes()) $("clip-shown").replaceChildren(still(picture));
  if (growing || over || video.status === "queued") return;
  const player = moving(title, { autoplay: true });
  $("clip-shown").replaceChildren(still(picture), player);
  growing = new Growing(player, video.id, Number(video.seconds));
  growing.run().catch(() => {}); // there will be no clip: the job itself tells why
}

/** There will be no clip, or not for long. */
export function giveUp(picture) {
  over = true;
  unload();
  $("clip-shown").replaceChildren(still(picture));
}

/** Ask for nothing more: a player that has left the page goes on loading otherwise. */
function unload() {
  growing?.close();
  for (const player of [next, $("clip-shown").querySelector("video")]) {
    player?.removeAttribute("src");
    player?.load();
  }
}

/** The finished file takes over: at once, or, while the clip plays, when it has come to a stop. */
function finish(video, title) {
  if (final) return;
  final = true;
  const player = $("clip-shown").querySelector("video");
  if (!player?.currentSrc) {
    const autoplay = $("clip-shown").hasChildNodes(); // it was waited for
    growing?.close();
    $("clip-shown").replaceChildren(moving(title, { src: contentOf(video.id), autoplay }));
  } else if (player.paused) {
    exchange(player, video, title);
  } else {
    player.addEventListener("pause", () => exchange(player, video, title), { once: true });
  }
}

/** Put a player of the finished file in the place of one that has grown, without a flash. */
function exchange(player, video, title) {
  if (!player.isConnected) return; // it is paused because it was put away
  const file = moving(title, { src: contentOf(video.id), volume: player.volume, muted: player.muted });
  next = file;
  const focused = document.activeElement === player;
  const take = () => {
    growing?.close();
    const goesOn = !player.paused; // somebody pressed play again meanwhile
    player.pause();
    player.replaceWith(file);
    if (focused) file.focus();
    if (goesOn) file.play();
  };
  file.addEventListener("seeked", take, { once: true });
  file.addEventListener("loadedmetadata", () => (file.currentTime = player.currentTime), { once: true });
}

function moving(title, properties) {
  const label = t("The clip: {title}", { title });
  const shared = { controls: true, playsInline: true, preload: "auto", "aria-label": label };
  const player = element("video", { ...shared, ...properties });
  player.addEventListener("loadeddata", () => player.classList.add("ready"), { once: true });
  return player;
}

const still = (src) => (src ? element("img", { src, alt: "" }) : element("div", { className: "blank" }));
