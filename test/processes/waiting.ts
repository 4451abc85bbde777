export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when it holds, looked at every other millisecond. @throws Error after `ms` */
export async function until(what: string, holds: () => boolean, ms = 10_000): Promise<void> {
  for (const end = performance.now() + ms; !holds(); await pause(2))
    if (performance.now() > end) throw new Error(`after ${ms} ms, still not: ${what}`);
}
