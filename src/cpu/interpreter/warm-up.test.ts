import { test } from 'node:test';
import { generateInterpreter } from './generate.ts';
import { warmUpInterpreter } from './warm-up.ts';

// It ends as it should or throws; whether V8 optimises is not to be seen from here.
test('the program of one instruction runs until its fuel is used up, as often as one likes', () => {
  const module = new WebAssembly.Module(new Uint8Array(generateInterpreter(new Uint8Array())));
  warmUpInterpreter(module);
  warmUpInterpreter(module);
});
