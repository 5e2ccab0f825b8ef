// The reader's own photos, kept by the browser on this machine until the reader forgets them: their files in
// a database, so that every page can run the model on them again, and each tab's choice among them.

const NAME = "cfviz.own"; // of the database, and of the mark in local storage that there are photos in it
const CHOSEN = "cfviz.own.chosen"; // in the tab's session storage

/** What a browser may refuse; then null. */
function tried(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

function answered(request) {
  return new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
}

function over(transaction) {
  return new Promise((done, failed) => {
    transaction.oncomplete = done;
    transaction.onabort = transaction.onerror = () => failed(transaction.error);
  });
}

export class Kept {
  /** @param most how many photos are kept */
  constructor(most) {
    this.most = most;
  }

  async opened() {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("photos", { keyPath: "id" });
      request.result.createObjectStore("files");
    };
    return answered(request);
  }

  async stores(mode) {
    const change = (await (this.opening ??= this.opened())).transaction(["photos", "files"], mode);
    return [change, change.objectStore("photos"), change.objectStore("files")];
  }

  /** The photos: {id, name, png: the input's pixels}, the newest first. Ids grow with time. */
  async list() {
    if (!tried(() => localStorage.getItem(NAME))) return []; // without waiting for the database
    try {
      const [, photos] = await this.stores("readonly");
      return (await answered(photos.getAll())).reverse();
    } catch {
      return [];
    }
  }

  /** A photo's file; null if it is gone. */
  async file(id) {
    try {
      const [, , files] = await this.stores("readonly");
      const { bytes, name, type } = await answered(files.get(id));
      return new File([bytes], name, { type });
    } catch {
      return null;
    }
  }

  /** Keep a photo, and the newest ones beside it; whether that is possible. */
  async add(id, file, png) {
    try {
      const { name, type } = file;
      const bytes = await file.arrayBuffer(); // some browsers keep no file itself in a private window
      const [change, photos, files] = await this.stores("readwrite");
      photos.put({ id, name, png });
      files.put({ bytes, name, type }, id);
      const all = await answered(photos.getAllKeys());
      for (const old of all.slice(0, Math.max(0, all.length - this.most)))
        for (const store of [photos, files]) store.delete(old);
      await over(change);
      localStorage.setItem(NAME, "1");
      return true;
    } catch {
      return false;
    }
  }

  /** Forget all photos; other tabs are told. */
  async forget() {
    this.chosen = null;
    try {
      const [change, ...stores] = await this.stores("readwrite");
      for (const store of stores) store.clear();
      await over(change);
    } catch {
      // then there was nothing
    }
    tried(() => localStorage.removeItem(NAME));
  }

  /** Call `act` when another tab forgets the photos. */
  whenForgotten(act) {
    window.addEventListener("storage", ({ key, newValue }) => {
      if ((key === NAME || key === null) && newValue === null) act();
    });
  }

  /** The photo that this tab shows, or null. */
  get chosen() {
    return tried(() => sessionStorage.getItem(CHOSEN));
  }

  set chosen(id) {
    tried(() => (id ? sessionStorage.setItem(CHOSEN, id) : sessionStorage.removeItem(CHOSEN)));
  }
}
