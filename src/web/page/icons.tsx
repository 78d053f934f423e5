/** Small pictures beside words, which say it all: no screen reader needs to tell of them. */
import type { ComponentChildren } from 'preact';

function Icon({ children }: { readonly children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

const line = {
  fill: 'none',
  stroke: 'currentColor',
  'stroke-width': 1.5,
  'stroke-linejoin': 'round',
} as const;

export const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <path class="mark-house" d="M16 2 2 13v17h28V13z" />
    <path class="mark-windows" d="M9 16h6v5H9zm8 0h6v5h-6zm-8 7h6v7H9zm8 0h6v5h-6z" />
  </svg>
);
export const PlusIcon = () => (
  <Icon>
    <path d="M8 3v10M3 8h10" {...line} stroke-linecap="round" />
  </Icon>
);
export const PauseIcon = () => (
  <Icon>
    <path d="M5 3.5v9M11 3.5v9" {...line} stroke-width={2.5} stroke-linecap="round" />
  </Icon>
);
export const ResumeIcon = () => (
  <Icon>
    <path d="M4.5 3v10l8-5z" fill="currentColor" />
  </Icon>
);
export const SnapshotIcon = () => (
  <Icon>
    <path d="M2 5h3l1.2-1.8h3.6L11 5h3v8H2z" {...line} />
    <circle cx="8" cy="8.8" r="2.3" {...line} />
  </Icon>
);
export const CloneIcon = () => (
  <Icon>
    <path d="M6 6h8v8H6z" {...line} />
    <path d="M3.5 10H2V2h8v1.5" {...line} />
  </Icon>
);
export const PowerIcon = () => (
  <Icon>
    <path d="M8 2v6M4.8 4.2a5 5 0 1 0 6.4 0" {...line} stroke-linecap="round" />
  </Icon>
);
export const RebootIcon = () => (
  <Icon>
    <path d="M13 8a5 5 0 1 1-1.5-3.6M13 2v3h-3" {...line} stroke-linecap="round" />
  </Icon>
);
export const DestroyIcon = () => (
  <Icon>
    <path d="M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.5 9h6l.5-9" {...line} />
  </Icon>
);
