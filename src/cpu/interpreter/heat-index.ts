/** Where jumps to a record are counted: see heat.ts. */
import { HEAT_ENTRIES } from '../vcpu/layout.ts';

/** Position of a record's counter. */
export const heatIndex = (record: number): number => (record >>> 5) & (HEAT_ENTRIES - 1);
