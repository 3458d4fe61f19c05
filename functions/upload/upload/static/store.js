// @ts-check
/** Records in IndexedDB, by id. Where the browser gives none, nothing outlives a reload. */
export class Store {
  /** @param {string | null} name */
  constructor(name) {
    /** @type {Promise<IDBDatabase | null>} */
    this.database = new Promise((resolve) => {
      if (!name || !globalThis.indexedDB) return resolve(null);
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore("files", { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    });
  }

  /** @returns {Promise<any[]>} in the order in which they were added */
  async all() {
    const records = (await this.#do("readonly", (files) => files.getAll())) ?? [];
    return records.sort((/** @type {any} */ a, /** @type {any} */ b) => a.added - b.added);
  }

  /** @param {string} id */
  get(id) {
    return this.#do("readonly", (files) => files.get(id));
  }

  /** @param {object} record */
  put(record) {
    return this.#do("readwrite", (files) => files.put(record));
  }

  /** @param {string} id */
  delete(id) {
    return this.#do("readwrite", (files) => files.delete(id));
  }

  /** @param {IDBTransactionMode} mode @param {(files: IDBObjectStore) => IDBRequest} act */
  async #do(mode, act) {
    const database = await this.database;
    if (!database) return undefined;
    return new Promise((resolve) => {
      const request = act(database.transaction("files", mode).objectStore("files"));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(undefined);
    });
  }
}
