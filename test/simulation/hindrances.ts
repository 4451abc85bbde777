/** Stands for the register where nodes are named. */
export const REGISTER = 0;

interface Span {
  readonly from: number;
  /** Infinity while it lasts. */
  until: number;
}

/** When nodes were down, and ways between them cut: time in which nobody can be asked to get on. */
export class Hindrances {
  readonly #now: () => number;
  readonly #spans = new Map<string, Span[]>();

  constructor(now: () => number) {
    this.#now = now;
  }

  wentDown(node: number): void {
    this.#begin(`${node}`);
  }

  cameUp(node: number): void {
    this.#end(`${node}`);
  }

  cut(from: number, to: number): void {
    this.#begin(wayOf(from, to));
  }

  healed(from: number, to: number): void {
    this.#end(wayOf(from, to));
  }

  /** Milliseconds since then in which all of these nodes were up, and could reach each other. */
  freeMs(since: number, nodes: ReadonlySet<number>): number {
    const now = this.#now();
    const spans = [...this.#about(nodes)].sort((a, b) => a.from - b.from);
    let free = 0;
    let at = since;
    for (const { from, until } of spans) {
      if (from > at) free += from - at;
      at = Math.max(at, until);
    }
    return free + Math.max(0, now - at);
  }

  *#about(nodes: ReadonlySet<number>): Iterable<Span> {
    for (const node of nodes) {
      yield* this.#spans.get(`${node}`) ?? [];
      for (const other of nodes) yield* this.#spans.get(wayOf(node, other)) ?? [];
    }
  }

  #begin(what: string): void {
    const spans = this.#spans.get(what) ?? [];
    this.#spans.set(what, [...spans, { from: this.#now(), until: Number.POSITIVE_INFINITY }]);
  }

  /** Of those that last, the oldest: which of them ends makes no difference. */
  #end(what: string): void {
    const lasting = this.#spans.get(what)?.find(({ until }) => until === Number.POSITIVE_INFINITY);
    if (lasting) lasting.until = this.#now();
  }
}

function wayOf(from: number, to: number): string {
  return `${from} to ${to}`;
}
