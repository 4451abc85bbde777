/** Frames that a transport pulls when it has room, written straight into its batch. */
export interface FrameProducer {
  /** Nothing more will come. */
  readonly done: boolean;
  /** The most bytes that one `writeNext` needs. */
  readonly maxFrameLength: number;
  /** Writes one frame at `at`. @returns its length; 0 when there is none left, or none yet (`done` is false then) */
  writeNext(target: Uint8Array, at: number): number;
  /**
   * For whom none is there yet: calls `wake` once, when another try is worthwhile, which may be at once: that try is for a
   * later turn of the event loop. Undefined where a frame is always there until all are done.
   */
  readonly onReady?: ((wake: () => void) => void) | undefined;
}

/** The frames that are there now, each in an array of its own: for whoever cannot pull. */
export function* readyFrames(producer: FrameProducer): Iterable<Uint8Array> {
  while (!producer.done) {
    const frame = new Uint8Array(producer.maxFrameLength);
    const length = producer.writeNext(frame, 0);
    if (length > 0) yield frame.subarray(0, length);
    else if (producer.onReady && !rested(producer.onReady)) return;
  }
}

/** Whether another try is worthwhile at once. */
function rested(onReady: (wake: () => void) => void): boolean {
  let isReady = false;
  onReady(() => {
    isReady = true;
  });
  return isReady;
}
