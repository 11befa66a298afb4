// Messages as elements: bubbles, pictures, files, buttons, reactions, and what is being written.

import { avatar, clock, hue, isPrivate, nameOf, summary } from "./chats.js";
import { store } from "./store.js";
import { element, icon, rich } from "./text.js";

const UNITS = ["bytes", "kB", "MB"];

/** One message, or the album that begins with it: `view` has the chat, the reader, the album's
 * messages, whether others of the same person stand above and below, and what can be done. */
export function bubble(message, view) {
  const mine = message.from.id === view.reader;
  const item = element("li", `message ${mine ? "out" : "in"}`);
  item.dataset.id = message.message_id;
  item.classList.toggle("joined", view.joined);
  item.classList.toggle("last", view.last);
  if (!isPrivate(view.chat) && !mine) item.append(face(message, view));
  const box = element("article", "bubble");
  box.setAttribute("aria-label", `${nameOf(message.from)}, ${clock(message.date)}`);
  box.append(...inside(message, view, mine));
  const column = element("div", "column");
  column.append(box, ...keyboard(message, view));
  item.append(column, tools(message, view));
  return item;
}

function face(message, view) {
  return view.last ? avatar(null, message.from) : element("span", "avatar none");
}

function* inside(message, view, mine) {
  if (!isPrivate(view.chat) && !mine && !view.joined) {
    yield element("strong", `who ${shade(message.from)}`, nameOf(message.from));
  }
  if (message.forward_origin) yield element("div", "forwarded", `Forwarded from ${origin(message)}`);
  if (message.reply_to_message) yield quoted(message, view);
  const pictures = view.album.filter((each) => each.photo).map((each) => picture(each, view));
  if (pictures.length > 1) yield grid(pictures);
  else yield* pictures;
  for (const each of view.album) yield* files(each);
  yield words(view.album.find((each) => each.caption) || message, mine);
}

const shade = (user) => (user?.is_bot ? "of-bot" : hue(user?.id || 0));

function grid(pictures) {
  const made = element("div", "album");
  made.append(...pictures);
  return made;
}

const FILES = ["document", "animation", "audio", "voice", "video"];

function* files(message) {
  for (const kind of FILES) {
    if (!message[kind]) continue;
    yield kind === "voice" ? sound(message[kind]) : file(message[kind], kind);
  }
}

function sound(voice) {
  const made = element("audio", "voice");
  made.controls = true;
  made.preload = "metadata";
  made.src = store.files(voice.file_id);
  made.setAttribute("aria-label", "Voice message");
  return made;
}

const origin = (message) =>
  nameOf(message.forward_origin.sender_user) || message.forward_origin.sender_user_name;

function words(message, mine) {
  const text = message.text ?? message.caption ?? unknown(message);
  const holder = element("div", "words");
  holder.dir = "auto";
  if (message.rich) holder.append(...message.rich.map(block));
  else holder.append(rich(text, message.entities || message.caption_entities || []));
  const meta = element("span", "meta");
  if (message.edit_date) meta.append(element("span", "", "edited "));
  meta.append(element("time", "", clock(message.date)));
  if (mine) meta.append(icon("check"));
  const foot = element("div", "foot");
  foot.append(...reactions(message), meta);
  const both = element("div", text ? "text" : "text bare");
  both.append(holder, foot);
  return both;
}

function unknown(message) {
  if (message.rich) return " ";
  return ["photo", ...FILES].some((kind) => message[kind]) ? "" : "(this page cannot show such a message)";
}

/** A part of a rich message: a table, or words. */
function block({ rows, text, entities }) {
  if (!rows) {
    const made = element("div", "block");
    made.append(rich(text, entities));
    return made;
  }
  const made = element("div", "table");
  const table = element("table");
  rows.forEach((row, number) => {
    const line = element("tr");
    for (const cell of row) {
      const made = element(number ? "td" : "th");
      made.append(rich(cell.text, cell.entities));
      line.append(made);
    }
    table.append(line);
  });
  made.tabIndex = 0;
  made.append(table);
  return made;
}

function reactions(message) {
  const found = (message.reaction || []).filter((each) => each.emoji);
  if (!found.length) return [];
  const holder = element("span", "reactions");
  for (const each of found) {
    const made = element("span", "reaction", each.emoji);
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", `Famulus reacted with ${each.emoji}`);
    made.append(avatar(null, { is_bot: true }));
    holder.append(made);
  }
  return [holder];
}

function quoted(message, view) {
  const replied = message.reply_to_message;
  const made = element("button", `quoted ${shade(replied.from)}`);
  made.type = "button";
  made.append(element("strong", "", nameOf(replied.from)));
  made.append(element("span", "", message.quote?.text || summary(replied)));
  made.addEventListener("click", () => view.jump(replied.message_id));
  return made;
}

function picture(message, view) {
  const sizes = message.photo;
  const url = store.files(sizes[sizes.length - 1].file_id);
  const made = element("button", "picture");
  made.type = "button";
  const image = element("img");
  image.src = url;
  image.alt = message.caption || `Picture from ${nameOf(message.from)}`;
  image.addEventListener("load", view.loaded, { once: true });
  made.setAttribute("aria-label", `${image.alt}; enlarge`);
  made.append(image);
  made.addEventListener("click", () => view.enlarge(url, image.alt));
  return made;
}

function file(document, kind) {
  const made = element("a", "file");
  const name = document.file_name || kind;
  made.href = store.files(document.file_id);
  made.download = name;
  const sign = element("span", "file-sign");
  sign.append(icon("file"));
  const lines = element("span", "file-lines");
  lines.append(element("strong", "", name), element("span", "", size(document.file_size || 0)));
  made.append(sign, lines);
  return made;
}

export function size(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const number = bytes / 1000 ** power;
  return `${power ? number.toFixed(1) : number} ${UNITS[power]}`;
}

function keyboard(message, view) {
  const rows = message.reply_markup?.inline_keyboard || [];
  if (!rows.length) return [];
  const board = element("div", "keyboard");
  for (const row of rows) {
    const line = element("div", "key-row");
    for (const each of row) line.append(key(each, message, view));
    board.append(line);
  }
  return [board];
}

function key(each, message, view) {
  const web = /^https?:\/\//i.test(each.url || "");
  const made = element(web ? "a" : "button", `key ${each.style || ""}`, each.text);
  if (web) {
    Object.assign(made, { href: each.url, target: "_blank", rel: "noopener noreferrer" });
    return made;
  }
  made.type = "button";
  made.addEventListener("click", () => view.press(message, each, made));
  return made;
}

/** What can be done with a message, shown beside it when it is pointed at or has the focus. */
function tools(message, view) {
  const holder = element("div", "tools");
  holder.append(tool("reply", "Reply", () => view.reply(message)));
  if (message.from.id === view.reader && message.text !== undefined) {
    holder.append(tool("edit", "Edit", () => view.edit(message)));
  }
  return holder;
}

function tool(name, label, act) {
  const made = element("button", "icon");
  made.type = "button";
  made.title = label;
  made.setAttribute("aria-label", label);
  made.append(icon(name));
  made.addEventListener("click", act);
  return made;
}

/** What is being written just now, with its Stop button. */
export function draftBubble(draft, stop) {
  const item = element("div", "message in last draft");
  const box = element("article", "bubble");
  const holder = element("div", "words");
  holder.dir = "auto";
  holder.append(rich(draft.text, draft.entities || []));
  holder.append(element("span", "caret"));
  box.append(holder);
  const column = element("div", "column");
  column.append(box);
  if (draft.can_stop !== false) column.append(stopButton(stop));
  item.append(column);
  return item;
}

function stopButton(stop) {
  const made = element("button", "key stop", "Stop");
  made.type = "button";
  made.prepend(icon("stop"));
  made.addEventListener("click", stop);
  return made;
}
