export function isSource(file: string): boolean;
export function sourcesStamp(root: string): string;
export function stampFile(root: string): string;
export function isBundleCurrent(root: string): boolean;
