// @ts-check
import { Refusal, Trouble, events, refusal } from "./wire.js";

/**
 * The portal's API, as its OpenAPI document has it. Every call sends a token where there is one.
 *
 * @typedef {import("./uploader.js").Options} Options
 * @typedef {import("./uploader.js").StatusDocument} StatusDocument
 */
export class Portal {
  /** @type {Promise<string> | null} */ #renewing = null;

  /** @param {Options} options */
  constructor({ base = "", status, getToken }) {
    this.base = base.replace(/\/$/, "");
    /** The status function's address, told by the first answer where nobody said it. */
    this.status = status?.replace(/\/$/, "");
    this.getToken = getToken;
  }

  /**
   * A session for a file; `url` is undefined where all of it is there already.
   * @param {{name: string, size: number, type: string, folder?: string,
   *   metadata?: Record<string, string>}} file
   * @param {string} key Idempotency-Key @param {AbortSignal} signal
   * @returns {Promise<{fileId: string, url?: string}>}
   */
  async begin({ name, size, type, folder, metadata }, key, signal) {
    const contentType = type || "application/octet-stream";
    const asked = { name, size, contentType, folder, metadata };
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const init = { method: "POST", headers, body: JSON.stringify(asked), signal };
    const answer = await this.#call(`${this.base}/files`, init);
    if (!answer.ok) throw await refusal(answer);
    const { file_id: fileId, upload, links } = await answer.json();
    this.status ??= links?.status?.match(/^(https?:.*)\/files\/[^/]+$/)?.[1];
    const page = new URL(`${this.base}/`, document.baseURI);
    return { fileId, url: upload && new URL(upload.url, page).href };
  }

  /**
   * What became of a file; null where nothing changed since the answer that bore `etag`.
   * @param {string} fileId @param {string | undefined} etag @param {AbortSignal} signal
   */
  async ask(fileId, etag, signal) {
    const headers = etag ? { "If-None-Match": etag } : undefined;
    const path = `${this.status ?? this.base}/files/${encodeURIComponent(fileId)}`;
    const answer = await this.#call(path, { headers, signal });
    if (answer.status === 304) return null;
    if (!answer.ok) throw await refusal(answer);
    /** @type {StatusDocument} */
    const result = await answer.json();
    return { result, etag: answer.headers.get("ETag") ?? undefined };
  }

  /**
   * What becomes of up to 50 files, as it happens, until the portal ends the stream.
   * @param {string[]} fileIds @param {AbortController} stream
   */
  async *listen(fileIds, stream) {
    const query = fileIds.map((id) => `file_id=${encodeURIComponent(id)}`).join("&");
    const init = { headers: { Accept: "text/event-stream" }, signal: stream.signal };
    const answer = await this.#call(`${this.status ?? this.base}/events?${query}`, init);
    if (!answer.ok || !answer.body) throw await refusal(answer, true);
    yield* events(answer.body, stream);
  }

  /**
   * A call; an answer of 401 is followed by another with a new token.
   * @param {string} url @param {RequestInit} init
   */
  async #call(url, init) {
    for (let renew = false; ; renew = true) {
      const headers = new Headers(init.headers);
      if (this.getToken) headers.set("Authorization", `Bearer ${await this.#token(renew)}`);
      const answer = await fetch(url, { ...init, headers, cache: "no-store" }).catch((error) => {
        throw init.signal?.aborted ? error : new Trouble("The connection was lost.");
      });
      if (answer.status !== 401 || renew || !this.getToken) return answer;
    }
  }

  /** @param {boolean} renew @returns {Promise<string>} */
  #token(renew) {
    const ask = async () => {
      try {
        return this.getToken ? await this.getToken(renew) : "";
      } catch (error) {
        const detail = `There is no valid token: ${error}`;
        throw new Refusal({ reason: "signed_out", detail, retryable: true });
      }
    };
    if (!renew) return ask();
    this.#renewing ??= ask().finally(() => (this.#renewing = null));
    return this.#renewing;
  }
}
