// What can be done with a clip, on its card and beside its player.

import { call } from "./api.js";
import { copy } from "./copying.js";
import { element, glyph, tell } from "./dom.js";
import { contentOf } from "./growing.js";
import { ended } from "./live.js";
import { moment, t } from "./words.js";

/** What a clip is called. */
export const titleOf = (video) => video.echod.title ?? moment(video.created_at);

/**
 * The links and buttons for a clip as it is at present; `remove` is called to delete it, once that is confirmed, `pin` to
 * have it kept or not.
 */
export function doings(video, { small = false, remove, pin, refused }) {
  const make = (kind, action, text, properties) =>
    element(kind, {
      className: small ? "small" : kind === "a" && "button",
      "data-action": action,
      ...(small && { "aria-label": `${text}: ${titleOf(video)}`, title: text }),
      ...properties,
    }, small ? glyph(action) : text);
  const button = (action, text, onclick) => make("button", action, text, { type: "button", onclick });
  const done = video.status === "completed";
  const file = { href: contentOf(video.id), download: `${video.id}.mp4` };
  return [
    done && make("a", "download", t("Download"), small ? file : { ...file, className: "button primary" }),
    done && button("link", t("Copy link"), () => copyLink(video).catch(refused)),
    make("a", "again", t("Again, with changes"), { href: `#/again/${video.id}` }),
    done && pin && button("pin", video.echod.pinned ? t("Keep no longer") : t("Keep"), () => pin(video).catch(refused)),
    ended(video) && button("delete", t("Delete"), () => confirmed(video) && remove(video)),
  ].filter(Boolean);
}

function confirmed(video) {
  return confirm(t("Delete “{title}”? It cannot be brought back.", { title: titleOf(video) }));
}

/** The address that opens the clip without signing in, as long as that is good. */
async function copyLink(video) {
  const { url } = (await call("GET", `v1/videos/${video.id}`)).echod; // what was told before may have run out
  if (!(await copy(url))) return prompt(t("Copy link"), url);
  const until = moment(Number(new URL(url).searchParams.get("expires")));
  tell(t("Link copied. It opens without signing in until {until}.", { until }));
  return undefined;
}
