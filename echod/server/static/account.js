// Who one is, and the API tokens that one has given to programs.

import { call } from "./api.js";
import * as clipboard from "./copying.js";
import { $, element, show } from "./dom.js";
import { jobs } from "./live.js";
import { complain } from "./refusals.js";
import { day, t } from "./words.js";

const NO_ACCOUNTS =
  "This daemon has no accounts yet: whoever is on its own machine, or comes through a proxy or a tunnel there, may use " +
  "and see everything here. To change that, on that machine: echod users add NAME --role admin";

let account = null;

export const isAdmin = () => account?.role === "admin";

/** Called when somebody is there. Without accounts the daemon calls everybody local the admin "local". */
export function beginAccount(me) {
  account = me;
  render();
}

export async function openAccount() {
  render();
  forgetSecret();
  if (!hasAccount()) return;
  try {
    list((await call("GET", "v1/account/tokens")).data);
  } catch (refusal) {
    complain($("token-problem"), refusal);
  }
}

const hasAccount = () => account.created_at != null;

function render() {
  if (!account) return;
  const who = account.role === "admin" ? "Signed in as {name}, an admin." : "Signed in as {name}.";
  $("whoami").textContent = hasAccount() ? t(who, account) : t(NO_ACCOUNTS);
  show($("sign-out"), hasAccount());
  show($("tokens-panel"), hasAccount());
  show($("new-password"), hasAccount());
}

function list(tokens) {
  $("tokens").replaceChildren(...tokens.map(row));
}

function row(token) {
  const ends = token.expires_at ? t("until {day}", { day: day(token.expires_at) }) : t("until it is revoked");
  const used = token.last_used_at ? t("last used {day}", { day: day(token.last_used_at) }) : t("not used lately");
  const whose = token.account === account.name ? "" : `${token.account} · `;
  const revoke = element("button", { type: "button", "aria-label": t("Revoke {name}", token) }, t("Revoke"));
  revoke.onclick = () => remove(token);
  return element("li", {},
    element("div", {}, element("b", {}, token.name), element("p", { className: "soft" }, `${whose}${ends} · ${used}`)),
    revoke,
  );
}

async function make(event) {
  event.preventDefault();
  complain($("token-problem"), null);
  forgetSecret();
  const life = Number($("token-life").value) || null;
  try {
    const made = await call("POST", "v1/account/tokens", { name: $("token-name").value.trim(), expires_in: life });
    await openAccount();
    $("new-token").reset();
    $("secret-text").value = made.token;
    show($("secret"), true);
    $("secret-text").select();
  } catch (refusal) {
    complain($("token-problem"), refusal);
  }
}

async function remove(token) {
  if (!confirm(t("Revoke {name}? Programs that use it will be refused.", token))) return;
  try {
    await call("DELETE", `v1/account/tokens/${token.id}`);
    await openAccount();
  } catch (refusal) {
    complain($("token-problem"), refusal);
  }
}

function forgetSecret() {
  $("secret-text").value = "";
  show($("secret"), false);
}

async function copy() {
  $("secret-text").select();
  await clipboard.copy($("secret-text").value);
  $("copy").textContent = t("Copied");
}

async function changePassword(event) {
  event.preventDefault();
  complain($("password-problem"), null);
  const [current, password] = [$("password-now").value, $("password-next").value];
  try {
    // A wrong one is refused here as where one signs in; elsewhere a 401 means that the session has ended.
    await call("POST", "v1/account/login", { name: account.name, password: current });
    await call("PUT", "v1/account/password", { current_password: current, password });
  } catch (refusal) {
    const wrong = { message: "The current password is wrong. Try again." };
    complain($("password-problem"), refusal.code === "unauthorized" ? wrong : refusal);
    return;
  }
  $("new-password").reset();
  document.dispatchEvent(new Event("signed-out"));
}

async function signOut() {
  jobs.stop(); // before the daemon breaks its connection
  await call("POST", "v1/account/logout").catch(() => {});
  document.dispatchEvent(new Event("signed-out"));
}

$("new-token").onsubmit = make;
$("copy").onclick = copy;
$("sign-out").onclick = signOut;
$("new-password").onsubmit = changePassword;
document.addEventListener("language", () => $("account").hidden || openAccount());
