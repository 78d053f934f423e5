export const FLAGS: readonly string[];
export const STACK_CHECKS: string;
