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

/** @throws RangeError where a value does not fit its field */
export function encodeFlight(flight: Flight): Uint8Array {
  const minutes = flight.date.getTime() / 60_000;
  if (
    !(
      minutes >= 0 &&
      minutes < 2 ** 32 &&
      Math.abs(flight.delay) < 2 ** 15 &&
      flight.distance >= 0 &&
      flight.distance < 2 ** 16
    )
  ) {
    throw new RangeError(`a flight does not fit into ${FLIGHT_SIZE} bytes: ${JSON.stringify(flight)}`);
  }
  const payload = new Uint8Array(FLIGHT_SIZE);
  const view = new DataView(payload.buffer);
  view.setUint32(0, minutes, true);
  encoder.encodeInto(flight.origin, payload.subarray(4, 8));
  encoder.encodeInto(flight.destination, payload.subarray(8, 12));
  view.setInt16(12, flight.delay, true);
  view.setUint16(14, flight.distance, true);
  return payload;
}
