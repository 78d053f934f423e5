/**
 * How kinds of pages (src/hypervisor/memory-map.ts) are told to people, in the order of the legend. Their colours are in style.css, as
 * --kind-NAME. A kind that is not here yet is shown under its own word, in grey.
 */
export interface KindText {
  readonly label: string;
  readonly meaning: string;
}

export const KINDS: Readonly<Record<string, KindText>> = {
  private: { label: 'Private', meaning: 'its own frames' },
  code: { label: 'Code', meaning: 'its own, with instructions that are decoded or translated' },
  granted: { label: 'Granted', meaning: 'its own, lent to a device of the host' },
  frozen: { label: 'Shared with clones', meaning: 'copied when it is written to' },
  image: { label: 'In the image', meaning: 'not read yet from the snapshot or parent that it comes from' },
  shared: { label: 'Shared', meaning: 'kept once for all guests that have the same, until it is looked at' },
  zero: { label: 'Zeros', meaning: 'held nothing, and was taken back until it is looked at' },
  untouched: { label: 'Untouched', meaning: 'zeros that cost nothing, as nobody has looked' },
  ballooned: { label: 'Ballooned out', meaning: 'given back, or not handed out' },
  xen: { label: 'Hypervisor’s own', meaning: 'shared information, grant table' },
  foreign: { label: 'Foreign', meaning: 'frames of another owner that are mapped' },
  device: { label: 'Device', meaning: 'no memory' },
};

export const kindText = (kind: string): KindText => KINDS[kind] ?? { label: kind, meaning: '' };
