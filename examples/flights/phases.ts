/** Who can be ended: the nodes that take part in the migration. */
export const ROLES = ['source', 'target', 'orchestrator'] as const;
export type Role = (typeof ROLES)[number];

/** As an operator sees them: the orchestrator's. */
export const OPERATOR_PHASES = ['Snapshot', 'Transfer', 'Restore', 'Replay', 'Cutover', 'Complete'] as const;

/** The participants' own, as `runtime.migrations()` tells them; those in which a node can be found. */
export const OWN_PHASES: Readonly<Record<Role, readonly string[]>> = {
  source: ['snapshotting', 'transferring', 'streaming', 'draining', 'offering', 'offered'],
  target: ['assembling', 'restoring', 'holding', 'claiming'],
  orchestrator: [],
};

/** The phases in which a role can be ended. */
export function phasesOf(role: Role): readonly string[] {
  return [...OPERATOR_PHASES, ...OWN_PHASES[role]];
}
