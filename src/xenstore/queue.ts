/**
 * Work that must not run inside its cause: watch callbacks, retries. Tasks run in the order they were put in.
 *
 * Either the owner calls `pump()` when it suits, or `wake` is told once each time the queue becomes non-empty and
 * arranges for a `pump()` later.
 */

/** A chain of tasks that cause each other may be endless; after so many the rest waits for the next pump. */
const TASKS_A_PUMP = 10_000;

export class TaskQueue {
  #tasks: (() => void)[] = [];
  #running = false;
  readonly #wake: (() => void) | undefined;

  constructor(wake?: () => void) {
    this.#wake = wake;
  }

  get isEmpty(): boolean {
    return this.#tasks.length === 0;
  }

  defer(task: () => void): void {
    this.#tasks.push(task);
    if (this.#tasks.length === 1 && !this.#running) this.#wake?.();
  }

  /** Run what is queued, and what that queues. Does nothing when called from a task. */
  pump(): void {
    if (this.#running) return;
    this.#running = true;
    let left = TASKS_A_PUMP;
    try {
      while (this.#tasks.length > 0 && left > 0) {
        const tasks = this.#tasks;
        this.#tasks = [];
        for (let i = 0; i < tasks.length; i++) {
          left -= 1;
          try {
            tasks[i]!();
          } catch (error) {
            // What comes behind a broken task still runs, at the next pump.
            this.#tasks = [...tasks.slice(i + 1), ...this.#tasks];
            throw error;
          }
        }
      }
    } finally {
      this.#running = false;
      if (this.#tasks.length > 0) this.#wake?.();
    }
  }
}
