// One worker and the calls that it has not answered.

import { ViewerError, stopped } from "./viewer_error.js";

/** A worker receives no message while it decodes or detects: a call that was aborted ends its worker after this time. */
export const GRACE_MS = 100;

export class WorkerCalls {
  #worker;
  #calls = new Map();
  #next = 1;
  #onEnd;
  /** The error with which the worker ended. */
  ended = null;

  /** `onEnd` is called once, when the worker was terminated or crashed. */
  constructor(onEnd) {
    this.#onEnd = onEnd;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => this.end(new ViewerError("crashed", event.message || "the worker could not start"));
  }

  /**
   * Sends a call. The promise settles when the worker is free again: it has answered, or it was terminated because it did not
   * answer within `GRACE_MS` after an abort.
   */
  call(verb, body, { signal, events = {}, transfer = [] } = {}) {
    if (this.ended) return Promise.reject(this.ended);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      let timer;
      const abort = () => {
        this.#worker.postMessage({ id, verb: "abort" });
        timer = setTimeout(() => this.end(stopped(signal)), GRACE_MS);
      };
      const done = (settle) => (value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      this.#calls.set(id, { resolve: done(resolve), reject: done(reject), events, signal });
      this.#worker.postMessage({ id, verb, ...body }, transfer);
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
  }

  #receive({ id, event, result, error, value }) {
    const call = this.#calls.get(id);
    if (!call) return;
    if (event) {
      if (!call.signal?.aborted) call.events[event]?.(value);
      return;
    }
    this.#calls.delete(id);
    if (call.signal?.aborted) call.reject(stopped(call.signal));
    else if (error) call.reject(new ViewerError(error.code, error.message));
    else call.resolve(result);
    // The memory of a crashed module may be inconsistent.
    if (error?.code === "crashed") this.end(new ViewerError(error.code, error.message));
  }

  /** Terminates the worker and rejects its calls. */
  end(reason) {
    if (this.ended) return;
    this.ended = reason;
    this.#worker.terminate();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.reject(reason);
    this.#onEnd?.();
  }
}
