// The roles there are to talk to, and the examples to begin with.

import { isAdmin } from "./account.js";
import { call } from "./api.js";
import { $, element, glyph, say, show } from "./dom.js";
import { complain } from "./refusals.js";
import { t } from "./words.js";

const NONE = "There are no roles yet. Begin with one of these examples, or make one of your own.";
const NONE_FOR_YOU = "There are no roles yet. An admin makes them here, or with: echod roles add ada";

const segment = ({ name }) => encodeURIComponent(name);
export const portraitOf = (role) => `v1/roles/${segment(role)}/portrait`;
export const talkTo = (role) => `#/talk/${segment(role)}`;

/** Show the roles there are, or else the examples; the roles. */
export async function listRoles() {
  const roles = (await call("GET", "v1/roles")).data.filter((each) => !each.error);
  const fresh = !roles.length;
  say($("roles-none"), fresh ? t(isAdmin() ? NONE : NONE_FOR_YOU) : "");
  show($("roles-lead"), !fresh);
  show($("roles-make"), isAdmin());
  show($("examples-add"), fresh && isAdmin());
  if (!fresh) $("roles").replaceChildren(...roles.map(roleCard));
  else $("roles").replaceChildren(...(isAdmin() ? await examples() : []).map(exampleCard));
  return roles;
}

const examples = async () => (await call("GET", "v1/examples")).roles;

function roleCard(role) {
  const edit = element("a", { className: "small", href: `#/role/${segment(role)}`, "aria-label": t("Change {title}", role) });
  edit.append(glyph("again"));
  return element("li", { className: "card" },
    element("a", { href: talkTo(role) }, ...face(role, portraitOf(role))),
    isAdmin() && element("div", { className: "doings" }, edit),
  );
}

function exampleCard(example) {
  const picture = `v1/examples/roles/${segment(example)}/portrait`;
  const button = element("button", { type: "button" }, ...face(example, picture));
  button.onclick = () => add([example], button).then((done) => done && (location.hash = talkTo(example)));
  return element("li", { className: "card" }, button);
}

const face = (role, picture) => [
  element("span", { className: "thumb" }, element("img", { src: picture, alt: "" })),
  element("span", { className: "name" }, role.title || role.name),
  element("span", { className: "soft" }, role.greeting),
];

/** Make roles of examples; whether that was done. */
async function add(chosen, button) {
  complain($("roles-problem"), null);
  button.disabled = true;
  try {
    for (const { name } of chosen) {
      const form = new FormData();
      form.append("example", name);
      await call("POST", "v1/roles", form);
    }
    return true;
  } catch (refusal) {
    complain($("roles-problem"), refusal);
    return false;
  } finally {
    button.disabled = false;
  }
}

$("examples-add").onclick = async ({ target }) => {
  await add(await examples(), target);
  await listRoles();
};
