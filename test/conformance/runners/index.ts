import type { Runner } from '../runner.js';
import { bindings } from './bindings.js';
import { causal } from './causal.js';
import { chunking } from './chunking.js';
import { constants } from './constants.js';
import { encodeAsymmetry } from './encode-asymmetry.js';
import { envelopes } from './envelopes.js';
import { acceptsWithTrailing, mutations, rejects } from './frame-verdicts.js';
import { identity } from './identity.js';
import { messages } from './messages.js';
import { reassembly } from './reassembly.js';
import { snapshotOddities, snapshotRejects, snapshots } from './snapshots.js';
import { transcripts } from './transcripts.js';

/** Who runs which file. A new file of vectors needs a runner here. */
export const RUNNERS: readonly Runner[] = [
  constants,
  identity,
  causal,
  messages,
  rejects,
  acceptsWithTrailing,
  mutations,
  encodeAsymmetry,
  snapshots,
  snapshotRejects,
  snapshotOddities,
  bindings,
  chunking,
  reassembly,
  envelopes,
  transcripts,
];
