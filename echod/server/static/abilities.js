// What can be heard, replied and spoken here, so that nothing is offered that cannot be had.

import { call } from "./api.js";

const THERE = { available: true, reason: null };

let known = { hears: THERE, replies: THERE, speaks: THERE }; // until the daemon has said so

/** What the daemon can do at present; as it was said to be before, if it cannot be asked. */
export async function look() {
  try {
    known = await call("GET", "v1/capabilities");
  } catch {
    // whatever else is asked for tells of it
  }
  return known;
}

export const hears = () => known.hears.available;
export const speaks = () => known.speaks.available;

/** Whether there is a voice for a language, as far as is known. */
export const speaksIn = (language) => speaks() && (known.speaks.languages?.includes(language) ?? true);

/** Why something cannot be done, as a refusal; null if it can. */
export const lack = (part) => known[part].reason;
