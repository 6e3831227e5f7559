// The page as a whole: who is there, which view is open, language and theme, the connection.

import { beginAccount, openAccount } from "./account.js";
import { Refusal, call, whoami } from "./api.js";
import "./clips.js";
import * as devices from "./devices.js";
import { $, redraw, retitle, say, show } from "./dom.js";
import { jobs } from "./live.js";
import * as make from "./make.js";
import { complain, sentence } from "./refusals.js";
import * as role from "./role.js";
import * as talk from "./talk.js";
import { switchLanguage, t, translate } from "./words.js";

const AGAIN = 2000; // ms before a daemon that does not answer is asked again who we are
const OWN_MACHINE_ONLY =
  "This daemon has no accounts yet, so it serves its own machine only. " +
  "To add one, there: echod users add NAME --role admin";
const VIEWS = {
  make, clip: make, again: { open: make.again, close: make.close },
  talk, role, devices, account: { open: openAccount, close() {} },
};
const SECTIONS = { clip: "make", again: "make" };
const TABS = { role: "talk" };

let open = null; // the view that is open
let somebody = false;

/** `#/clip/video_...` opens the clip in the view that makes clips, `#/again/video_...` what it was made of. */
function route() {
  if (!somebody) return;
  const [, name, rest] = location.hash.split("/");
  const view = VIEWS[name] ?? make;
  const section = SECTIONS[name] ?? (VIEWS[name] ? name : "make");
  open?.close();
  open = view;
  only(section);
  for (const tab of $("tabs").children) tab.ariaCurrent = tab.hash === `#/${TABS[section] ?? section}` ? "page" : null;
  view.open(rest && decoded(rest));
  retitle();
}

/** What is no part of an address names nothing that there is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function only(section) {
  show($("loading"), false);
  for (const view of document.querySelectorAll(".view")) show(view, view.id === section);
  show($("tabs"), somebody);
  retitle();
}

async function start() {
  try {
    const account = await whoami();
    if (!account) return signIn();
    somebody = true;
    beginAccount(account);
    if (sessionStorage.getItem("account") !== account.name) make.forget();
    sessionStorage.setItem("account", account.name);
    make.begin();
    jobs.start();
    route();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    nobody(refusal);
  }
  return undefined;
}

function nobody(refusal) {
  if (refusal.code === "unauthorized") return signIn();
  if (refusal.code === "forbidden") {
    only("refused");
    return complain($("refusal"), { message: OWN_MACHINE_ONLY });
  }
  say($("connection"), t(sentence(refusal)));
  setTimeout(start, AGAIN);
  return undefined;
}

/** A draft stays: whoever has only been away too long finds it again. */
function signIn() {
  somebody = false;
  open?.close();
  open = null;
  jobs.stop();
  make.suspend();
  say($("connection"), "");
  only("sign-in");
  $("login-name").focus();
}

async function login(event) {
  event.preventDefault();
  complain($("login-problem"), null);
  const given = { name: $("login-name").value.trim(), password: $("login-password").value };
  try {
    await call("POST", "v1/account/login", given);
  } catch (refusal) {
    const wrong = { message: "The name or the password is wrong. Try again." };
    complain($("login-problem"), refusal.code === "unauthorized" ? wrong : refusal);
    $("login-password").select();
    return;
  }
  $("login").reset();
  await start();
}

function showTheme() {
  const { theme } = document.documentElement.dataset;
  const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  redraw($("theme"), dark ? "sun" : "moon");
  return dark;
}

function switchTheme() {
  const theme = showTheme() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  showTheme();
}

function tellOtherLanguage() {
  const chinese = document.documentElement.lang.startsWith("zh");
  $("language").textContent = chinese ? "English" : "中文";
  $("language").lang = chinese ? "en" : "zh";
}

function tellConnection() {
  say($("connection"), jobs.connected ? "" : t("The connection to the daemon was lost. Trying to get it back…"));
}

$("login").onsubmit = login;
$("theme").onclick = switchTheme;
$("language").onclick = switchLanguage;
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the address says which view is open
  $("main").focus();
};
document.addEventListener("language", () => {
  tellOtherLanguage();
  retitle();
  if (!$("connection").hidden) tellConnection();
});
document.addEventListener("nobody", () => somebody && signIn());
document.addEventListener("signed-out", () => {
  make.forget();
  signIn();
});
for (const type of ["dragover", "drop"]) {
  document.addEventListener(type, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // else a file takes the place of the page
    event.dataTransfer.dropEffect = "none";
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
window.addEventListener("hashchange", () => {
  if (location.hash && !location.hash.startsWith("#/")) return; // a place in the view
  route();
  $("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
jobs.addEventListener("connection", tellConnection);

translate();
tellOtherLanguage();
showTheme();
start();
