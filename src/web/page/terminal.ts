/** xterm.js, dressed as the page is and allowed by its policy. */
import { FitAddon } from '@xterm/addon-fit';
import { type ITheme, Terminal } from '@xterm/xterm';

export interface FittedTerminal {
  readonly terminal: Terminal;
  fit(): void;
  close(): void;
}

/**
 * The page's policy lets style elements through that carry this answer's nonce (src/web/page-files.ts). xterm makes some and knows of no
 * nonce, so the page's own way of making elements gives it to them.
 */
function nonceStyles(): void {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name=style-nonce]')?.content ?? '';
  const create = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    const element = create(name, options);
    if (name === 'style') element.nonce = nonce;
    return element;
  }) as typeof document.createElement;
}
nonceStyles();

function theme(): ITheme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--terminal-${name}`).trim();
  const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;
  return {
    background: colour('background'),
    foreground: colour('foreground'),
    cursor: colour('cursor'),
    selectionBackground: colour('selection'),
    ...Object.fromEntries(names.map(name => [name, colour(name)])),
    ...Object.fromEntries(
      names.map(name => [`bright${name[0]?.toUpperCase()}${name.slice(1)}`, colour(`bright-${name}`)]),
    ),
  };
}

export function openTerminal(box: HTMLElement, isForScreenReader: boolean): FittedTerminal {
  const terminal = new Terminal({
    theme: theme(),
    fontFamily: getComputedStyle(box).getPropertyValue('--mono'),
    fontSize: 14,
    lineHeight: 1.15,
    cursorBlink: false,
    scrollback: 5000,
    screenReaderMode: isForScreenReader,
    minimumContrastRatio: 4.5,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  fit.fit();
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  const dress = () => {
    terminal.options.theme = theme();
  };
  scheme.addEventListener('change', dress);
  const sizes = new ResizeObserver(() => fit.fit());
  sizes.observe(box);
  return {
    terminal,
    fit: () => fit.fit(),
    close() {
      sizes.disconnect();
      scheme.removeEventListener('change', dress);
      terminal.dispose();
    },
  };
}
