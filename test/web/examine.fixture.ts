/** What can be asked of any view of a page: names for everything, readable text, nothing that sticks out. Runs in the browser. */
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';

interface TreeNode {
  readonly ignored: boolean;
  readonly role?: { readonly value: string };
  readonly name?: { readonly value: string };
  readonly properties?: readonly { readonly name: string; readonly value: { readonly value?: unknown } }[];
}

const NAMED = new Set([
  ...[
    'button',
    'link',
    'textbox',
    'spinbutton',
    'combobox',
    'checkbox',
    'radio',
    'tab',
    'tabpanel',
    'slider',
  ],
  ...[
    'dialog',
    'img',
    'image',
    'table',
    'navigation',
    'region',
    'group',
    'radiogroup',
    'heading',
    'log',
    'tablist',
  ],
]);

/** The accessibility tree as a screen reader gets it: roles with their names. */
export async function accessibilityTree(
  page: Page,
): Promise<{ role: string; name: string; isFocusable: boolean }[]> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = (await session.send('Accessibility.getFullAXTree')) as unknown as { nodes: TreeNode[] };
  await session.detach();
  return nodes
    .filter(({ ignored }) => !ignored)
    .map(({ role, name, properties }) => ({
      role: role?.value ?? '',
      name: name?.value ?? '',
      isFocusable: properties?.some(each => each.name === 'focusable' && each.value.value === true) ?? false,
    }));
}

/** Whatever can be focused or has a meaning of its own has a name; identities are unique; headings do not skip a level. */
export async function checkNames(page: Page, where: string): Promise<void> {
  const nameless = (await accessibilityTree(page)).filter(
    ({ role, name, isFocusable }) =>
      name.trim() === '' &&
      (NAMED.has(role) || (isFocusable && !['RootWebArea', 'main', 'generic'].includes(role))),
  );
  assert.deepEqual(nameless, [], `${where}: without a name`);
  const twice = await page.evaluate(() => {
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    return ids.filter((id, i) => ids.indexOf(id) !== i);
  });
  assert.deepEqual(twice, [], `${where}: identities that are there twice`);
  const dangling = await page.evaluate(() =>
    ['aria-labelledby', 'aria-describedby', 'aria-controls'].flatMap(attribute =>
      [...document.querySelectorAll(`[${attribute}]`)]
        .map(element => element.getAttribute(attribute) ?? '')
        .filter(id => !document.getElementById(id)),
    ),
  );
  assert.deepEqual(dangling, [], `${where}: references to nothing`);
  const levels = await page.evaluate(() =>
    [...document.querySelectorAll('h1,h2,h3')]
      .filter(element => element.checkVisibility())
      .map(({ tagName }) => Number(tagName[1])),
  );
  assert.equal(levels.filter(level => level === 1).length, 1, `${where}: one first heading`);
}

interface Faint {
  readonly text: string;
  readonly ratio: number;
  readonly colours: string;
}

/**
 * Text whose contrast with what is behind it is below 4.5 (WCAG 2.2, 1.4.3; large text is asked for the same), and edges of fields and
 * buttons below 3 (1.4.11).
 */
export function faintThings(page: Page): Promise<Faint[]> {
  return page.evaluate(() => {
    type Colour = readonly [red: number, green: number, blue: number, alpha: number];
    const canvas = document.createElement('canvas');
    canvas.width = 1;
    canvas.height = 1;
    const context = canvas.getContext('2d', { willReadFrequently: true }) as CanvasRenderingContext2D;
    const parse = (css: string): Colour => {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = css;
      context.fillRect(0, 0, 1, 1);
      const [red = 0, green = 0, blue = 0, alpha = 0] = context.getImageData(0, 0, 1, 1).data;
      return [red, green, blue, alpha / 255];
    };
    const over = ([r, g, b, a]: Colour, [R, G, B]: Colour): Colour => [
      r * a + R * (1 - a),
      g * a + G * (1 - a),
      b * a + B * (1 - a),
      1,
    ];
    const behind = (element: Element | null): Colour => {
      if (!element) return parse('Canvas');
      const own = parse(getComputedStyle(element).backgroundColor);
      return own[3] === 1 ? own : over(own, behind(element.parentElement));
    };
    const luminance = (colour: Colour): number => {
      const [r, g, b] = colour.slice(0, 3).map(value => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      }) as [number, number, number];
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a: Colour, b: Colour): number => {
      const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
      return (high + 0.05) / (low + 0.05);
    };
    const found: Faint[] = [];
    const check = (text: string, a: Colour, b: Colour, least: number) => {
      const ratio = contrast(a, b);
      if (ratio < least) found.push({ text, ratio, colours: `${a.slice(0, 3)} on ${b.slice(0, 3)}` });
    };
    for (const element of document.querySelectorAll('body *')) {
      if (!element.checkVisibility() || element.closest('.hidden, .skip, .xterm, :disabled')) continue;
      const style = getComputedStyle(element);
      const text = [...element.childNodes]
        .filter(node => node.nodeType === Node.TEXT_NODE)
        .map(node => node.textContent?.trim())
        .join('');
      const ground = behind(element);
      if (text) check(text, over(parse(style.color), ground), ground, 4.5);
      const isField = element.matches('input:not([type=radio], [type=checkbox]), select');
      if (isField)
        check(`edge of ${element.id}`, parse(style.borderTopColor), behind(element.parentElement), 3);
    }
    return found;
  });
}

/** Pixels by which the page is wider than its window. */
export const excessWidth = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
