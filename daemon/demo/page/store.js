// What the server says there is: the same keys and values as over there, kept up by its events.

export const store = {
  values: new Map(),
  files: (id) => `file/${encodeURIComponent(id)}`,
  get: (key) => store.values.get(key),
  user: (id) => store.values.get(`user:${id}`),
  chat: (id) => store.values.get(`chat:${id}`),
  message: (chat, id) => store.values.get(`message:${chat}:${id}`),
};

/** The messages of a chat, oldest first. */
export function messages(chat) {
  const start = `message:${chat}:`;
  const found = [];
  for (const [key, value] of store.values) if (key.startsWith(start)) found.push(value);
  return found.sort((a, b) => a.message_id - b.message_id);
}

/** The chats in the order of the list: private ones, then groups. */
export function chats() {
  const found = [];
  for (const [key, value] of store.values) if (key.startsWith("chat:")) found.push(value);
  return found.sort((a, b) => (b.id > 0) - (a.id > 0) || a.id - b.id);
}

/** Keep up for ever. `changed` gets the keys of each event, `online` whether there is a server. */
export function follow(changed, online) {
  const source = new EventSource("events");
  source.onopen = () => online(true);
  source.onerror = () => online(false);
  source.onmessage = (event) => {
    const { whole, set, gone } = JSON.parse(event.data);
    if (whole) store.values.clear();
    for (const [key, value] of Object.entries(set)) store.values.set(key, value);
    for (const key of gone) store.values.delete(key);
    changed(new Set([...Object.keys(set), ...gone]), Boolean(whole));
  };
}

/** Do something; gives the server's answer. Throws an Error with its words. */
export async function act(what, files = []) {
  const request = { method: "POST", headers: {}, body: JSON.stringify(what) };
  if (files.length) {
    request.body = new FormData();
    request.body.append("act", JSON.stringify({ ...what, names: files.map((file) => file.name) }));
    files.forEach((file, number) => {
      request.body.append(`file${String(number).padStart(2, "0")}`, file, "file");
    });
  } else {
    request.headers["content-type"] = "application/json";
  }
  const answer = await fetch("act", request);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
