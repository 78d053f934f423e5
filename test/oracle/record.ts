/** Records vectors.bin anew on this host: `node test/oracle/record.ts`. */
import { writeFileSync } from 'node:fs';
import { openHostCpu } from './host-cpu.ts';
import { icedForms } from './iced-forms.ts';
import { recordVectors, VECTOR_FILE } from './vectors.ts';

await using cpu = await openHostCpu();
const forms = icedForms().filter(form => form.hostFeatures.every(name => cpu.features.cpu.has(name)));
const vectors = await recordVectors(forms, cpu, { cases: 8, seed: 2026, modes: [64, 32] });
writeFileSync(VECTOR_FILE, vectors);
console.log(`${forms.length} forms, ${vectors.length} bytes, on ${cpu.features.model}`);
