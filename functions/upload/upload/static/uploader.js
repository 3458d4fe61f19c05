// @ts-check
/**
 * Sends files to the portal and follows what becomes of them. Without dependencies.
 *
 *     const uploader = createUploader({ base: "https://upload-abc.a.run.app", getToken });
 *     uploader.addEventListener("change", (event) => show(event.detail));
 *     uploader.add(input.files);
 *     uploader.start();
 *
 * A file goes ready → uploading → waiting → processing → done or failed. Its bytes go to Cloud
 * Storage itself, in a resumable session whose offset is asked for after every interruption:
 * https://cloud.google.com/storage/docs/performing-resumable-uploads
 *
 * @typedef {import("./uploader.js").Item} Item
 * @typedef {import("./uploader.js").Options} Options
 * @typedef {import("./uploader.js").Source} Source
 * @typedef {import("./uploader.js").StatusDocument} StatusDocument
 * @typedef {import("./uploader.js").UploadError} UploadError
 *
 * @typedef {object} Job what an item's sending needs, and nobody else
 * @property {string} key Idempotency-Key: the same file, however often it is asked for
 * @property {number} added
 * @property {{folder?: string, metadata?: Record<string, string>}} wanted
 * @property {string} [url] the session's, a bearer for a week
 * @property {boolean} [fresh] nothing has been sent into the session
 * @property {File} [file]
 * @property {any} [handle] a FileSystemFileHandle; TypeScript does not know its permissions
 * @property {number} failures in a row, without a byte stored between them
 * @property {AbortController} [sending]
 * @property {() => void} [release] the lock that keeps another tab from sending the same
 * @property {[number, number][]} samples (milliseconds, bytes sent) of the last seconds
 */

import { Portal } from "./portal.js";
import { Store } from "./store.js";
import { Watcher } from "./watcher.js";
import { Refusal, Trouble, backoff, pause, put } from "./wire.js";

const CHUNK_BYTES = 16 * 2 ** 20;
const SPEED_MS = 4_000;
const UNSENT = ["ready", "uploading", "paused", "offline", "detached"];
const WATCHED = ["waiting", "processing"];

/** @param {Options} [options] */
export function createUploader(options = {}) {
  return new FileUploader(options);
}

class FileUploader extends EventTarget {
  /** @type {Map<string, Item>} */ #items = new Map();
  /** @type {Map<string, Job>} */ #jobs = new Map();
  /** @type {readonly Item[] | null} */ #list = null;
  #started = false;
  #closed = new AbortController();

  /** @param {Options} options */
  constructor({ parallel = 3, chunkBytes = CHUNK_BYTES, store = "uploads", ...options }) {
    super();
    this.parallel = parallel;
    this.chunkBytes = chunkBytes;
    this.wanted = { folder: options.folder, metadata: options.metadata };
    this.store = new Store(store);
    this.portal = new Portal(options);
    const told = (/** @type {StatusDocument} */ document) => this.#told(document);
    this.watcher = new Watcher(this.portal, () => this.#chosen(undefined, WATCHED), told);
    addEventListener("online", () => this.#wake(), { signal: this.#closed.signal });
    this.ready = this.#restore();
  }

  /** @returns {readonly Item[]} */
  get items() {
    this.#list ??= Object.freeze([...this.#items.values()]);
    return this.#list;
  }

  /** @param {string} id */
  file(id) {
    return this.#jobs.get(id)?.file;
  }

  /** @param {Iterable<Source>} sources @param {Job["wanted"]} [wanted] */
  add(sources, wanted = {}) {
    const added = [];
    for (const source of sources) {
      const { file, handle } = "file" in source ? source : { file: source, handle: undefined };
      const same = this.items.find((one) => UNSENT.includes(one.state) && isSame(one, file));
      if (same && same.state !== "detached") continue;
      const item = same ?? this.#create(file, { ...this.wanted, ...wanted });
      Object.assign(this.#job(item.id), { file, handle: handle ?? this.#job(item.id).handle });
      added.push(this.#set(item.id, { state: "ready", atHand: true, error: undefined }));
      void this.#save(item.id);
    }
    if (this.#started) this.start();
    return added;
  }

  start() {
    this.#started = true;
    let free = this.parallel - this.items.filter((one) => this.#job(one.id).sending).length;
    for (const item of this.items) {
      if (free <= 0) return;
      if (item.state !== "ready" || this.#job(item.id).sending) continue;
      free -= 1;
      void this.#send(item.id);
    }
  }

  /** @param {string} [id] */
  pause(id) {
    for (const item of this.#chosen(id, ["ready", "uploading", "offline"])) {
      this.#job(item.id).sending?.abort();
      this.#set(item.id, { state: "paused", speed: 0 });
      void this.#save(item.id);
    }
  }

  /** @param {string} [id] */
  async resume(id) {
    for (const item of this.#chosen(id, ["paused", "offline", "detached"])) {
      this.#job(item.id).sending?.abort();
      if (await this.#open(item.id)) this.#set(item.id, { state: "ready", error: undefined });
    }
    this.start();
  }

  /** @param {string} id */
  cancel(id) {
    const { sending, url } = this.#job(id);
    sending?.abort();
    if (url) fetch(url, { method: "DELETE" }).catch(() => {}); // it ends by itself in a week
    this.#remove(id);
    this.start();
  }

  /** @param {string} id */
  async retry(id) {
    const item = this.#item(id);
    if (item.state === "failed") {
      Object.assign(this.#job(id), { key: crypto.randomUUID(), url: undefined });
      void this.#hold(id);
    }
    const cleared = { error: undefined, result: undefined, fileId: undefined, sent: 0 };
    this.#set(id, { ...cleared, state: (await this.#open(id)) ? "ready" : "detached" });
    void this.#save(id);
    this.start();
  }

  /** @param {string} [id] */
  forget(id) {
    const states = id === undefined ? ["done"] : ["done", "failed", "refused", ...WATCHED];
    for (const item of this.#chosen(id, states)) {
      this.#remove(item.id);
    }
  }

  /** @param {string} id */
  async refresh(id) {
    await this.watcher.ask(this.#item(id));
    return this.#item(id);
  }

  close() {
    this.#closed.abort();
    this.watcher.close();
    for (const { sending, release } of this.#jobs.values()) {
      sending?.abort();
      release?.();
    }
  }

  // Items

  /** @param {File} file @param {Job["wanted"]} wanted */
  #create({ name, size, type, lastModified }, wanted) {
    const id = crypto.randomUUID();
    const file = { name, size, type, lastModified };
    this.#jobs.set(id, newJob(crypto.randomUUID(), wanted));
    this.#items.set(id, { id, ...file, state: "ready", sent: 0, speed: 0, atHand: true });
    void this.#hold(id);
    return this.#item(id);
  }

  /** @param {string} id @returns {Item} */
  #item(id) {
    const item = this.#items.get(id);
    if (!item) throw new RangeError(`no file has the id ${id}`);
    return item;
  }

  /** @param {string} id */
  #job(id) {
    return this.#jobs.get(id) ?? newJob("");
  }

  /** @param {string | undefined} id @param {string[]} states */
  #chosen(id, states) {
    const items = id === undefined ? this.items : [this.#item(id)];
    return items.filter((one) => states.includes(one.state));
  }

  /** @param {string} id @param {Partial<Item>} patch */
  #set(id, patch) {
    const old = this.#items.get(id);
    const item = /** @type {Item} */ ({ ...old, ...patch });
    if (!old) return item; // forgotten meanwhile
    this.#items.set(id, item);
    this.#tell(item);
    return item;
  }

  /** @param {Item | null} item null: one left */
  #tell(item) {
    this.#list = null;
    this.dispatchEvent(new CustomEvent("change", { detail: item }));
  }

  /** @param {string} id */
  #remove(id) {
    this.#jobs.get(id)?.release?.();
    this.#jobs.delete(id);
    this.#items.delete(id);
    void this.store.delete(id);
    this.#tell(null);
  }

  // What outlives a reload

  /** @param {string} id */
  #save(id) {
    const { key, url, handle, added, wanted } = this.#job(id);
    const { atHand, speed, ...item } = this.#item(id);
    return this.store.put({ ...item, key, url, handle, added, wanted, portal: this.portal.status });
  }

  async #restore() {
    for (const record of await this.store.all()) {
      const { id, state } = record;
      if (!UNSENT.includes(state)) this.#adopt(record);
      else if (await this.#hold(id, true)) await this.#reopen(id);
      // A file that another tab is sending appears here once that tab lets it go.
      else void this.#hold(id).then(() => this.#reopen(id));
    }
    this.watcher.wake();
    void this.#renew();
  }

  /** Links that have expired, one after the other. */
  async #renew() {
    for (const item of this.#chosen(undefined, ["done"])) {
      const outputs = item.result?.outputs ?? [];
      if (!outputs.some((one) => Date.parse(one.url_expires) < Date.now())) continue;
      await this.refresh(item.id).catch(() => {});
    }
  }

  /** @param {any} record as #save wrote it */
  #adopt({ key, url, handle, added, wanted, portal, ...item }) {
    this.portal.status ??= portal;
    const { release } = this.#job(item.id);
    this.#jobs.set(item.id, { ...newJob(key, wanted), url, handle, added, release });
    this.#items.set(item.id, { ...item, speed: 0, atHand: Boolean(handle) });
    this.#tell(this.#item(item.id));
  }

  /** A file that was not sent, now that no other tab sends it. @param {string} id */
  async #reopen(id) {
    const record = await this.store.get(id);
    if (record) this.#adopt(record);
    if (!record || !UNSENT.includes(record.state)) {
      this.#job(id).release?.();
      if (!record) this.#jobs.delete(id);
      return this.watcher.wake();
    }
    const { state, handle } = record;
    const granted = (await handle?.queryPermission({ mode: "read" })) === "granted";
    const open = granted && (await this.#open(id));
    this.#set(id, { state: !open ? "detached" : state === "paused" ? "paused" : "ready" });
    if (this.#started) this.start();
  }

  /**
   * Keeps other tabs from sending the same file, until it is sent or forgotten.
   * @param {string} id @param {boolean} [ifAvailable]
   * @returns {Promise<boolean>} whether it is held
   */
  #hold(id, ifAvailable = false) {
    if (!navigator.locks) return Promise.resolve(true);
    return new Promise((tell) => {
      void navigator.locks.request(`upload ${id}`, { ifAvailable }, (lock) => {
        if (!lock) return tell(false);
        return new Promise((release) => {
          const job = this.#jobs.get(id) ?? newJob("");
          this.#jobs.set(id, Object.assign(job, { release: () => release(undefined) }));
          tell(true);
        });
      });
    });
  }

  /** Whether the file itself is there, from memory or by its handle. @param {string} id */
  async #open(id) {
    const [job, item] = [this.#job(id), this.#item(id)];
    try {
      if (!job.file && job.handle) {
        const may = await job.handle.requestPermission({ mode: "read" });
        const file = may === "denied" ? undefined : await job.handle.getFile();
        if (file && isSame(item, file)) job.file = file;
      }
      await job.file?.slice(0, 1).arrayBuffer();
    } catch {
      job.file = undefined; // it was moved, changed or deleted
    }
    if (!job.file) {
      this.#set(id, { state: "detached", atHand: false, speed: 0 });
      job.handle = undefined;
    }
    return Boolean(job.file);
  }

  // Sending

  /** @param {string} id */
  async #send(id) {
    const job = this.#job(id);
    const { signal } = (job.sending = new AbortController());
    this.#set(id, { state: "uploading", error: undefined });
    while (!signal.aborted) {
      try {
        if (!job.url) await this.#begin(id, signal);
        if (job.url) await this.#transfer(id, signal);
        this.#sent(id);
        break;
      } catch (error) {
        if (!signal.aborted) await this.#recover(id, error, signal);
      }
    }
    if (job.sending?.signal === signal) job.sending = undefined;
    this.start();
  }

  /** @param {string} id @param {unknown} error @param {AbortSignal} signal */
  async #recover(id, error, signal) {
    const job = this.#job(id);
    if (error instanceof Refusal) {
      const state = error.error.reason === "signed_out" ? "paused" : "refused";
      job.sending?.abort();
      this.#set(id, { state, error: error.error, speed: 0 });
      return void this.#save(id);
    }
    if (!(await this.#open(id))) {
      job.sending?.abort();
      const detail = "The file was changed, moved or deleted meanwhile.";
      this.#set(id, { error: { reason: "unreadable", detail, retryable: false } });
      return void this.#save(id);
    }
    job.failures += 1;
    const trouble = { reason: "offline", detail: String(error), retryable: true };
    this.#set(id, { state: "offline", speed: 0, error: trouble });
    await pause(backoff(job.failures, error), signal);
    if (!signal.aborted) this.#set(id, { state: "uploading", error: undefined });
  }

  #wake() {
    for (const item of this.#chosen(undefined, ["offline"])) void this.resume(item.id);
    this.watcher.wake();
  }

  /** @param {string} id @param {AbortSignal} signal */
  async #begin(id, signal) {
    const job = this.#job(id);
    const file = { ...this.#item(id), ...job.wanted };
    const { fileId, url } = await this.portal.begin(file, job.key, signal);
    Object.assign(job, { url, fresh: true });
    this.#set(id, { fileId });
    void this.#save(id);
  }

  /** Sends what the session does not have. @param {string} id @param {AbortSignal} signal */
  async #transfer(id, signal) {
    const [job, { size }] = [this.#job(id), this.#item(id)];
    const [file, url] = [/** @type {File} */ (job.file), /** @type {string} */ (job.url)];
    let offset = job.fresh ? 0 : this.#stored(job, await put(url, null, `bytes */${size}`, signal));
    job.fresh = false;
    while (offset < Infinity) {
      this.#progress(id, offset);
      const [start, end] = [offset, Math.min(offset + this.chunkBytes, size)];
      const range = size ? `bytes ${start}-${end - 1}/${size}` : "bytes */0";
      const answer = await put(url, file.slice(start, end), range, signal, (loaded) =>
        this.#progress(id, Math.min(start + loaded, end)),
      );
      offset = this.#stored(job, answer);
      if (offset <= start) throw new Trouble("Cloud Storage kept nothing of what was sent");
      job.failures = 0;
    }
  }

  /**
   * How many bytes the session has; Infinity: all, and the object is there.
   * @param {Job} job @param {{status: number, range: string | null}} answer
   */
  #stored(job, { status, range }) {
    // 412: made by an earlier session of the same file, whose answer was lost
    if (status === 200 || status === 201 || status === 412) return Infinity;
    if (status === 308) return range ? Number(range.split("-")[1]) + 1 : 0;
    if (status === 404 || status === 410)
      job.url = undefined; // the same key opens another
    else if (status > 400 && status < 500 && status !== 408 && status !== 429) {
      const detail = `Cloud Storage refused the file with status ${status}.`;
      throw new Refusal({ reason: "refused", detail, status, retryable: true });
    }
    throw new Trouble(`Cloud Storage answered ${status}`);
  }

  /** @param {string} id @param {number} sent */
  #progress(id, sent) {
    const [samples, now] = [this.#job(id).samples, Date.now()];
    if (samples.length && sent < samples[samples.length - 1][1]) samples.length = 0;
    samples.push([now, sent]);
    while (samples[0][0] < now - SPEED_MS) samples.shift();
    const [began, before] = samples[0];
    const known = now - began > 250; // milliseconds; less says little
    this.#set(id, known ? { sent, speed: ((sent - before) * 1000) / (now - began) } : { sent });
  }

  /** @param {string} id */
  #sent(id) {
    const job = this.#job(id);
    Object.assign(job, { url: undefined, failures: 0, samples: [] });
    this.#set(id, { state: "waiting", sent: this.#item(id).size, speed: 0 });
    void this.#save(id).then(job.release); // not before: the next tab reads what is saved
    this.watcher.wake();
  }

  /** @param {StatusDocument} result */
  #told(result) {
    const item = this.items.find((one) => one.fileId === result.file_id);
    if (!item || UNSENT.includes(item.state)) return;
    if (JSON.stringify(result) === JSON.stringify(item.result)) return;
    const { status: state, reason = "unknown", detail = "", retryable = false } = result;
    const error = state === "failed" ? { reason, detail, retryable } : undefined;
    this.#set(item.id, { state, result, error });
    void this.#save(item.id);
  }
}

/** @param {string} key @param {Job["wanted"]} [wanted] @returns {Job} */
function newJob(key, wanted = {}) {
  const added = Date.now() + performance.now() / 1e6; // in order within a millisecond, too
  return { key, wanted, added, failures: 0, samples: [] };
}

/** @param {Item} item @param {File} file */
function isSame(item, file) {
  const { name, size, lastModified } = file;
  return item.name === name && item.size === size && item.lastModified === lastModified;
}
