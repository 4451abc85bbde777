// A parent that is killed while its nodes run.
import { NORTH, SOUTH } from './messages.js';
import { World } from './world.js';

const world = new World();
await world.startAll();
console.log(JSON.stringify([NORTH, SOUTH].map((node) => world.network.process(node).pid)));
