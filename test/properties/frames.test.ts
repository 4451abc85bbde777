import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CODEC_ERROR_KINDS } from '../../lib/errors.js';
import { FrameColumns } from '../../lib/wire/columns.js';
import { encodedLength, type MigrationMessage } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { acceptsFrame, comparable } from '../conformance/frames.js';
import * as any from './arbitraries.js';
import { agree, codecs, frameCodecs, holds } from './support.js';

const test = suite(`frames on ${frameCodecs.map((codec) => codec.engine).join(', ')}`);

/** Bytes of a valid frame; the property before these has shown that all engines write the same. */
const validFrame = any.message.map((message) => typescriptCodec.encode(message));

test('any message → bytes → the same message', () => {
  holds(any.message, (message) => {
    const { value } = agree(frameCodecs, (codec) => codec.encode(message)) as { value: string };
    const frame = new Uint8Array(Buffer.from(value.slice(2), 'hex'));
    assert.is(frame.length, encodedLength(message));
    for (const codec of frameCodecs) acceptsFrame(codec, frame, message, frame.length);
  });
});

test('bytes after the last field are ignored', () => {
  holds(fc.tuple(any.message, any.bytes(60)), ([message, trailer]) => {
    const base = typescriptCodec.encode(message);
    const frame = new Uint8Array(Buffer.concat([base, trailer]));
    for (const codec of frameCodecs) acceptsFrame(codec, frame, message, base.length);
  });
});

/** That engines agree on bytes, also within a batch. */
function sameVerdict(frame: Uint8Array): void {
  const first = agree(frameCodecs, (codec) => codec.decode(frame)) as { refused?: string };
  const batch = new Uint8Array(4 + frame.length);
  new DataView(batch.buffer).setUint32(0, frame.length, true);
  batch.set(frame, 4);
  agree(frameCodecs, (codec) => {
    const columns = new FrameColumns(1);
    codec.decodeBatch(batch, columns);
    const status = columns.status[0]!;
    assert.is(status === 0 ? undefined : CODEC_ERROR_KINDS[status - 1], first.refused, `${codec.engine} in a batch`);
    return columns.buffer;
  });
  agree(codecs, (codec) => codec.decodeEvents(frame));
}

test('any bytes: engines agree to accept or refuse, and on kind and value', () => {
  const typed = fc.tuple(fc.nat({ max: 11 }), any.bytes(400)).map(([type, rest]) => Uint8Array.from([type, ...rest]));
  holds(fc.oneof(any.bytes(300), typed), sameVerdict);
});

test('mutated valid frames: engines agree to accept or refuse, and on kind and value', () => {
  holds(any.mutated(validFrame), sameVerdict);
});

test('what is accepted encodes to a frame that decodes to the same', () => {
  holds(any.mutated(validFrame), (frame) => {
    for (const codec of frameCodecs) {
      let message: MigrationMessage;
      try {
        message = codec.decode(frame);
      } catch {
        continue;
      }
      const again = codec.encode(message);
      assert.is(again.length, encodedLength(message));
      assert.equal(comparable(codec.decode(again)), comparable(message));
    }
  });
});

/** A batch of frames, each behind its length; a length that lies ends it. */
const batch = fc
  .tuple(fc.array(fc.oneof(validFrame, any.mutated(validFrame), any.bytes(20)), { maxLength: 30 }), any.bytes(30))
  .map(([frames, rest]) => {
    const parts = frames.flatMap((frame) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(frame.length);
      return [length, frame];
    });
    return new Uint8Array(Buffer.concat([...parts, rest]));
  });

test('batches: engines fill the same columns, over several calls too', () => {
  holds(
    fc.tuple(batch, fc.integer({ min: 1, max: 40 })),
    ([bytes, capacity]) => {
      agree(frameCodecs, (codec) => {
        const columns = new FrameColumns(capacity);
        const calls: unknown[] = [];
        let at = 0;
        do {
          at = codec.decodeBatch(bytes, columns, at);
          const { origin, word, frameOffset, frameLength, baseLength, index, total } = columns;
          const all = [origin, word, frameOffset, frameLength, baseLength, index, total];
          const rest = [columns.payloadOffset, columns.payloadLength, columns.status, columns.type];
          calls.push(
            at,
            [...all, ...rest].map((column) => column.subarray(0, columns.count).join()),
          );
        } while (columns.count === capacity);
        return calls;
      });
    },
    0.2,
  );
});

const fixedSize = fc.array(fc.tuple(fc.constantFrom(0, 2, 4, 5, 8, 9), any.u64, any.u64), { maxLength: 50 });

test('encodeBatch: engines write the same, and it decodes to the same rows', () => {
  holds(fixedSize, (rows) => {
    const columns = new FrameColumns(64);
    rows.forEach(([type, origin, word], row) => {
      columns.type[row] = type;
      columns.origin[row] = origin;
      columns.word[row] = word;
    });
    columns.count = rows.length;
    const target = new Uint8Array(64 * 21);
    agree(frameCodecs, (codec) => {
      const length = codec.encodeBatch(columns, target.fill(0));
      const back = new FrameColumns(64);
      assert.is(codec.decodeBatch(target.subarray(0, length), back), length);
      assert.is(back.count, rows.length);
      rows.forEach(([type, origin, word], row) => {
        const expected = type === 5 || type === 8 ? 0n : word;
        assert.equal([back.status[row], back.type[row], back.origin[row], back.word[row]], [0, type, origin, expected]);
      });
      return target;
    });
  });
});

test('chunk headers: engines write the same, or refuse alike', () => {
  const sizes = fc.oneof(
    fc.nat({ max: 40_000 }),
    fc.nat({ max: 2 ** 31 - 1 }),
    fc.constantFrom(2 ** 32, 4.9e9, 4.9e9 + 1),
  );
  holds(
    fc.tuple(any.u64, any.u64, sizes, fc.nat({ max: 8 }), fc.nat({ max: 8 })),
    ([origin, seq, size, first, count]) => {
      agree(frameCodecs, (codec) => {
        const headers = new Uint8Array(29 * count);
        codec.writeChunkHeaders(headers, origin, seq, size, first, count);
        return headers;
      });
    },
  );
});

test.run();
