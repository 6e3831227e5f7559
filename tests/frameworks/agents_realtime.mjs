// OpenAI's Agents SDK for JavaScript in its default configuration: `node agents_realtime.mjs WS_BASE_URL SPEECH.pcm`, from
// a directory with its package; tells what it did.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.cwd()}/here.js`));
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { RealtimeAgent, RealtimeSession, tool } = await load("@openai/agents-realtime");
const { z } = await load("zod");

const [base, path] = process.argv.slice(2);
const speech = readFileSync(path);
const PIECE = 4800; // bytes: a tenth of a second
const kinds = [];
let called = false;
let wake = () => {};

const weather = tool({
  name: "weather",
  description: "The weather somewhere.",
  parameters: z.object({ place: z.string() }),
  execute: async ({ place }) => {
    called = true;
    return `rain in ${place}`;
  },
});
const agent = new RealtimeAgent({ name: "Ada", instructions: "Be kind.", tools: [weather] });
const session = new RealtimeSession(agent, { transport: "websocket" });
const history = () => JSON.stringify(session.history);

function count(kind) {
  return kinds.filter((each) => each === kind).length;
}

async function until(happened) {
  while (!happened()) await new Promise((resolve) => (wake = resolve));
}

async function toldOf(words, times = 1) {
  const ends = count("turn_done");
  await until(() => history().split(words).length > times && count("turn_done") > ends);
}

function say() {
  const sound = Buffer.concat([speech, Buffer.alloc(48000)]);
  for (let start = 0; start < sound.length; start += PIECE) {
    const piece = sound.subarray(start, start + PIECE);
    session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.length));
  }
}

session.transport.on("*", (event) => {
  kinds.push(event.type === "response.done" ? "turn_done" : event.type);
  wake();
});
session.on("history_updated", () => wake());
for (const kind of ["audio", "audio_interrupted"]) {
  session.on(kind, () => {
    kinds.push(kind);
    wake();
  });
}
session.on("error", (error) => {
  console.error(JSON.stringify(error));
  process.exit(1);
});

const told = {};
await session.connect({ apiKey: "none", url: `${base}/realtime?model=role:ada` });
session.sendMessage("Hello.");
await toldOf("You said: Hello.");
told.text = count("audio") > 0;
say();
await toldOf("You said: What do you hear?");
told.speech = true;
const before = count("audio");
session.sendMessage("Tell me a story.");
await until(() => count("audio") > before);
say();
await until(() => count("audio_interrupted") > 0);
await toldOf("You said: What do you hear?", 2);
told.interruption = true;
session.sendMessage("How is the weather in Paris?");
await toldOf("The weather: rain in Paris.");
told.tools = called;
const deleted = count("conversation.item.deleted");
session.updateHistory((items) => items.filter((item) => !JSON.stringify(item).includes("Once")));
await until(() => count("conversation.item.deleted") > deleted);
told.history = !history().includes("Once");
console.log(JSON.stringify(told));
session.close();
process.exit(0);
