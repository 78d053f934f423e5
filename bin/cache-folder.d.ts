export function defaultCacheFolder(environment?: Readonly<Record<string, string | undefined>>): string;
