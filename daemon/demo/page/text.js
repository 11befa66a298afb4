// A text with its entities as nodes. Offsets count UTF-16 units, as JavaScript's strings do.
// Nothing is ever parsed as HTML: text becomes text nodes, and each kind of entity one element.

const ELEMENTS = {
  bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code",
  blockquote: "blockquote", expandable_blockquote: "blockquote",
};
const BLOCKS = new Set(["pre", "blockquote", "expandable_blockquote"]);
const SAFE_LINK = /^(https?:|mailto:|tg:|tel:)/i;

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** The nodes of a text: entities that hold others are nested, those that only overlap are cut. */
export function rich(text, entities = []) {
  const sorted = entities
    .filter((each) => each.length > 0 && each.offset < text.length)
    .sort((a, b) => a.offset - b.offset || b.length - a.length);
  const holder = document.createDocumentFragment();
  fill(holder, text, sorted, 0, text.length);
  return holder;
}

function fill(parent, text, entities, from, to) {
  let at = from;
  let index = 0;
  while (index < entities.length) {
    const outer = entities[index];
    const start = Math.max(outer.offset, at);
    const end = Math.min(outer.offset + outer.length, to);
    const inner = [];
    for (index += 1; index < entities.length && entities[index].offset < end; index += 1) {
      inner.push(entities[index]);
    }
    if (start >= end) continue;
    parent.append(text.slice(at, start));
    parent.append(marked(outer, text.slice(start, end), (into) => fill(into, text, inner, start, end)));
    // A block ends its line by itself.
    at = BLOCKS.has(outer.type) && text[end] === "\n" ? end + 1 : end;
  }
  parent.append(text.slice(at, to));
}

function marked(entity, words, fillIn) {
  if (entity.type === "pre") return codeBlock(entity, words);
  if (entity.type === "spoiler") return spoiler(fillIn);
  if (entity.type === "bot_command") return command(words);
  const url = address(entity, words);
  const made = url ? link(url) : element(ELEMENTS[entity.type] || "span");
  if (!url && !ELEMENTS[entity.type]) made.className = `entity ${entity.type}`;
  if (entity.type === "expandable_blockquote") expandable(made);
  fillIn(made);
  return made;
}

function address(entity, words) {
  if (entity.type === "text_link") return SAFE_LINK.test(entity.url) ? entity.url : "";
  if (entity.type === "email") return `mailto:${words}`;
  if (entity.type !== "url") return "";
  const url = words.includes("://") ? words : `https://${words}`;
  return SAFE_LINK.test(url) ? url : "";
}

function link(url) {
  const made = element("a");
  made.href = url;
  made.title = url;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  return made;
}

function codeBlock(entity, words) {
  const block = element("div", "pre");
  const head = element("div", "pre-head");
  const copy = element("button", "copy", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the code");
  copy.addEventListener("click", () => copied(copy, words));
  head.append(element("span", "", entity.language || "code"), copy);
  const pre = element("pre");
  pre.tabIndex = 0;
  pre.append(element("code", "", words));
  block.append(head, pre);
  return block;
}

async function copied(button, words) {
  try {
    await navigator.clipboard.writeText(words);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function spoiler(fillIn) {
  const made = element("span", "spoiler");
  made.setAttribute("role", "button");
  made.setAttribute("aria-label", "Spoiler; show it");
  made.tabIndex = 0;
  const words = element("span", "spoiler-text");
  fillIn(words);
  made.append(words);
  const show = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    made.classList.add("shown");
    made.removeAttribute("aria-label");
  };
  made.addEventListener("click", show);
  made.addEventListener("keydown", show);
  return made;
}

function command(words) {
  const made = element("button", "command", words);
  made.type = "button";
  made.dataset.command = words;
  return made;
}

function expandable(quote) {
  quote.classList.add("expandable");
  quote.tabIndex = 0;
  const toggle = () => quote.classList.toggle("open");
  quote.addEventListener("click", toggle);
  quote.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
}
