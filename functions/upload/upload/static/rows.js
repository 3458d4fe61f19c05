// @ts-check
import { explained } from "./reasons.js";
import { awaitsApproval, describedOutput, extension, factsOf, stateOf } from "./words.js";

/**
 * The list of files: a row for each, drawn anew when its item changes.
 *
 * @typedef {import("./uploader.js").Item} Item
 * @typedef {import("./uploader.js").Output} Output
 */

/** @type {Record<string, [string, string]>} state → [icon, word] of what the first button does */
const ACTS = {
  ready: ["pause", "Pause"],
  uploading: ["pause", "Pause"],
  paused: ["resume", "Resume"],
  offline: ["resume", "Try now"],
  detached: ["choose", "Choose again:"],
  failed: ["retry", "Try again:"],
  refused: ["retry", "Try again:"],
};
const PICTURE = /^image\/(jpeg|png|webp|gif|avif)$/;
const VIDEO = /^video\/(mp4|webm)$/; // what browsers play
const PREVIEW_BYTES = 32 * 2 ** 20;
const UNDER_WAY = ["ready", "uploading", "paused", "offline", "detached"];

export class Rows {
  /** @type {Map<string, {item: Item, row: Element}>} */ #rows = new Map();

  /**
   * @param {Element} list @param {HTMLTemplateElement} template
   * @param {(id: string) => File | undefined} fileOf
   */
  constructor(list, template, fileOf) {
    this.list = list;
    this.template = template;
    this.fileOf = fileOf;
  }

  /** @param {readonly Item[]} items */
  show(items) {
    const known = new Set(items.map((one) => one.id));
    for (const [id, { row }] of this.#rows) if (!known.has(id)) this.#leave(id, row);
    for (const item of items) {
      const shown = this.#rows.get(item.id);
      if (shown?.item === item) continue;
      const row = shown?.row ?? this.#enter(item);
      this.#rows.set(item.id, { item, row });
      draw(row, item, shown?.item);
    }
  }

  /** @param {Item} item */
  #enter({ id, name }) {
    const row = part(this.template.content, "li").cloneNode(true);
    if (!(row instanceof HTMLElement)) throw new TypeError("the template has no row");
    row.dataset.id = id;
    write(row, ".name", name);
    part(row, ".name").setAttribute("title", name);
    write(row, ".kind", extension(name));
    part(row, "progress").setAttribute("aria-label", name);
    part(row, ".remove").setAttribute("aria-label", `Remove ${name}`);
    part(row, ".remove").setAttribute("title", "Remove");
    this.list.append(row);
    preview(row, this.fileOf(id));
    return row;
  }

  /** Focus goes on to the next row, or the one before. @param {string} id @param {Element} row */
  #leave(id, row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const focused = row.contains(document.activeElement);
    row.remove();
    this.#rows.delete(id);
    if (!focused) return;
    const to = next ? next.querySelector(".remove") : document.querySelector("#add");
    if (to instanceof HTMLElement) to.focus();
  }
}

/** @param {Element} row @param {Item} item @param {Item} [before] */
function draw(row, item, before) {
  const { state, sent, size, error, result } = item;
  row.setAttribute("data-state", awaitsApproval(item) ? "approval" : state);
  write(row, ".word", stateOf(item));
  write(row, ".facts", factsOf(item).map(unbroken).join("\u00a0· "));
  write(row, ".problem", error && state !== "offline" ? explained(error) : hint(item));
  const progress = part(row, "progress");
  const made = state === "processing" && result?.percent;
  progress.toggleAttribute("hidden", !made && !UNDER_WAY.includes(state));
  progress.setAttribute("value", String(made ? made / 100 : size ? sent / size : 0));
  if (state !== before?.state || item.atHand !== before?.atHand) drawAct(row, item);
  if (item.result !== before?.result) drawOutputs(row, item.result?.outputs ?? []);
}

/** @param {Item} item */
function hint(item) {
  if (awaitsApproval(item)) {
    return "Somebody looks at it before it is published. You can close this page and come back.";
  }
  if (item.state !== "detached") return "";
  return item.atHand
    ? "Resume it, and it goes on where it stopped."
    : "Choose the same file again, and it goes on where it stopped.";
}

/** @param {Element} row @param {Item} item */
function drawAct(row, item) {
  const act = part(row, ".act");
  const [icon, word] = actOf(item);
  const focused = document.activeElement === act;
  act.toggleAttribute("hidden", !icon);
  act.setAttribute("data-act", icon);
  act.setAttribute("title", word.replace(":", ""));
  act.setAttribute("aria-label", `${word} ${item.name}`);
  part(act, "use").setAttribute("href", `#${icon}`);
  const remove = part(row, ".remove");
  if (focused && !icon && remove instanceof HTMLElement) remove.focus();
}

/** @param {Item} item */
function actOf({ state, atHand, error }) {
  const none = ["", ""];
  if (state === "detached" && atHand) return ACTS.paused;
  if (state === "failed" || state === "refused") return error?.retryable ? ACTS[state] : none;
  return ACTS[state] ?? none;
}

let previews = Promise.resolve(); // one after the other, since each is decoded whole

/** Shows a picture before it is sent. @param {Element} row @param {File} [file] */
function preview(row, file) {
  if (!file || file.size > PREVIEW_BYTES || !PICTURE.test(file.type)) return;
  previews = previews.then(async () => {
    if (!row.isConnected || row.querySelector(".picture img")) return;
    const bitmap = await createImageBitmap(file, { resizeWidth: 128 }).catch(() => undefined);
    if (!bitmap) return; // broken, or nothing that this browser knows
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
    part(row, ".picture").append(canvas);
  });
}

/** Nothing of it is loaded before somebody plays it. @param {Output} video @param {Output} [poster] */
function player(video, poster) {
  const made = document.createElement("video");
  Object.assign(made, { controls: true, preload: "none", playsInline: true, src: video.url });
  if (poster) made.poster = poster.url;
  if (video.width && video.height) [made.width, made.height] = [video.width, video.height];
  return made;
}

/** @param {Element} row @param {Output[]} outputs */
function drawOutputs(row, outputs) {
  part(row, ".outputs").replaceChildren(...outputs.map(link));
  const video = outputs.find((one) => VIDEO.test(one.contentType));
  const picture = outputs.find((one) => PICTURE.test(one.contentType));
  if (video) part(row, ".outputs").append(player(video, picture));
  part(row, ".picture img")?.remove();
  if (!picture) return;
  const image = document.createElement("img");
  image.alt = ""; // its name and facts stand beside it
  image.decoding = "async";
  image.onload = () => image.classList.add("there");
  image.src = picture.url;
  part(row, ".picture").append(image);
}

/** @param {Output} output */
function link(output) {
  const anchor = document.createElement("a");
  anchor.href = output.url;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
  anchor.dataset.output = output.name;
  anchor.textContent = unbroken(describedOutput(output));
  return anchor;
}

/** @param {ParentNode} node @param {string} selector @returns {Element} */
function part(node, selector) {
  return /** @type {Element} */ (node.querySelector(selector));
}

/** @param {string} text that stays on one line */
const unbroken = (text) => text.replaceAll(" ", "\u00a0");

/**
 * Only where it differs, so that nothing is laid out or read out anew.
 * @param {Element} row @param {string} selector @param {string} text
 */
function write(row, selector, text) {
  const node = part(row, selector);
  if (node.textContent !== text) node.textContent = text;
}
