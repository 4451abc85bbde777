import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { knownFlags, LOCKS, RULES, SETTINGS } from './settings.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const FOLDER = join(ROOT, 'docs/model');
const mapping = suite('the models');
const readme = readFileSync(join(FOLDER, 'README.md'), 'utf8');
const models = readdirSync(FOLDER).filter((file) => file.endsWith('.pml'));

/** Names that a model asks for without giving them itself. */
function switchesIn(text: string): Set<string> {
  const conditions = [...text.matchAll(/^\s*#(?:if|ifdef|ifndef|elif) (.*?)(?:\/\*.*)?$/gm)].map(([, what]) => what!);
  const own = new Set([...text.matchAll(/^\s*#define (\w+)/gm)].map(([, name]) => name!));
  const asked = conditions.flatMap((condition) => condition.match(/\b[A-Z]\w*/g) ?? []);
  return new Set(asked.filter((name) => !own.has(name) || knownFlags().has(name)));
}

mapping('every switch in them is checked, and every switch that is checked is in one', () => {
  const asked = new Set(models.flatMap((file) => [...switchesIn(readFileSync(join(FOLDER, file), 'utf8'))]));
  const known = knownFlags();
  for (const name of asked) assert.ok(known.has(name), `${name} is in a model, and in no check`);
  for (const name of known) assert.ok(asked.has(name) || /^(TRIES|E|D)$/.test(name), `${name} is in no model`);
});

mapping('every rule has its row, and every setting', () => {
  const switches = [...RULES.map(({ without }) => without), ...LOCKS.flatMap(({ without }) => without)];
  for (const name of switches) assert.match(readme, new RegExp(`^\\| .*\`${name}\``, 'm'), name);
  for (const { model, flags } of SETTINGS)
    assert.ok(readme.includes(`| \`${model} ${flags.join(' ')}\` |`), `${flags}`);
});

mapping('a row has as many cells as its table, and those that name code or tests name nothing else', () => {
  const tables = readme.split('\n\n').filter((block) => block.startsWith('| '));
  assert.ok(tables.length > 6);
  const cellsOf = (row: string) => row.slice(2, -2).split(' | ');
  for (const [head, , ...rows] of tables.map((table) => table.trimEnd().split('\n'))) {
    for (const row of rows) {
      assert.is(cellsOf(row).length, cellsOf(head!).length, row);
      const [, , ...places] = cellsOf(row).filter((_, at) => at < 2 || /^(where|tests)/.test(cellsOf(head!)[at]!));
      for (const cell of places) assert.match(cell, /^`(lib|test)\/[^`]+`(, `(lib|test)\/[^`]+`)*$/, row);
    }
  }
});

mapping('what a row says to stand somewhere in the code stands there', () => {
  const places = [...readme.matchAll(/`((?:lib|test)\/[\w/.-]+\.ts)(?:: ([^`]+))?`/g)];
  assert.ok(places.length > 40);
  for (const [, file, names] of places) {
    const text = readFileSync(join(ROOT, file!), 'utf8');
    for (const name of names?.split(', ') ?? []) assert.ok(text.includes(name), `${name} in ${file}`);
  }
});
