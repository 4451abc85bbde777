import * as assert from 'uvu/assert';
import { makeLossy } from '../../examples/flights/lossy.js';
import { InProcessMesh, SUBPROTOCOL_MIGRATION } from '../../lib/index.js';
import { suite } from '../support.js';

const lossy = suite('a lossy way between nodes');
const OTHER = 0x1501;
const FRAMES = 3_000;

/** What of so many numbered frames arrives on a node, in order, and what was counted. */
async function arrivals(probability: number, seed: number, subprotocol = SUBPROTOCOL_MIGRATION) {
  const mesh = new InProcessMesh();
  const [from, to] = [mesh.join(1n), mesh.join(2n)];
  const counts = new SharedArrayBuffer(12);
  makeLossy(to, { probability, seed, counts });
  const arrived: number[] = [];
  to.listen(subprotocol, (_, batch) => {
    const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
    for (let at = 0; at < batch.length; at += 8) {
      assert.is(view.getUint32(at, true), 4);
      arrived.push(view.getUint32(at + 4, true));
    }
  });
  for (let n = 0; n < FRAMES; n++) from.send(2n, subprotocol, new Uint8Array(Uint32Array.of(n).buffer));
  const counted = () => [...new Int32Array(counts)] as [number, number, number];
  const isDone = () => arrived.length === FRAMES - counted()[0] + counted()[1];
  for (let waited = 0; waited < 5_000 && !(isDone() && arrived.length > 0); waited += 5)
    await new Promise((resolve) => setTimeout(resolve, 5));
  return { arrived, counted: counted() };
}

lossy('drops, doubles and delays about as many as it is told, and counts them', async () => {
  const { arrived, counted } = await arrivals(0.1, 1);
  for (const count of counted) assert.ok(count > 200 && count < 400, `${counted}`);
  const [dropped, doubled] = counted;
  const times = new Map<number, number>();
  for (const n of arrived) times.set(n, (times.get(n) ?? 0) + 1);
  assert.is(FRAMES - times.size, dropped);
  assert.is([...times.values()].filter((count) => count === 2).length, doubled);
  assert.ok(
    arrived.some((n, i) => i > 0 && n < arrived[i - 1]!),
    'a delayed one is overtaken',
  );
});

lossy('does the same again for the same seed, and something else for another', async () => {
  const [first, again, other] = [await arrivals(0.1, 7), await arrivals(0.1, 7), await arrivals(0.1, 8)];
  const lost = ({ arrived }: { arrived: number[] }) => {
    const seen = new Set(arrived);
    return Array.from({ length: FRAMES }, (_, n) => n).filter((n) => !seen.has(n));
  };
  assert.equal(lost(first), lost(again));
  assert.equal(first.counted, again.counted);
  assert.not.equal(lost(first), lost(other));
});

lossy('leaves what publishers send alone', async () => {
  const { arrived, counted } = await arrivals(0.2, 1, OTHER);
  assert.equal(counted, [0, 0, 0]);
  assert.equal(
    arrived,
    Array.from({ length: FRAMES }, (_, n) => n),
  );
});
