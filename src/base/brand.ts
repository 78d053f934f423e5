/**
 * Branded numbers, so that the many address spaces of a virtual machine cannot be mixed by accident.
 *
 * The names are Xen's: a *gfn* numbers a 4 KiB frame as the guest sees it, an *mfn* a frame of machine memory.
 * A brand costs nothing at run time; the functions of the same name only mark the place where a plain number is
 * declared to be of that kind.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** Guest frame number: guest-physical address / 4096. */
export type Gfn = Branded<'gfn'>;
/** Machine frame number: index of a 4 KiB frame in machine memory. */
export type Mfn = Branded<'mfn'>;
/** Byte address in machine memory, that is, in the one WebAssembly memory. */
export type MachineAddress = Branded<'maddr'>;
/** Guest-physical byte address (below 2^53). */
export type GuestPhysical = Branded<'gpa'>;
/** Xen domain identifier. */
export type DomainId = Branded<'domid'>;
/** Event channel port of a domain. */
export type EventPort = Branded<'port'>;
/** Grant reference: index into a domain's grant table. */
export type GrantRef = Branded<'gref'>;

export const gfn = (n: number): Gfn => n as Gfn;
export const mfn = (n: number): Mfn => n as Mfn;
export const maddr = (n: number): MachineAddress => n as MachineAddress;
export const gpa = (n: number): GuestPhysical => n as GuestPhysical;
export const domid = (n: number): DomainId => n as DomainId;
export const port = (n: number): EventPort => n as EventPort;
export const gref = (n: number): GrantRef => n as GrantRef;

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

export const frameAddress = (frame: Mfn): MachineAddress => (frame * PAGE_SIZE) as MachineAddress;
export const gfnOf = (address: GuestPhysical): Gfn => Math.floor(address / PAGE_SIZE) as Gfn;
