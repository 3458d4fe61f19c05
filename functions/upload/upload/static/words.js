// @ts-check
/**
 * What the page says of a file, in words.
 *
 * @typedef {import("./uploader.js").Item} Item
 */

/** @type {Record<import("./uploader.js").State, string>} */
const STATES = {
  ready: "Next in line",
  uploading: "Uploading",
  paused: "Paused",
  offline: "Connection lost, trying again",
  detached: "Interrupted",
  waiting: "Waiting to be processed",
  processing: "Processing",
  done: "Done",
  failed: "Failed",
  refused: "Not accepted",
};

/** What is said instead where files have to be approved. @type {Record<string, string>} */
const APPROVALS = {
  waiting: "Waiting for approval",
  published: "Published",
  rejected: "Not approved",
  expired: "Not approved in time",
};

const number = new Intl.NumberFormat("en");

/** @param {number} count */
export function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 1024 && power < units.length - 1) [count, power] = [count / 1024, power + 1];
  const digits = power && count < 10 ? 1 : 0;
  return `${count.toFixed(digits)} ${power || count !== 1 ? units[power] : "byte"}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** @param {number} count @param {string} one */
export function counted(count, one) {
  return `${number.format(count)} ${one}${count === 1 ? "" : "s"}`;
}

/** @param {Item} item */
export function stateOf({ state, result }) {
  const percent = state === "processing" && result?.percent;
  const word = APPROVALS[result?.approval ?? ""] ?? STATES[state];
  return percent ? `${word}, ${percent}%` : word;
}

/** Whether it is processed, and somebody has to approve it. @param {Item} item */
export function awaitsApproval({ state, result }) {
  return state === "processing" && result?.approval === "waiting";
}

/** @param {Item} item */
export function factsOf(item) {
  const { state, sent, size, speed } = item;
  if (state === "done") return learnt(item);
  if (state === "uploading" && speed > 0) {
    const left = duration((size - sent) / speed);
    return [`${bytes(sent)} of ${bytes(size)}`, `${bytes(speed)}/s`, `${left} left`];
  }
  if (sent > 0 && sent < size) return [`${bytes(sent)} of ${bytes(size)}`];
  return [bytes(size)];
}

/** What processing found out. @param {Item} item */
function learnt({ result, size, type }) {
  const facts = /** @type {Record<string, any>} */ (result?.facts ?? {});
  const { image, document, media, table, text } = facts;
  /** @type {Record<string, string>} */
  const encodings = { ascii: "ASCII", "utf-8": "UTF-8", "utf-8-sig": "UTF-8 with BOM" };
  return [
    image?.format?.toUpperCase() ?? kindOf(facts.detected?.contentType ?? type),
    image && `${number.format(image.width)} × ${number.format(image.height)}`,
    image?.frames > 1 && counted(image.frames, "frame"),
    media?.width && `${number.format(media.width)} × ${number.format(media.height)}`,
    media?.duration && duration(media.duration),
    table && counted(table.rows, "row"),
    table && counted(table.columns.length, "column"),
    document?.sheets && counted(document.sheets.length, "sheet"),
    document?.pages && counted(document.pages, "page"),
    document?.encrypted && (document.pages ? "encrypted" : "needs a password"),
    document?.words > 0 && counted(document.words, "word"),
    text && !table && counted(text.lines, "line"),
    text && (encodings[text.encoding] ?? text.encoding),
    bytes(size),
  ].filter(Boolean);
}

/** A content type in a word. @param {string} type */
function kindOf(type) {
  /** @type {Record<string, string>} */
  const special = {
    "text/plain": "Text",
    "application/octet-stream": "",
    "application/x-empty": "Empty",
  };
  const subtype = type.split("/").pop() ?? "";
  return special[type] ?? (subtype.length > 4 ? type : subtype.toUpperCase());
}

/** @param {import("./uploader.js").Output} output */
export function describedOutput({ name, contentType, width, height, size }) {
  const subtype = contentType.split("/").pop()?.split("+")[0] ?? "";
  const own = subtype.startsWith("vnd."); // such as vnd.apache.parquet
  const kind = own ? capital(subtype.slice(subtype.lastIndexOf(".") + 1)) : subtype.toUpperCase();
  const shape = width && height ? `${width} × ${height}` : bytes(size);
  return `${capital(name)} · ${shape} ${kind}`;
}

const capital = (/** @type {string} */ word) => word[0].toUpperCase() + word.slice(1);

/** @param {readonly Item[]} items @returns {{text: string, share: number}} share: 0 to 1 */
export function tally(items) {
  const size = items.reduce((sum, one) => sum + one.size, 0);
  const sent = items.reduce((sum, one) => sum + one.sent, 0);
  const speed = items.reduce((sum, one) => sum + (one.state === "uploading" ? one.speed : 0), 0);
  const count = (/** @type {string[]} */ ...states) =>
    items.filter((one) => states.includes(one.state)).length;
  const failed = count("failed", "refused");
  const parts = [`${number.format(count("done"))} of ${number.format(items.length)} done`];
  if (failed) parts.push(`${number.format(failed)} failed`);
  if (speed > 0) parts.push(`${bytes(speed)}/s`, `${duration((size - sent) / speed)} left`);
  return { text: parts.join(" · "), share: size ? sent / size : count("done") / items.length };
}

/** Of a file's name, at most four letters. @param {string} name */
export function extension(name) {
  const end = /\.([A-Za-z0-9]{1,4})$/.exec(name);
  return end ? end[1].toUpperCase() : "FILE";
}
