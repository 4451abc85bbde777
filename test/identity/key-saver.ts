import { join } from 'node:path';
import { MigrationError, NodeKeys } from '../../lib/index.js';

// Saves one key file after another until it is ended, or one, and tells what came of it.

const [folder, how] = process.argv.slice(2);
if (how === 'endless') {
  process.stdout.write('begun\n');
  for (let i = 0; ; i++) NodeKeys.generate().save(join(folder!, `${i}.key`));
}
try {
  NodeKeys.generate().save(join(folder!, 'node.key'));
  console.log('saved');
} catch (error) {
  console.log(error instanceof MigrationError ? `${error.kind}: ${error.message}` : String(error));
}
