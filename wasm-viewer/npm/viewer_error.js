// Errors of the library.

/** An error with a stable code: see `ErrorCode` in viewer.d.ts. */
export class ViewerError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "ViewerError";
    this.code = code;
  }
}

/** The error of a call that its signal interrupted; `cause` is the signal's reason. */
export function stopped(signal) {
  return new ViewerError("stopped", "the call was stopped", { cause: signal.reason });
}

/** The promise's outcome, or the error `stopped` as soon as the signal aborts. */
export function untilAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(stopped(signal));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
