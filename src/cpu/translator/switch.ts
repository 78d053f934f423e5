/** Branching by number. */
import type { Code, Label, Value } from '../wasm/code.ts';

/** Write the cases; those that do not branch away go on behind, as numbers without a case do. */
export function emitSwitch(code: Code, index: Value, cases: readonly ((() => void) | undefined)[]): void {
  code.block(behind => {
    const labels: Label[] = [];
    const nest = (number: number): void => {
      if (number < 0) {
        code.brTable(index, labels, behind);
        return;
      }
      const write = cases[number];
      if (!write) {
        labels[number] = behind;
        nest(number - 1);
        return;
      }
      code.block(label => {
        labels[number] = label;
        nest(number - 1);
      });
      write();
      code.br(behind);
    };
    nest(cases.length - 1);
  });
}
