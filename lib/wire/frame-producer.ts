/** Frames that a transport pulls when it has room, written straight into its batch. */
export interface FrameProducer {
  readonly done: boolean;
  /** The most bytes that one `writeNext` needs. */
  readonly maxFrameLength: number;
  /** Writes one frame at `at`. @returns its length; 0 when there is none left */
  writeNext(target: Uint8Array, at: number): number;
}

/** All frames that are left, each in an array of its own: for whoever cannot pull. */
export function* allFrames(producer: FrameProducer): Iterable<Uint8Array> {
  while (!producer.done) {
    const frame = new Uint8Array(producer.maxFrameLength);
    const length = producer.writeNext(frame, 0);
    if (length > 0) yield frame.subarray(0, length);
  }
}
