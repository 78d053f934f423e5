/**
 * The map: a square for each run of pages, from the lowest address on, filled from below with the colours of what is in it. The arrow keys
 * go from square to square; what is in the chosen one is told in words.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { DomainMemoryMap } from '../../hypervisor/memory-map.ts';
import { bytes, plural } from './format.ts';
import { kindText } from './page-kinds.ts';

const COLUMNS = 64;
/** In pixels of the canvas. */
const CELL = 14;
const GAP = 2;

interface Props {
  readonly map: DomainMemoryMap;
  readonly name: string;
}

const address = (page: number, pageBytes: number): string =>
  `0x${(page * pageBytes).toString(16).padStart(8, '0')}`;

function describe(map: DomainMemoryMap, index: number): string {
  const cell = map.cells[index] ?? [];
  const first = index * map.pagesPerCell;
  const parts = map.kinds
    .map((kind, i) => ({ kind, pages: cell[i] ?? 0 }))
    .filter(({ pages }) => pages > 0)
    .sort((a, b) => b.pages - a.pages)
    .map(({ kind, pages }) => `${plural(pages, 'page')} ${kindText(kind).label.toLowerCase()}`);
  return `${address(first, map.pageBytes)}: ${parts.join(', ')}`;
}

export function MemoryMap({ map, name }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [chosen, setChosen] = useState<number | undefined>();
  const rows = Math.ceil(map.cells.length / COLUMNS);
  useEffect(() => {
    if (canvas.current) draw(canvas.current, map, chosen);
  });
  useRedrawWithScheme();

  const move = (event: KeyboardEvent) => {
    const at = chosen ?? 0;
    const steps: Readonly<Record<string, number>> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: COLUMNS,
      ArrowUp: -COLUMNS,
      Home: -at,
      End: map.cells.length - 1 - at,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = chosen === undefined ? 0 : at + step;
    if (next >= 0 && next < map.cells.length) setChosen(next);
  };
  const point = (event: PointerEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * COLUMNS);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const index = row * COLUMNS + column;
    setChosen(index >= 0 && index < map.cells.length ? index : undefined);
  };
  const cellBytes = map.pagesPerCell * map.pageBytes;
  return (
    <>
      <p class="quiet">
        {bytes(map.pages * map.pageBytes)} from address 0 on; a square is {bytes(cellBytes)} (
        {plural(map.pagesPerCell, 'page')}).
      </p>
      <div
        class="map"
        role="slider"
        tabIndex={0}
        aria-label={`Memory map of ${name}: arrow keys choose a part`}
        aria-valuemin={0}
        aria-valuemax={map.cells.length - 1}
        aria-valuenow={chosen ?? 0}
        aria-valuetext={describe(map, chosen ?? 0)}
        onKeyDown={move}
        onPointerMove={point}
        onPointerLeave={() => setChosen(undefined)}
        onBlur={() => setChosen(undefined)}
      >
        <canvas ref={canvas} width={COLUMNS * CELL} height={rows * CELL} />
      </div>
      <p class="map-cell code">
        {chosen === undefined ? 'Point at a square, or use the arrow keys.' : describe(map, chosen)}
      </p>
    </>
  );
}

/** Colours come from the style sheet, which has them for both schemes. */
function colours(element: Element, kinds: readonly string[]): readonly string[] {
  const style = getComputedStyle(element);
  const other = style.getPropertyValue('--kind-other');
  return kinds.map(kind => style.getPropertyValue(`--kind-${kind}`) || other);
}

function draw(canvas: HTMLCanvasElement, map: DomainMemoryMap, chosen: number | undefined): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const fills = colours(canvas, map.kinds);
  const size = CELL - GAP;
  for (const [index, cell] of map.cells.entries()) {
    const x = (index % COLUMNS) * CELL + GAP / 2;
    const y = Math.floor(index / COLUMNS) * CELL + GAP / 2;
    const sum = cell.reduce((total, pages) => total + pages, 0) || 1;
    let bottom = y + size;
    for (const [i, pages] of cell.entries()) {
      if (pages === 0) continue;
      const height = (pages / sum) * size;
      context.fillStyle = fills[i] ?? '';
      context.fillRect(x, bottom - height, size, height);
      bottom -= height;
    }
    if (index === chosen) {
      context.strokeStyle = getComputedStyle(canvas).color;
      context.lineWidth = GAP;
      context.strokeRect(x, y, size, size);
    }
  }
}

function useRedrawWithScheme(): void {
  const [, setScheme] = useState(false);
  useEffect(() => {
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => setScheme(scheme.matches);
    scheme.addEventListener('change', follow);
    return () => scheme.removeEventListener('change', follow);
  }, []);
}
