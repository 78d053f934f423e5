export const STAMP: string;
export function isSource(file: string): boolean;
export function sourcesStamp(root: string): string;
