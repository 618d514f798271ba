// Keeps the page's own files in the browser for use without a network.

/** A service worker that has not filled its cache by then is not waited for, milliseconds. */
const FILL_MS = 60_000;

/**
 * Registers the service worker at `url` and waits until its cache holds the files of the server's version: no request of it
 * follows. `false` where there is no service worker: the browser has none, refuses it, or a file cannot be cached.
 */
export async function keepOfflineCopy(url) {
  try {
    const registration = await navigator.serviceWorker.register(url);
    // Without a network the copy stays as it is.
    if (!registration.installing) await registration.update().catch(() => {});
    await within(FILL_MS, activated(registration.installing ?? registration.waiting ?? registration.active));
    return true;
  } catch {
    return false;
  }
}

function activated(worker) {
  return new Promise((resolve, reject) => {
    const check = () => {
      if (worker.state === "activated") resolve();
      if (worker.state === "redundant") reject(new Error("the files could not be cached"));
    };
    worker.addEventListener("statechange", check);
    check();
  });
}

function within(milliseconds, promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("too slow")), milliseconds);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
