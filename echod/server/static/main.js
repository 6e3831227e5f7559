// The page as a whole: who is there, which view is open, language and theme, the connection.

import { beginAccount, openAccount } from "./account.js";
import { Refusal, call } from "./api.js";
import "./clips.js";
import * as devices from "./devices.js";
import { $, say, show } from "./dom.js";
import { jobs } from "./live.js";
import * as make from "./make.js";
import { complain, sentence } from "./refusals.js";
import * as talk from "./talk.js";
import { switchLanguage, t, translate } from "./words.js";

const AGAIN = 2000; // ms before a daemon that does not answer is asked again who we are
const OWN_MACHINE_ONLY =
  "This daemon has no accounts yet, so it serves its own machine only. " +
  "To add one, there: echod users add NAME --role admin";
const VIEWS = { make, clip: make, talk, devices, account: { open: openAccount, close() {} } };

let open = null; // the view that is open
let somebody = false;

/** `#/clip/video_...` opens the clip in the view that makes clips. */
function route() {
  if (!somebody) return;
  const [, name, rest] = location.hash.split("/");
  const view = VIEWS[name] ?? make;
  const section = name === "clip" || !VIEWS[name] ? "make" : name;
  open?.close();
  open = view;
  only(section);
  for (const tab of $("tabs").children) tab.ariaCurrent = tab.hash === `#/${section}` ? "page" : null;
  view.open(rest && decodeURIComponent(rest));
}

function only(section) {
  for (const view of document.querySelectorAll(".view")) show(view, view.id === section);
  show($("tabs"), somebody);
  document.title = `${$(section).querySelector("h1").textContent} · echod`;
}

async function start() {
  try {
    const account = await call("GET", "v1/account/me");
    somebody = true;
    beginAccount(account);
    make.begin();
    jobs.start();
    route();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    nobody(refusal);
  }
}

function nobody(refusal) {
  if (refusal.code === "unauthorized") return signIn();
  if (refusal.code === "forbidden") {
    only("refused");
    return complain($("refusal"), { message: t(OWN_MACHINE_ONLY) });
  }
  say($("connection"), sentence(refusal));
  setTimeout(start, AGAIN);
  return undefined;
}

function signIn() {
  somebody = false;
  open?.close();
  open = null;
  jobs.stop();
  make.forget();
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
    complain($("login-problem"), refusal);
    $("login-password").select();
    return;
  }
  $("login").reset();
  await start();
}

function showTheme() {
  const { theme } = document.documentElement.dataset;
  const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  $("theme").querySelector("use").setAttribute("href", `static/glyphs.svg#${dark ? "sun" : "moon"}`);
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

$("login").onsubmit = login;
$("theme").onclick = switchTheme;
$("language").onclick = switchLanguage;
document.addEventListener("language", tellOtherLanguage);
document.addEventListener("nobody", () => somebody && signIn());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
window.addEventListener("hashchange", () => {
  route();
  $("main").focus({ preventScroll: true });
});
jobs.addEventListener("connection", () => {
  say($("connection"), jobs.connected ? "" : t("The connection to the daemon was lost. Trying to get it back…"));
});

translate();
tellOtherLanguage();
showTheme();
start();
