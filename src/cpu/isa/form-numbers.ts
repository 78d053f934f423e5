/**
 * What has to be known of all forms before one of them is met. In the bundle of the command these are numbers (scripts/build/bundle.ts):
 * finding them out means to make the whole table.
 */
import { FIRST_CALLED, FIRST_REGION, formsDigest } from './forms.ts';

export { FIRST_CALLED, FIRST_REGION };
export const FORMS_DIGEST = formsDigest();
