// Workers and the queue, live: looked at every second while the view is open, since events tell of jobs only.

import { Refusal, call } from "./api.js";
import { doing } from "./clip.js";
import { titleOf } from "./doings.js";
import { $, element, refill, show } from "./dom.js";
import { jobs } from "./live.js";
import { t } from "./words.js";

const EVERY = 1000; // ms

const STATES = {
  idle: "Idle",
  busy: "Busy",
  starting: "Starting",
  stopping: "Stopping",
  failed: "Failed",
};

const READINESS = {
  stopping: "The daemon finishes its work before it restarts.",
  idle: "Ready for work.",
  failed: "No worker is ready.",
};

let timer = null;
let seen = null; // what the daemon said last

export function open() {
  look();
  timer = setInterval(look, EVERY);
}

export function close() {
  clearInterval(timer);
}

async function look() {
  try {
    seen = await readiness();
    render();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error; // a lost connection is told of elsewhere
  }
}

/** What /readyz says, which is an answer with any status. */
async function readiness() {
  const response = await fetch("readyz").catch(() => null);
  return response ? response.json() : call("GET", "readyz");
}

function render() {
  if (!seen) return;
  const { ready, draining, devices, cluster } = seen;
  const state = draining ? "stopping" : ready ? "idle" : "failed";
  $("ready").textContent = t(READINESS[state]);
  $("ready").dataset.state = state;
  $("cluster").textContent = cluster ? ofCluster(cluster) : "";
  show($("cluster"), cluster);
  refill($("workers"), ...(devices ?? []).map((device) => worker(device, devices)));
  show($("workers-hidden"), !devices);
  $("queue-title").textContent = devices ? t("Waiting") : t("Your waiting clips");
  $("queue-none").textContent = devices ? t("No clip is waiting.") : t("None of your clips is waiting.");
  queue();
}

function worker(it, devices) {
  const { device, state, doing, engines, computed, kernels, job, helping, helps, shares, numbers } = it;
  const { restarts, reason, node } = it;
  const video = jobs.get(job);
  const helped = jobs.get(helping);
  const dtype = Object.values(computed).find((what) => what.dtype)?.dtype;
  const help = canHelp(device, helps, numbers, devices);
  return element("li", { className: "panel worker", "data-state": state },
    element("p", { className: "state", "data-state": state }, t(STATES[state])),
    element("h2", {}, device),
    node && element("p", { className: "soft" }, t("On {node}", { node })),
    element("p", { className: "soft" }, engines.join(", ") || doing || t("Nothing loaded yet")),
    dtype && element("p", { className: "soft" }, t("Computes in {dtype}", { dtype })),
    kernels && element("p", { className: "soft" }, kernels),
    job && element("p", {}, element("a", { href: `#/clip/${job}` }, video ? titleOf(video) : job)),
    !job && helping && element("p", {},
      element("a", { href: `#/clip/${helping}` }, t("Helps with {title}", { title: helped ? titleOf(helped) : helping }))),
    job && video && element("progress", { max: 100, value: video.progress, "aria-label": t("Progress") }),
    help && element("p", { className: "soft" }, help),
    shares.length > 0 &&
      element("p", { className: "soft" }, t("Shares its card with {devices}", { devices: shares.join(", ") })),
    reason && element("p", { className: "problem" }, reason),
    restarts > 0 && element("p", { className: "soft" }, restarted(restarts)),
  );
}

function ofCluster({ address, nodes, problem }) {
  if (problem) return t("Ray cluster {address}: {problem}", { address, problem });
  const leaving = nodes.filter((node) => node.state === "draining").length;
  const gpus = nodes.reduce((sum, node) => sum + node.gpus, 0);
  const words = { address, nodes: nodes.length, gpus, leaving };
  if (leaving) return t("Nodes of the Ray cluster {address}: {nodes}, of them leaving: {leaving}; their GPUs: {gpus}", words);
  return t("Nodes of the Ray cluster {address}: {nodes}; their GPUs: {gpus}", words);
}

/** Whose clips a device may compute a part of. */
function canHelp(device, helps, numbers, devices) {
  if (helps.length) return t("Can help {devices}", { devices: helps.join(", ") });
  const others = devices.filter((other) => other.device !== device && Object.keys(other.numbers).length);
  if (!Object.keys(numbers).length || !others.length) return "";
  return t("Helps nobody: other numbers than {devices}", { devices: others.map((other) => other.device).join(", ") });
}

const restarted = (n) => (n > 1 ? t("restarted {n} times", { n }) : t("restarted once"));

function queue() {
  const waiting = jobs.all.filter((video) => video.status === "queued");
  waiting.sort((a, b) => a.echod.queue_position - b.echod.queue_position);
  const row = (video) =>
    element("li", {},
      element("a", { href: `#/clip/${video.id}` }, titleOf(video)),
      element("span", { className: "soft" }, doing(video)),
    );
  refill($("queue"), ...waiting.map(row));
  show($("queue-none"), !waiting.length);
}

document.addEventListener("language", render);
