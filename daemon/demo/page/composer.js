// Where messages are written: text, files, the menu of commands, replies and corrections.

import { hue, nameOf, people, summary } from "./chats.js";
import { size } from "./message.js";
import { act, store } from "./store.js";
import { element, icon } from "./text.js";

const MAX_FILES = 10;
// What the demo's server takes in one request; Telegram's clients take more, and bots fetch less.
const MAX_BYTES = 50e6;
const $ = (id) => document.getElementById(id);
const PICTURE = /^image\/(png|jpeg|webp)$/;

/** The composer. `state` names chat and speaker; `failed` shows an error; `last` gives one's last text. */
export class Composer {
  constructor(state, { failed, last }) {
    Object.assign(this, { state, failed, last, files: [], reply: null, edited: null });
    this.text = $("text");
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    this.text.addEventListener("input", () => this.changed());
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.text.addEventListener("paste", (event) => this.pasted(event));
    $("attach").addEventListener("click", () => $("files").click());
    $("files").addEventListener("change", () => { this.add($("files").files); $("files").value = ""; });
    $("above-close").addEventListener("click", () => this.plain());
    $("slash").addEventListener("click", () => this.slash());
    this.drops();
  }

  // What is written.

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.send();
    } else if (event.key === "Escape") {
      this.plain();
    } else if (event.key === "ArrowUp" && !this.text.value && this.last()) {
      event.preventDefault();
      this.edit(this.last());
    }
  }

  changed() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 180)}px`;
    $("send").classList.toggle("ready", Boolean(this.text.value.trim() || this.files.length));
    this.showCommands();
  }

  async send() {
    const text = this.text.value.trim();
    const files = this.files.map((each) => each.file);
    if (!text && !files.length) return;
    const who = { chat: this.state.chat, user: this.state.speaker, text };
    const what = this.edited
      ? { ...who, kind: "edit", message: this.edited.message_id }
      : { ...who, kind: "say", reply_to: this.reply?.message_id || 0 };
    const kept = { ...who, words: this.text.value, files, reply: this.reply, edited: this.edited };
    this.clear();
    try {
      await act(what, files);
    } catch (error) {
      this.failed(error.message || "The demo does not answer.");
      this.restore(kept);
    }
  }

  /** Put back what could not be sent, before what was written meanwhile. */
  restore({ chat, words, files, reply, edited }) {
    if (chat !== this.state.chat) return;
    const since = this.text.value;
    if (edited) this.edit(edited);
    else if (reply) this.answer(reply);
    this.text.value = [words, since].filter(Boolean).join("\n");
    if (files.length) this.add(files);
    this.changed();
  }

  clear() {
    this.text.value = "";
    this.setFiles([]);
    this.plain();
    this.changed();
  }

  // Replies and corrections.

  answer(message) {
    this.edited = null;
    this.reply = message;
    this.above("reply", `Reply to ${nameOf(message.from)}`, summary(message));
  }

  edit(message) {
    this.reply = null;
    this.edited = message;
    this.text.value = message.text;
    this.above("edit", "Edit message", message.text);
    this.changed();
  }

  above(name, title, text) {
    $("above-icon").setAttribute("href", `#i-${name}`);
    $("above-title").textContent = title;
    $("above-text").textContent = text;
    $("above").hidden = false;
    this.text.focus();
  }

  plain() {
    if (this.edited) this.text.value = "";
    this.reply = this.edited = null;
    $("above").hidden = true;
    this.changed();
  }

  // Files.

  pasted(event) {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    this.add(event.clipboardData.files);
  }

  drops() {
    const over = $("drop");
    addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      over.hidden = false;
    });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) over.hidden = true; });
    addEventListener("drop", (event) => {
      event.preventDefault();
      over.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  add(list) {
    const listed = [...list].filter((file) => this.fits(file));
    const added = listed.map((file) => ({ file, url: PICTURE.test(file.type) ? URL.createObjectURL(file) : "" }));
    if (this.files.length + added.length > MAX_FILES) this.failed(`At most ${MAX_FILES} files at once.`);
    this.setFiles([...this.files, ...added].slice(0, MAX_FILES));
    this.text.focus();
  }

  /** Say of a file that cannot be sent why, in place of uploading it in vain. */
  fits(file) {
    const before = this.files.reduce((sum, each) => sum + each.file.size, 0);
    if (!file.size) this.failed(`${file.name} is empty; Telegram takes no empty files.`);
    else if (before + file.size > MAX_BYTES) this.failed(`${file.name} is too large: at most ${size(MAX_BYTES)} at once.`);
    else return true;
    return false;
  }

  setFiles(files) {
    for (const each of this.files) if (each.url && !files.includes(each)) URL.revokeObjectURL(each.url);
    this.files = files;
    $("tray").hidden = !files.length;
    $("tray").replaceChildren(...files.map((each) => this.thumbnail(each)));
    this.changed();
  }

  thumbnail(each) {
    const made = element("div", "thumb");
    if (each.url) {
      const image = element("img");
      image.src = each.url;
      image.alt = each.file.name;
      made.append(image);
    } else {
      made.append(icon("file"), element("span", "thumb-name", each.file.name), element("small", "", size(each.file.size)));
    }
    const close = element("button", "icon");
    close.type = "button";
    close.setAttribute("aria-label", `Leave out ${each.file.name}`);
    close.append(icon("close"));
    close.addEventListener("click", () => this.setFiles(this.files.filter((other) => other !== each)));
    made.append(close);
    return made;
  }

  // Commands, and who speaks.

  slash() {
    this.text.value = this.text.value === "/" ? "" : "/";
    this.text.focus();
    this.changed();
  }

  showCommands() {
    const list = $("commands");
    const typed = /^\/(\w*)$/.exec(this.text.value);
    const all = (typed && store.get(`commands:${this.state.chat}`)) || [];
    const found = all.filter((each) => each.command.startsWith(typed[1]));
    list.hidden = !found.length;
    list.replaceChildren(...found.map((each) => this.commandRow(each)));
  }

  commandRow({ command, description }) {
    const item = element("li");
    const button = element("button");
    button.type = "button";
    button.append(element("strong", "", `/${command}`), element("span", "", description));
    button.addEventListener("click", () => { this.text.value = `/${command}`; this.send(); this.text.focus(); });
    item.append(button);
    return item;
  }

  /** Offer the people of the chat, where there is more than one. */
  showSpeakers(chat) {
    const able = people(chat);
    if (!able.some((user) => user.id === this.state.speaker)) this.state.speaker = able[0]?.id;
    const holder = $("speaker");
    holder.hidden = able.length < 2;
    holder.replaceChildren(...able.map((user) => this.speaker(user, chat)));
  }

  speaker(user, chat) {
    const made = element("button", hue(user.id), nameOf(user));
    made.type = "button";
    made.setAttribute("role", "radio");
    made.setAttribute("aria-checked", String(user.id === this.state.speaker));
    made.addEventListener("click", () => {
      this.state.speaker = user.id;
      this.showSpeakers(chat);
      this.state.redraw();
      this.text.focus();
    });
    return made;
  }
}
