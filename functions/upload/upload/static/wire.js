// @ts-check
/**
 * The requests of uploader.js, and what their answers mean.
 *
 * @typedef {import("./uploader.js").StatusDocument} StatusDocument
 * @typedef {import("./uploader.js").UploadError} UploadError
 */

export const STALL_MS = 60_000; // a connection that carries nothing for so long counts as lost

/** The portal or Cloud Storage says no, and asking again would not change it. */
export class Refusal extends Error {
  /** @param {UploadError} error */
  constructor(error) {
    super(error.detail);
    this.error = error;
  }
}

/** It may work later. */
export class Trouble extends Error {
  name = ""; // so that it reads as its message

  /** @param {string} message @param {number} [seconds] as Retry-After asks for */
  constructor(message, seconds = 0) {
    super(message);
    this.seconds = seconds;
  }
}

/** @param {number} failures in a row @param {unknown} error */
export function backoff(failures, error) {
  const asked = error instanceof Trouble ? error.seconds * 1000 : 0;
  return Math.max(asked, Math.min(30_000, 500 * 2 ** failures) * (0.5 + Math.random() / 2));
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/**
 * The error of an answer that is not ok: problem details (RFC 9457) in words.
 * @param {Response} answer @param {boolean} [passing] whatever it is, it may pass
 */
export async function refusal(answer, passing = false) {
  const { status } = answer;
  const problem = await answer.json().catch(() => ({}));
  const detail = problem.detail ?? problem.title ?? `The portal answered ${status}.`;
  const seconds = Number(answer.headers.get("Retry-After")) || 0;
  const temporary = status >= 500 || [408, 425, 429].includes(status);
  if (temporary || (passing && status !== 401)) return new Trouble(detail, seconds);
  const reason = status === 401 ? "signed_out" : "refused";
  const { limit } = problem;
  return new Refusal({ reason, detail, status, limit, retryable: status === 401 });
}

/**
 * One PUT to a session. XMLHttpRequest, because fetch does not tell how much is sent.
 * @param {string} url @param {Blob | null} body @param {string} range
 * @param {AbortSignal} signal @param {(loaded: number) => void} [progress]
 * @returns {Promise<{status: number, range: string | null}>}
 */
export function put(url, body, range, signal, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    let stall = setTimeout(stop, STALL_MS);
    request.open("PUT", url);
    request.setRequestHeader("Content-Range", range);
    request.upload.onprogress = ({ loaded }) => {
      clearTimeout(stall);
      stall = setTimeout(stop, STALL_MS);
      if (!signal.aborted) progress?.(loaded);
    };
    request.onload = () =>
      resolve({ status: request.status, range: request.getResponseHeader("Range") });
    request.onerror = request.onabort = () => reject(new Trouble("The connection was lost."));
    request.onloadend = () => {
      clearTimeout(stall);
      signal.removeEventListener("abort", stop);
    };
    signal.addEventListener("abort", stop, { once: true });
    request.send(body);
  });
}

/**
 * The documents of a stream of server-sent events.
 * @param {ReadableStream<Uint8Array>} body @param {AbortController} stream
 * @returns {AsyncGenerator<StatusDocument>}
 */
export async function* events(body, stream) {
  const [reader, decoder] = [body.getReader(), new TextDecoder()];
  for (let buffer = ""; ;) {
    const stall = setTimeout(() => stream.abort(), STALL_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(stall));
    if (done) return;
    const blocks = (buffer + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
    buffer = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
    }
  }
}
