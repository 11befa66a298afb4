// The list of chats, and who is who: names, colours and initials.

import { element, icon } from "./text.js";
import { chats, messages, store } from "./store.js";

export const isPrivate = (chat) => chat.id > 0;
export const nameOf = (user) => user?.first_name || "Somebody";

/** The people who can speak in a chat. */
export function people(chat) {
  const found = [];
  if (isPrivate(chat)) return [store.user(chat.id)].filter(Boolean);
  for (const [key, value] of store.values) if (key.startsWith("user:")) found.push(value);
  return found.sort((a, b) => a.id - b.id);
}

/** One of eight colours, always the same for the same person or chat. */
export const hue = (id) => `hue-${Math.abs(id) % 8}`;

/** A round picture: initials, or the bot's sign. */
export function avatar(holder, who) {
  const made = holder || element("span", "avatar");
  made.className = `avatar ${who.is_bot ? "bot" : hue(who.id)}`;
  const title = who.title || who.first_name || "?";
  const initials = title.split(" ").map((word) => [...word][0] || "").slice(0, 2).join("");
  made.replaceChildren(who.is_bot ? icon("famulus") : initials);
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** One line about a message, for the list and for replies. */
export function summary(message) {
  const words = message.text || message.caption || message.rich?.map((each) => each.text || "Table").join(" ") || "";
  const kinds = { photo: "🖼 Picture", document: "📎 ", voice: "🎤 Voice message", audio: "🎵 Audio" };
  for (const [kind, label] of Object.entries(kinds)) {
    if (!message[kind]) continue;
    const name = kind === "document" ? label + (message.document.file_name || "File") : label;
    return words ? `${name}, ${words}` : name;
  }
  return words || "Message";
}

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** Fill the list. `state` knows the open chat and what was seen last; `open` opens a chat. */
export function showChats(list, state, open) {
  const focused = document.activeElement?.dataset?.chat;
  list.replaceChildren(...chats().map((chat) => row(chat, state, open)));
  if (focused) list.querySelector(`[data-chat="${focused}"]`)?.focus();
}

function row(chat, state, open) {
  const all = messages(chat.id);
  const last = all[all.length - 1];
  const item = element("li");
  const button = element("button", "chat-row");
  button.type = "button";
  button.dataset.chat = chat.id;
  if (chat.id === state.chat) button.setAttribute("aria-current", "true");
  const head = element("span", "row-head");
  head.append(element("span", "row-title", titleOf(chat)));
  if (last) head.append(element("time", "", clock(last.date)));
  const foot = element("span", "row-foot");
  foot.append(element("span", "row-last", lastWords(chat, last)));
  const unread = all.filter((m) => m.from.is_bot && m.message_id > (state.seen.get(chat.id) || 0));
  if (unread.length && chat.id !== state.chat) foot.append(badge(unread.length));
  const lines = element("span", "row-lines");
  lines.append(head, foot);
  button.append(avatar(null, isPrivate(chat) ? people(chat)[0] || chat : chat), lines);
  button.addEventListener("click", () => open(chat.id));
  item.append(button);
  return item;
}

function badge(count) {
  const made = element("span", "badge", String(count));
  made.setAttribute("aria-label", `${count} unread`);
  return made;
}

export const titleOf = (chat) => (isPrivate(chat) ? nameOf(store.user(chat.id)) : chat.title);

function lastWords(chat, last) {
  if (store.get(`draft:${chat.id}`)) return "Famulus is writing…";
  if (!last) return isPrivate(chat) ? "Private chat with Famulus" : "Group with Famulus";
  const who = last.from.is_bot ? "Famulus: " : isPrivate(chat) ? "" : `${nameOf(last.from)}: `;
  return who + summary(last).replace(/\s+/g, " ").slice(0, 90);
}
