/** How much memory moves between the guests of a host process by need, and what clients can ask of it. */
import { DomusError } from '../../base/errors.ts';
import type { BalanceFacts, BalanceStatus } from '../balance/balancer.ts';
import type { Host } from '../host.ts';
import type { Guest } from './guests.ts';

export interface BalanceReport extends Omit<BalanceStatus, 'fixedBudgetBytes'> {
  /** Somebody has set the budget; otherwise it is what the guests usually have, together. */
  readonly isFixed: boolean;
  /** Those that run; without `balance` where a guest takes no part. */
  readonly guests: readonly {
    readonly id: number;
    readonly name: string;
    readonly memoryBytes: number;
    readonly memoryTargetBytes: number;
    readonly memoryMaxBytes: number;
    readonly balance?: BalanceFacts;
  }[];
}

export function balanceReport(host: Host, guests: readonly Guest[]): BalanceReport {
  const { fixedBudgetBytes, budgetBytes, boundBytes } = host.balance;
  return {
    budgetBytes,
    boundBytes,
    isFixed: fixedBudgetBytes !== undefined,
    guests: guests.flatMap(({ isAlive, vm, record: { id, name } }) => {
      if (!isAlive || !vm) return [];
      const { actualBytes, targetBytes, maxBytes } = vm.balloon;
      const balance = host.memoryBalance(vm);
      const amounts = {
        memoryBytes: actualBytes,
        memoryTargetBytes: targetBytes,
        memoryMaxBytes: maxBytes,
      };
      return [{ id, name, ...amounts, ...(balance && { balance }) }];
    }),
  };
}

/** `{budgetBytes}`; undefined for null: no fixed budget. @throws DomusError E_API_REQUEST */
export function parseBudgetChange(value: unknown): number | undefined {
  const { budgetBytes } = (value ?? {}) as { budgetBytes?: unknown };
  if (budgetBytes === null) return undefined;
  if (typeof budgetBytes === 'number') return budgetBytes;
  throw new DomusError(
    'E_API_REQUEST',
    'the request is not understood: budgetBytes is neither a number nor null',
  );
}
