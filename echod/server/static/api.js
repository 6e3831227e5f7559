// Requests to the daemon. Addresses are relative, so that the page also works below a path of a proxy.

/** A request that was not granted. `code` is the daemon's, or "unreachable" if nobody answered. */
export class Refusal extends Error {
  constructor(status, { code, message, param }) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

const PAUSE = 1000; // ms between two tries to reach a daemon that restarts
const PATIENCE = 60_000; // ms

/** What the daemon answers, decoded. `body`: a FormData goes as a form, anything else as JSON. Throws Refusal. */
export async function call(method, path, body, { key } = {}) {
  const headers = key ? { "Idempotency-Key": key } : {};
  if (body !== undefined && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  return (await granted(path, { method, headers, body })).json();
}

/** `fetch`, where whatever is no success is thrown as a Refusal. */
export async function granted(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { code: "unreachable", message: "" });
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== "v1/account/login") document.dispatchEvent(new Event("nobody"));
  const answer = await response.json().catch(() => ({}));
  throw new Refusal(response.status, answer.error ?? { code: "internal", message: response.statusText });
}

/** The account that one is signed in to; null if there is none. Throws a Refusal if signing in would not help.
 *
 *  /healthz answers everybody, and tells who is let in: browsers note each refusal as an error of the page.
 */
export async function whoami() {
  const { version, sign_in } = await call("GET", "healthz");
  if (version) return call("GET", "v1/account/me");
  if (sign_in) return null;
  throw new Refusal(403, { code: "forbidden", message: "" });
}

/** `work` until it succeeds or is refused for good: a daemon that restarts is waited out for a minute. */
export async function patiently(work) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await work();
    } catch (refusal) {
      const passing = refusal.code === "unreachable" || refusal.code === "draining";
      if (!passing || Date.now() > end) throw refusal;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

// What a clip is made of: {reference, how a request names it; content, where it is; name; facts, what was found in it}

/** Send a file to the daemon, which looks at it. */
export async function upload(file) {
  const sent = await patiently(() => {
    const form = new FormData();
    form.append("file", file, file.name);
    return call("POST", "v1/files", form);
  });
  return ofFile(sent);
}

/** What the daemon has of that: a file sent before, or the "portrait" or "speech" of a job. */
export async function inputOf(reference, kind) {
  if (reference.file_id) return ofFile(await call("GET", `v1/files/${reference.file_id}`));
  const { seconds, echod } = await call("GET", `v1/videos/${reference.video_id}`);
  const facts = kind === "portrait" ? { ...echod.portrait, faces: echod.faces, warnings: echod.warnings } : { seconds: Number(seconds) };
  return { reference, name: echod.title, facts, content: `v1/videos/${reference.video_id}/content?variant=${kind}` };
}

const ofFile = ({ id, filename, echod }) =>
  ({ reference: { file_id: id }, name: filename, facts: echod, content: `v1/files/${id}/content` });

/** The address of a WebSocket of the daemon. */
export function socketAddress(path) {
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  return address;
}
