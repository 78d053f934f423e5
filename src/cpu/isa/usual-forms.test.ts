import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_CALLED, FIRST_RARE, FORMS, shapeOf } from './forms.ts';
import { USUAL_FORMS } from './usual-forms.ts';

const nameOf = (form: (typeof FORMS)[number]): string =>
  `${form.definition.name} ${form.definition.encoding} ${shapeOf(form)}`;

test('each called handler that is there from the beginning is one that the list names, and each name is a form', () => {
  const usual = FORMS.filter(({ id }) => id >= FIRST_CALLED && id < FIRST_RARE).map(nameOf);
  const listed = Object.entries(USUAL_FORMS).flatMap(([encoding, shapes]) =>
    shapes.split(' ').map(shape => `${encoding} ${shape}`),
  );
  assert.deepEqual([...new Set(usual)].sort(), listed.sort());
});

test('a shape tells the forms of an entry apart', () => {
  const entries = Map.groupBy(FORMS, ({ definition }) => definition);
  for (const forms of entries.values()) assert.equal(new Set(forms.map(shapeOf)).size, forms.length);
});
