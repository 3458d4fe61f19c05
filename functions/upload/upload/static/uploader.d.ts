/** Where a file is on its way. `offline`: the connection is lost, and is tried again.
 * `detached`: known from before a reload, but the page no longer has the file: add it again.
 * `refused`: the portal does not take it; `failed`: it was taken, but could not be processed. */
export type State =
  | "ready"
  | "uploading"
  | "paused"
  | "offline"
  | "detached"
  | "waiting"
  | "processing"
  | "done"
  | "failed"
  | "refused";

export interface Output {
  name: string;
  /** Signed, and valid until url_expires: refresh() brings a new one. */
  url: string;
  /** RFC 3339. */
  url_expires: string;
  contentType: string;
  /** Bytes. */
  size: number;
  /** Pixels. */
  width?: number;
  height?: number;
}

/** What GET /files/<file_id> answers. */
export interface StatusDocument {
  file_id: string;
  status: "waiting" | "processing" | "done" | "failed";
  /** Where files have to be approved before they are published. */
  approval?: "waiting" | "published" | "rejected" | "expired";
  /** Of a video under way: how much of its renditions is made. */
  percent?: number;
  outputs?: Output[];
  reason?: string;
  detail?: string;
  retryable?: boolean;
  [fact: string]: unknown;
}

export interface UploadError {
  /** A reason of docs/reasons.md, or one of: refused, signed_out, unreadable. */
  reason: string;
  /** One sentence for a person. */
  detail: string;
  /** The HTTP status, where an answer refused. */
  status?: number;
  /** Bytes, where a file was refused as too large. */
  limit?: number;
  /** Whether trying again may help. */
  retryable: boolean;
}

/** One file; replaced, never changed, so that it can be compared by identity. */
export interface Item {
  readonly id: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly type: string;
  readonly lastModified: number;
  readonly state: State;
  /** Bytes that Cloud Storage has, or has been sent. */
  readonly sent: number;
  /** Bytes a second of late; 0 while nothing is sent. */
  readonly speed: number;
  /** The portal's name for it, once there is one. */
  readonly fileId?: string;
  readonly result?: StatusDocument;
  readonly error?: UploadError;
  /** Whether the file itself is at hand, or can be opened once the person allows it. */
  readonly atHand: boolean;
}

export interface Options {
  /** The portal's address; "" is the page's own. */
  base?: string;
  /** The status function's, where it has another address than `base`. */
  status?: string;
  /** A bearer token; `renew` is true after an answer of 401. Left out: no token is sent. */
  getToken?: (renew: boolean) => string | Promise<string>;
  /** Where in the portal the files go; left out: its default. */
  folder?: string;
  /** Lies on each object, and comes back in its record and status. */
  metadata?: Record<string, string>;
  /** Files that are sent at once: 3. */
  parallel?: number;
  /** Bytes of one PUT, a multiple of 262,144: 16 MiB. */
  chunkBytes?: number;
  /** Name of the IndexedDB database that outlives a reload, or null for none. */
  store?: string | null;
}

/** A file of a picker, a drop or the clipboard; with its handle it need not be chosen again. */
export type Source = File | { file: File; handle?: FileSystemFileHandle };

export interface Uploader extends EventTarget {
  readonly items: readonly Item[];
  /** What was under way before a reload is back in `items`. */
  readonly ready: Promise<void>;
  /** New items, and detached ones that a file belongs to; a file that is under way is left out. */
  add(files: Iterable<Source>, wanted?: Pick<Options, "folder" | "metadata">): Item[];
  /** The file itself, where it is at hand: for a preview. */
  file(id: string): File | undefined;
  /** Sends what is ready, `parallel` at a time. */
  start(): void;
  /** One file, or all. */
  pause(id?: string): void;
  /** One file, or all. Call it from a click: a detached file's handle may ask for permission. */
  resume(id?: string): Promise<void>;
  /** Ends it and forgets it; what has arrived whole is processed all the same. */
  cancel(id: string): void;
  /** Again from the start, as a new file, unless it was never accepted. */
  retry(id: string): Promise<void>;
  /** Takes a finished item off the list; without id, all that are done. */
  forget(id?: string): void;
  /** Asks for the status anew, for links that are valid again. */
  refresh(id: string): Promise<Item>;
  /** Stops sending and watching; what is remembered stays. */
  close(): void;
  addEventListener(
    type: "change",
    listener: (event: CustomEvent<Item>) => void,
    options?: AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export function createUploader(options?: Options): Uploader;
