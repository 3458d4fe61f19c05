// @ts-check
import { Trouble, backoff, pause } from "./wire.js";

const STREAM_FILES = 50; // as many as the portal tells of in one stream
const TURN_MS = 5_000; // how long a stream lasts while more files than that are watched

/**
 * Hears what becomes of files: over one stream, or by asking while the portal gives none.
 *
 * @typedef {import("./uploader.js").Item} Item
 * @typedef {import("./uploader.js").StatusDocument} StatusDocument
 */
export class Watcher {
  /** @type {AbortController | null} */ #stream = null;
  /** @type {Map<string, {turn: number, etag?: string}>} by item */ #seen = new Map();
  #turn = 0;
  #watching = false;
  #closed = new AbortController();

  /**
   * @param {import("./portal.js").Portal} portal
   * @param {() => Item[]} files those whose end is not known
   * @param {(document: StatusDocument) => void} told
   */
  constructor(portal, files, told) {
    this.portal = portal;
    this.files = files;
    this.told = told;
  }

  close() {
    this.#closed.abort();
    this.#stream?.abort();
  }

  /** There is another file, or the connection is back. */
  wake() {
    this.#stream?.abort();
    void this.#watch();
  }

  async #watch() {
    if (this.#watching) return;
    this.#watching = true;
    for (let failures = 0, files = this.#next(); files.length; files = this.#next()) {
      try {
        await this.#listen(files);
        failures = 0;
        await pause(200, this.#closed.signal); // files that arrive together share a stream
      } catch (error) {
        failures += 1;
        // While questions are answered they go on at a few seconds' distance.
        if (error instanceof Trouble && (await this.#poll(files))) failures = 2;
        await pause(backoff(failures, error), this.#closed.signal);
      }
    }
    this.#watching = false;
  }

  /** The files to watch now: those that were not watched for longest. */
  #next() {
    if (this.#closed.signal.aborted) return [];
    this.#turn += 1;
    const turn = (/** @type {Item} */ { id }) => this.#seen.get(id)?.turn ?? 0;
    const files = [...this.files()].sort((a, b) => turn(a) - turn(b)).slice(0, STREAM_FILES);
    for (const { id } of files) this.#seen.set(id, { ...this.#seen.get(id), turn: this.#turn });
    return files;
  }

  /** One stream, until its files have ended or it does. @param {Item[]} files */
  async #listen(files) {
    const stream = (this.#stream = new AbortController());
    const { signal } = stream;
    const more = this.files().length > files.length;
    const turn = more ? setTimeout(() => stream.abort(), TURN_MS) : undefined;
    const ids = new Set(files.map((one) => one.id));
    try {
      const fileIds = files.map((one) => one.fileId ?? "");
      for await (const document of this.portal.listen(fileIds, stream)) {
        this.told(document);
        if (!this.files().some((one) => ids.has(one.id))) return;
      }
      await pause(1_000, signal); // it ended by itself: the portal lets none last for ever
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      stream.abort();
      clearTimeout(turn);
    }
  }

  /** Asks for each, and whether one was answered. @param {Item[]} files */
  async #poll(files) {
    let answered = false;
    for (const file of files) {
      await this.ask(file, true)
        .then(() => (answered = true))
        .catch(() => {});
    }
    return answered;
  }

  /** @param {Item} item @param {boolean} [changed] tell only what has changed */
  async ask({ id, fileId = "" }, changed = false) {
    const etag = changed ? this.#seen.get(id)?.etag : undefined;
    const answer = await this.portal.ask(fileId, etag, this.#closed.signal);
    if (!answer) return;
    this.#seen.set(id, { turn: 0, ...this.#seen.get(id), etag: answer.etag });
    this.told(answer.result);
  }
}
