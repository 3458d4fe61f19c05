// @ts-check
import { explained } from "./reasons.js";
import { Rows } from "./rows.js";
import { createUploader } from "./uploader.js";
import { bytes, counted, stateOf, tally } from "./words.js";

/** @typedef {import("./uploader.js").Item} Item */

const ANNOUNCED = ["done", "failed", "refused", "offline", "detached"];
const ANNOUNCE_MS = 800; // what ends together is said together
const NOTICE_MS = 5_000;

/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const input = /** @type {HTMLInputElement} */ (at("input"));
const folder = /** @type {HTMLSelectElement} */ (document.querySelector("#folders select"));
const template = /** @type {HTMLTemplateElement} */ (at("row"));

const uploader = createUploader();
const rows = new Rows(at("list"), template, (id) => uploader.file(id));

// Adding

/** @param {(File | {file: File, handle?: FileSystemFileHandle})[]} sources */
function add(sources) {
  if (!sources.length) return;
  const added = uploader.add(sources, folder.value ? { folder: folder.value } : {});
  const text = added.length ? `${counted(added.length, "file")} added` : "Already in the list";
  say(text, !added.length);
  uploader.start();
}

/** With handles where the browser gives them: after a reload such files go on without a choice. */
async function choose() {
  const picker = /** @type {any} */ (window).showOpenFilePicker;
  if (!picker) return input.click();
  try {
    /** @type {FileSystemFileHandle[]} */
    const handles = await picker({ multiple: true });
    add(
      await Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle }))),
    );
  } catch (error) {
    if (/** @type {Error} */ (error).name !== "AbortError") input.click();
  }
}

/** @param {DataTransfer} data */
async function dropped(data) {
  const items = [...data.items].filter((one) => one.kind === "file");
  const sources = await Promise.all(
    items.map(async (one) => {
      const folder = one.webkitGetAsEntry?.();
      if (folder?.isDirectory) return within(folder);
      const file = one.getAsFile();
      const handle = await /** @type {any} */ (one)
        .getAsFileSystemHandle?.()
        .catch(() => undefined);
      return file ? [{ file, handle }] : [];
    }),
  );
  add(sources.flat());
}

/**
 * The files of a folder, at any depth, without hidden ones; none of what cannot be read.
 * @param {any} entry a FileSystemEntry @returns {Promise<{file: File}[]>}
 */
async function within(entry) {
  /** @type {(ask: (resolve: (found: any) => void, reject: () => void) => void) => Promise<any>} */
  const asked = (ask) => new Promise((resolve) => ask(resolve, () => resolve(undefined)));
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await asked((...then) => entry.file(...then));
    return file ? [{ file }] : [];
  }
  const [reader, found] = [entry.createReader(), []];
  for (let some; (some = await asked((...then) => reader.readEntries(...then)))?.length; )
    for (const one of some) found.push(...(await within(one)));
  return found;
}

/** A picture from the clipboard has no name of its own. @param {File} file */
function named(file) {
  if (file.name !== "image.png") return file;
  const time = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
  return new File([file], `Pasted ${time}.png`, { type: file.type });
}

function listen() {
  at("add").onclick = choose;
  input.onchange = () => {
    add([...(input.files ?? [])]);
    input.value = ""; // the same file can be chosen again
  };
  document.onpaste = (event) => add([...(event.clipboardData?.files ?? [])].map(named));
  let depth = 0; // of elements that a drag has entered
  const veil = (/** @type {number} */ by) => {
    depth = by ? depth + by : 0;
    at("veil").classList.toggle("shown", depth > 0);
  };
  const files = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  document.ondragenter = (event) => files(event) && veil(1);
  document.ondragleave = (event) => files(event) && veil(-1);
  document.ondragover = (event) => files(event) && event.preventDefault();
  document.ondrop = (event) => {
    if (!event.dataTransfer || !files(event)) return;
    event.preventDefault();
    veil(0);
    void dropped(event.dataTransfer);
  };
  at("pauses").onclick = () => uploader.pause();
  at("resumes").onclick = () => uploader.resume();
  at("clears").onclick = () => uploader.forget();
  at("list").onclick = (event) => void clicked(event);
  uploader.addEventListener("change", changed);
}

/** @param {MouseEvent} event */
async function clicked(event) {
  const target = /** @type {Element} */ (event.target);
  const id = target.closest("li")?.dataset.id;
  const item = uploader.items.find((one) => one.id === id);
  if (!id || !item) return;
  const act = target.closest("button")?.dataset.act;
  if (act === "pause") uploader.pause(id);
  if (act === "resume") await uploader.resume(id);
  if (act === "retry") await uploader.retry(id);
  if (act === "choose") await choose();
  if (target.closest(".remove")) uploader.cancel(id);
  const picture = target.closest(".picture")?.parentElement?.querySelector(".outputs a");
  if (picture instanceof HTMLElement) picture.click();
  const anchor = target.closest("a");
  if (anchor) await opened(event, anchor, item);
}

/**
 * A link that has expired is asked for anew.
 * @param {Event} event @param {HTMLAnchorElement} anchor @param {Item} item
 */
async function opened(event, anchor, item) {
  const output = item.result?.outputs?.find((one) => one.name === anchor.dataset.output);
  if (!output || Date.parse(output.url_expires) > Date.now() + 10_000) return;
  event.preventDefault();
  const fresh = await uploader.refresh(item.id);
  const url = fresh.result?.outputs?.find((one) => one.name === output.name)?.url;
  if (url) window.open(url, "_blank", "noopener");
}

// Showing

let drawing = false;
/** @type {Map<string, string>} */
const said = new Map();
/** @type {Item[]} */
let news = [];

/** @param {CustomEvent<Item | null>} event */
function changed({ detail: item }) {
  if (item && ANNOUNCED.includes(item.state) && said.get(item.id) !== item.state) {
    if (!news.length) setTimeout(announce, ANNOUNCE_MS);
    news.push(item);
  }
  if (item) said.set(item.id, item.state);
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(draw), document.hidden ? 500 : 0);
}

function draw() {
  drawing = false;
  const { items } = uploader;
  const any = (/** @type {string[]} */ ...states) =>
    items.some((one) => states.includes(one.state));
  rows.show(items);
  at("files").hidden = !items.length;
  document.body.classList.toggle("busy", items.length > 0);
  const { text, share } = tally(items);
  at("title").textContent = counted(items.length, "file");
  at("tally").textContent = text;
  at("total").setAttribute("value", String(share));
  at("pauses").hidden = !any("ready", "uploading", "offline");
  at("resumes").hidden = !at("pauses").hidden || !items.some(resumable);
  at("clears").hidden = !any("done");
  const sending = any("ready", "uploading", "offline", "paused", "detached");
  at("total").classList.toggle("idle", !sending);
  const percent = sending ? `${Math.floor(share * 100)} % · ` : "";
  document.title = `${percent}Upload files`;
}

/** @param {Item} item */
function resumable({ state, atHand }) {
  return state === "paused" || (state === "detached" && atHand);
}

function announce() {
  if (news.length === 1) {
    const [item] = news;
    const why = item.error && item.state !== "offline" ? `. ${explained(item.error)}` : "";
    say(`${item.name}: ${stateOf(item)}${why}`);
  } else {
    const rank = (/** @type {Item} */ { state }) => ANNOUNCED.indexOf(state);
    news.sort((a, b) => rank(a) - rank(b) || stateOf(a).localeCompare(stateOf(b)));
    const words = news.map(stateOf);
    const count = (/** @type {string} */ word) => words.filter((one) => one === word).length;
    say([...new Set(words)].map((word) => `${word}: ${counted(count(word), "file")}`).join("; "));
  }
  news = [];
}

let unsay = 0; // the timer that hides it

/** @param {string} text @param {boolean} [shown] to those who see, too */
function say(text, shown = false) {
  at("live").textContent = text;
  at("live").classList.toggle("unseen", !shown);
  clearTimeout(unsay);
  if (shown) unsay = setTimeout(() => at("live").classList.add("unseen"), NOTICE_MS);
}

/** What may be uploaded, where the portal says so. */
async function settle() {
  const answer = await fetch("settings").catch(() => undefined);
  if (!answer?.ok) return;
  /** @type {{folders: Record<string, {types: string[], max_bytes: number}>}} */
  const { folders } = await answer.json();
  folder.replaceChildren(...Object.keys(folders).map((name) => new Option(name)));
  at("folders").hidden = folder.options.length < 2;
  folder.onchange = () => {
    const { types, max_bytes } = folders[folder.value];
    const any = types.includes("*/*");
    input.accept = any ? "" : types.join(",");
    const kinds = any ? "Files of any kind" : types.join(", ").replaceAll("/*", "s");
    at("limits").textContent = `${kinds}, up to ${bytes(max_bytes)} each.`;
  };
  folder.onchange(new Event("change"));
}

listen();
draw();
await settle();
await uploader.ready;
uploader.start();
