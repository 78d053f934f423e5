import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_CALLED, FORMS } from './forms.ts';
import { HOT_FORMS } from './hot-forms.ts';
import { FIRST_FORM } from './variant.ts';

test('each place in the main loop is one that the list names, and each name is a form', () => {
  const inside = FORMS.slice(0, FIRST_CALLED - FIRST_FORM).map(
    ({ definition, size, memory }) =>
      `${definition.name} ${definition.encoding} ${size}${memory ? 'm' : 'r'}`,
  );
  const listed = Object.entries(HOT_FORMS).flatMap(([encoding, shapes]) =>
    shapes.split(' ').map(shape => `${encoding} ${shape}`),
  );
  assert.deepEqual([...new Set(inside)].sort(), listed.sort());
  for (const { lock, rep, mode64, addressSize } of FORMS.slice(0, FIRST_CALLED - FIRST_FORM))
    assert.deepEqual(
      { lock, rep, mode64, addressSize },
      { lock: false, rep: 0, mode64: true, addressSize: 8 },
    );
});
