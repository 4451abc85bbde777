/**
 * A flight as an event's payload, 16 bytes: `minutes since the Unix epoch u32 | origin 4 | destination 4 | delay in minutes i16 | distance in
 * miles u16`; airports are their code in ASCII, padded with zero.
 */
export const FLIGHT_SIZE = 16;

const encoder = new TextEncoder();

export interface Flight {
  readonly date: Date;
  readonly delay: number;
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

/** Writes a flight at `at`. @throws RangeError where a value does not fit its field */
export function encodeFlight(into: Uint8Array, at: number, flight: Flight): void {
  const minutes = flight.date.getTime() / 60_000;
  const fits =
    minutes >= 0 &&
    minutes < 2 ** 32 &&
    Math.abs(flight.delay) < 2 ** 15 &&
    flight.distance >= 0 &&
    flight.distance < 2 ** 16;
  if (!fits) throw new RangeError(`a flight does not fit into ${FLIGHT_SIZE} bytes: ${JSON.stringify(flight)}`);
  const view = new DataView(into.buffer, into.byteOffset + at, FLIGHT_SIZE);
  view.setUint32(0, minutes, true);
  encoder.encodeInto(flight.origin, into.subarray(at + 4, at + 8));
  encoder.encodeInto(flight.destination, into.subarray(at + 8, at + 12));
  view.setInt16(12, flight.delay, true);
  view.setUint16(14, flight.distance, true);
}
