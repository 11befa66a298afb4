// The page: which chat is open, what has changed, and what is drawn because of it.

import { avatar, isPrivate, nameOf, people, showChats, titleOf } from "./chats.js";
import { Composer } from "./composer.js";
import { bubble, draftBubble } from "./message.js";
import { act, chats, follow, messages, store } from "./store.js";
import { element } from "./text.js";

const $ = (id) => document.getElementById(id);
const NARROW = matchMedia("(max-width: 760px)");
// Pixels from the end within which the page follows what is new.
const NEAR = 120;
// Seconds between two messages of one person that still stand together.
const TOGETHER = 300;

const BUSY = { typing: "typing", upload_photo: "sending a picture", upload_document: "sending a file",
  record_voice: "recording", upload_voice: "sending a voice message" };
const IDEAS = {
  private: ["What can you do?", "plot a sine", "tell me a long story", "what is 17 * (3 + 4)?", "make a file hello.txt and send it",
    "run python: print(sum(range(10)))", "post https://example.org/: hello"],
  group: ["What can you do?", "plot a sine", "my name is Ada"],
};

const state = { chat: 0, speaker: 0, seen: new Map(), drawn: new Map(), opened: false, online: false, pressed: new Map() };
state.redraw = () => draw(true);

const composer = new Composer(state, { failed: toast, last: lastOwnText });

function lastOwnText() {
  return messages(state.chat).reverse().find((m) => m.from.id === state.speaker && m.text !== undefined);
}

// Chats.

function open(id, focus = true) {
  state.chat = id;
  state.opened = true;
  document.body.classList.add("in-chat");
  composer.clear();
  composer.showSpeakers(store.chat(id));
  $("text").placeholder = id > 0 ? "Message" : `@${store.get("bot").username} …`;
  try { history.replaceState(null, "", `#${id}`); } catch { /* a sandboxed frame */ }
  draw(true);
  toEnd();
  if (focus && !NARROW.matches) $("text").focus();
}

function draw(afresh = false) {
  const chat = store.chat(state.chat);
  if (!chat) return;
  if (afresh) {
    state.drawn.clear();
    $("messages").replaceChildren();
  }
  const follows = nearEnd();
  drawHead(chat);
  drawMessages(chat);
  drawDraft(chat);
  drawWelcome(chat);
  if (follows) toEnd();
  showChats($("chats"), state, open);
}

function drawHead(chat) {
  const bot = store.get("bot");
  avatar($("head-avatar"), isPrivate(chat) ? bot : chat);
  $("head-title").textContent = isPrivate(chat) ? bot.first_name : chat.title;
  const action = store.get(`action:${chat.id}`);
  const busy = running() && (action || (store.get(`draft:${chat.id}`) ? "typing" : ""));
  $("head-state").classList.toggle("busy", Boolean(busy));
  $("head-state").textContent = busy ? `${isPrivate(chat) ? "" : "Famulus is "}${BUSY[busy] || "busy"}…` : rest(chat);
}

const running = () => state.online && store.get("alive") !== false;

function rest(chat) {
  if (!state.online) return "the demo has ended; the next one has another address";
  if (!running()) return "killed; starting again…";
  if (isPrivate(chat)) return `bot · you are ${nameOf(store.user(chat.id))}`;
  return [...people(chat).map(nameOf), "Famulus"].join(", ");
}

// Messages: an element each, made anew only when what it shows has changed.

function drawMessages(chat) {
  const list = $("messages");
  const all = messages(chat.id);
  const heads = albums(all);
  const wanted = new Set(heads.map(([message]) => message.message_id));
  for (const [id, { item }] of state.drawn) {
    if (wanted.has(id)) continue;
    item.remove();
    state.drawn.delete(id);
  }
  let before = null;
  heads.forEach((album, index) => {
    const joined = together(heads[index - 1], album);
    const last = !together(album, heads[index + 1]);
    const item = drawn(album, { ...view(chat), album, joined, last });
    const place = before ? before.nextSibling : list.firstChild;
    if (item !== place) list.insertBefore(item, place);
    before = item;
  });
  if (all.length) state.seen.set(chat.id, all[all.length - 1].message_id);
}

/** Messages that came as one album stand together; every other one by itself. */
function albums(all) {
  const found = [];
  for (const message of all) {
    const before = found[found.length - 1];
    const group = message.media_group_id;
    if (group && before?.[0].media_group_id === group) before.push(message);
    else found.push([message]);
  }
  return found;
}

function together(one, other) {
  if (!one || !other || one[0].from.id !== other[0].from.id) return false;
  return other[0].date - one[0].date < TOGETHER;
}

function drawn(album, around) {
  const [message] = album;
  const shown = JSON.stringify([album, around.joined, around.last]);
  const old = state.drawn.get(message.message_id);
  if (old?.shown === shown) return old.item;
  const item = bubble(message, around);
  if (old) old.item.replaceWith(item);
  else item.classList.add("new");
  state.drawn.set(message.message_id, { shown, item });
  return item;
}

function view(chat) {
  return {
    chat,
    reader: state.speaker,
    reply: (message) => composer.answer(message),
    edit: (message) => composer.edit(message),
    press,
    jump,
    enlarge,
    loaded: () => { if (nearEnd(600)) toEnd(); },
  };
}

async function press(message, button, made) {
  made.classList.add("waiting");
  const what = { kind: "press", chat: state.chat, user: state.speaker, message: message.message_id, data: button.callback_data };
  try {
    state.pressed.set((await act(what)).query, made);
    answered();
  } catch (error) {
    made.classList.remove("waiting");
    toast(error.message);
  }
}

/** Show the answers to buttons that were pressed here. */
function answered() {
  for (const [query, made] of state.pressed) {
    const answer = store.get(`answer:${query}`);
    if (!answer) continue;
    state.pressed.delete(query);
    made.classList.remove("waiting");
    if (answer.text) toast(answer.text);
  }
}

function drawDraft(chat) {
  const draft = store.get(`draft:${chat.id}`);
  const shown = draft ? JSON.stringify(draft) : "";
  if ($("draft").dataset.shown === shown) return;
  $("draft").dataset.shown = shown;
  $("draft").replaceChildren(...(draft ? [draftBubble(draft, stop)] : []));
}

async function stop() {
  try {
    await act({ kind: "stop", chat: state.chat, user: state.speaker });
  } catch (error) {
    toast(error.message);
  }
}

function jump(id) {
  const item = state.drawn.get(id)?.item;
  if (!item) return;
  item.scrollIntoView({ block: "center", behavior: "smooth" });
  item.classList.add("found");
  setTimeout(() => item.classList.remove("found"), 1600);
}

function enlarge(url, words) {
  $("viewer-picture").src = url;
  $("viewer-picture").alt = words;
  $("viewer").showModal();
}

// An empty chat says what can be tried.

function drawWelcome(chat) {
  const empty = !messages(chat.id).length;
  if ($("welcome").hidden === !empty && $("welcome").dataset.chat === String(chat.id)) return;
  $("welcome").hidden = !empty;
  $("welcome").dataset.chat = chat.id;
  $("welcome-title").textContent = isPrivate(chat) ? `Hello, ${titleOf(chat)}` : chat.title;
  $("welcome-text").textContent = isPrivate(chat)
    ? "This is the real assistant, on this machine alone. Say something, or begin with one of these."
    : "Both of you and Famulus are here, and Famulus answers who names it. Choose below who speaks.";
  const ideas = IDEAS[isPrivate(chat) ? "private" : "group"].map((words) => idea(words, chat));
  $("chips").replaceChildren(...ideas);
}

function idea(words, chat) {
  const made = element("button", "chip", words);
  made.type = "button";
  const name = store.get("bot").username;
  made.addEventListener("click", () => {
    composer.text.value = isPrivate(chat) ? words : `@${name} ${words}`;
    composer.send();
  });
  return made;
}

// The scroll, and words that pass.

function nearEnd(near = NEAR) {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < near;
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

let passing = 0;
function toast(words) {
  $("toast").textContent = words;
  $("toast").classList.add("shown");
  clearTimeout(passing);
  passing = setTimeout(() => $("toast").classList.remove("shown"), 4500);
}

function drawAbout() {
  const lines = Object.entries(store.get("about") || {});
  $("about").replaceChildren(...lines.flatMap(([name, words]) => [element("dt", "", name), element("dd", "", words)]));
}

async function kill() {
  try {
    await act({ kind: "kill" });
  } catch (error) {
    toast(error.message);
  }
}

function drawKill() {
  const alive = store.get("alive");
  $("kill").hidden = alive === undefined;
  $("kill-button").disabled = alive === false;
}

// From here on the page lives.

$("scroll").addEventListener("scroll", () => { $("to-end").hidden = nearEnd(400); }, { passive: true });
$("to-end").addEventListener("click", toEnd);
$("kill-button").addEventListener("click", kill);
$("back").addEventListener("click", () => {
  document.body.classList.remove("in-chat");
  $("chats").querySelector("[aria-current]")?.focus();
});
$("messages").addEventListener("click", (event) => {
  const command = event.target.closest?.("[data-command]")?.dataset.command;
  if (!command) return;
  composer.text.value = command;
  composer.send();
});
new ResizeObserver(() => { if (nearEnd()) toEnd(); }).observe($("composer"));

function changed(_keys, whole) {
  if (whole) drawAbout();
  else if (!state.opened && chats().length) {
    for (const { id } of chats()) state.seen.set(id, messages(id).at(-1)?.message_id || 0);
    const wanted = Number(location.hash.slice(1));
    open(store.chat(wanted) ? wanted : chats()[0].id);
    if (NARROW.matches && !wanted) document.body.classList.remove("in-chat");
  } else draw();
  drawKill();
  answered();
}

follow(changed, (online) => {
  state.online = online;
  document.body.classList.toggle("offline", !online);
  const chat = store.chat(state.chat);
  if (chat) drawHead(chat);
});
