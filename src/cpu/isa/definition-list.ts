/** A definition by its number in the table: for those who show instructions. */
import type { Definition } from './definition.ts';
import { TABLE } from './table.ts';

export const definitionAt = (number: number): Definition => TABLE[number] as Definition;
