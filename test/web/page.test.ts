/**
 * The page of `domus web` in a real browser, over real guests: what is shown is what the host process says, and what is clicked is done.
 * Without a Chromium or a Debian kernel to be had it is skipped (chromium.fixture.ts).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { DomusError } from '../../src/base/errors.ts';
import type { Daemon } from '../../src/toolstack/daemon/client.ts';
import { linkHost } from '../../src/web/host-link.ts';
import { startWeb, type WebConsole } from '../../src/web/server.ts';
import { startDaemon } from '../daemon.fixture.ts';
import { launchChromium } from './chromium.fixture.ts';
import { accessibilityTree, checkNames, excessWidth, faintThings } from './examine.fixture.ts';

/** For what a busy machine takes its time for. */
const PATIENCE_MS = 180_000;
const MEMORY = 128 << 20;
const VIEWS = ['', '/terminal', '/memory', '/log'];

const stateFolder = mkdtempSync(join(tmpdir(), 'domus-page-'));
const stop = new AbortController();
let ended: Promise<void> | undefined;
let daemon: Daemon;
let server: WebConsole;
let browser: Browser | undefined;
let unavailable: string | undefined;

/** What a page did that no page of ours may do. */
const complaints: string[] = [];

async function openPage(scheme: 'light' | 'dark' = 'light', address = server.address): Promise<Page> {
  assert.ok(browser);
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1280, height: 860 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const { origin } = new URL(server.address);
  page.on('request', request => {
    const { protocol, host } = new URL(request.url());
    if (!['http:', 'ws:'].includes(protocol) || `http://${host}` !== origin) complaints.push(request.url());
  });
  page.on('pageerror', error => complaints.push(error.message));
  page.on('console', message => {
    // Of answers that refuse something, which the page shows itself.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  await page.goto(address);
  return page;
}

/** Go elsewhere within the page. */
async function visit(page: Page, hash: string): Promise<void> {
  await page.evaluate(to => {
    location.hash = to;
  }, hash);
}
const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name, exact: true });
const machineLink = (page: Page) =>
  page
    .getByRole('table', { name: /^Machines/ })
    .getByRole('rowheader')
    .getByRole('link', { name: 'web', exact: true });
const machineButton = (page: Page, action: string) =>
  page.getByRole('main').getByRole('button', { name: action, exact: true });

/** Until it holds. */
async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  assert.fail(what);
}
const guestNames = async () => (await daemon.list()).map(({ name }) => name);

describe('the page of domus web', () => {
  before(async () => {
    const launched = await launchChromium();
    if (typeof launched === 'string') {
      unavailable = launched;
      return;
    }
    browser = launched;
    ({ daemon, ended } = await startDaemon(stateFolder, stop.signal));
    try {
      await daemon.create({
        name: 'web',
        memory: MEMORY,
        command: ['sh', '-c', 'echo begun; sleep 100000'],
        labels: { tier: 'front' },
      });
    } catch (error) {
      const isMissing = error instanceof DomusError && /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code);
      if (!isMissing) throw error;
      unavailable = `no Debian kernel to be had: ${error.message}`;
    }
    server = await startWeb({ link: linkHost({ stateFolder, entry: '' }, daemon), port: 0 });
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    stop.abort();
    await ended;
    rmSync(stateFolder, { recursive: true, force: true });
  });

  const inBrowser = (name: string, run: () => Promise<void>) =>
    test(name, async t => {
      if (unavailable !== undefined) return t.skip(unavailable);
      complaints.length = 0;
      await run();
      assert.deepEqual(complaints, [], 'the page complained, or asked for something elsewhere');
    });

  inBrowser(
    'the token leaves the address bar, the page goes on without it, and nothing works without one',
    async () => {
      const page = await openPage();
      await heading(page, 'All machines').waitFor();
      assert.equal(page.url(), `${new URL(server.address).origin}/#/`);
      await page.reload();
      await heading(page, 'All machines').waitFor();
      await page.context().close();
      const stranger = await openPage('light', new URL(server.address).origin);
      await heading(stranger, 'This page needs its key').waitFor();
      await checkNames(stranger, 'without a token');
      await stranger.context().close();
    },
  );

  inBrowser('the list and the facts are what the host process says', async () => {
    const page = await openPage();
    const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'web', exact: true }) });
    await row.getByText('running').waitFor();
    assert.match((await row.textContent()) ?? '', /128 MiB/);
    await page.getByRole('navigation').getByRole('link', { name: 'All machines' }).waitFor();
    await row.getByRole('link', { name: 'web', exact: true }).click();
    await heading(page, 'web').waitFor();
    const { uuid } = await daemon.guest('web');
    const facts = (await page.locator('dl.facts').textContent()) ?? '';
    assert.ok(uuid !== undefined && facts.includes(uuid));
    assert.match(facts, /tier=front/);
    assert.match(facts, /sh -c echo begun; sleep 100000/);
    const chart = page.getByRole('img', { name: /^CPU: [\d.]+ %; at most/ });
    await chart.waitFor();
    await page.getByRole('img', { name: /^Memory: used [\d.]+ MiB, of 128 MiB/ }).waitFor();
    await page.getByRole('region', { name: 'Events' }).getByText('started').waitFor();
    await page.getByRole('tab', { name: 'Log' }).click();
    await page.getByRole('log').getByText('begun').waitFor();
    await page.context().close();
  });

  inBrowser('an address that changes as soon as something is seen is followed', async () => {
    const page = await openPage();
    await page.addInitScript(() => {
      const onSight = new MutationObserver(() => {
        if (!document.querySelector('h1')) return;
        onSight.disconnect();
        location.hash = '#/machines/web/log';
      });
      onSight.observe(document, { childList: true, subtree: true });
    });
    await page.reload();
    await page.getByRole('tabpanel', { name: 'Log' }).waitFor();
    await page.context().close();
  });

  inBrowser('a terminal: a shell, its size, the way out, and the console', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web/terminal');
    const screen = page.locator('.xterm-rows');
    await screen.getByText('/ #').first().waitFor();
    await page.locator('.screen').click();
    await page.keyboard.type('echo $((6*7)).$(stty size)\n');
    await screen.getByText(/42\.\d+ \d+/).waitFor();
    const before = /42\.(\d+) (\d+)/.exec((await screen.textContent()) ?? '');
    await page.setViewportSize({ width: 1000, height: 700 });
    await eventually('the shell hears of the new size', async () => {
      await page.keyboard.type('clear; echo size.$(stty size)\n');
      await screen
        .getByText(/size\.\d+ \d+/)
        .first()
        .waitFor();
      const now = /size\.(\d+) (\d+)/.exec((await screen.textContent()) ?? '');
      return Number(now?.[1]) < Number(before?.[1]) && Number(now?.[2]) < Number(before?.[2]);
    });
    const isInTerminal = () => page.evaluate(() => document.activeElement?.closest('.screen') !== null);
    assert.ok(await isInTerminal());
    await page.keyboard.press('Control+]');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Shell');
    await page.getByRole('button', { name: 'Console' }).click();
    await page.getByText('the console of web').waitFor();
    await eventually('the console is heard', async () => {
      await daemon.act('web', { action: 'sysrq', key: 'h' });
      return /sysrq: HELP/.test((await screen.textContent()) ?? '');
    });
    await page.getByRole('button', { name: 'Shell' }).click();
    await page.getByText('a shell in web').waitFor();
    await page.locator('.screen').click();
    await page.keyboard.type('exit 7\n');
    await page.getByText('the shell has ended (7)').waitFor();
    await page.context().close();
  });

  inBrowser('what a screen reader gets of the terminal', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web/terminal');
    await page.getByRole('checkbox', { name: 'Screen reader' }).check();
    await page.locator('.xterm-rows').getByText('/ #').first().waitFor();
    await page.getByRole('textbox', { name: 'Terminal input' }).focus();
    await page.keyboard.type('echo read $((1+1)) me\n');
    await page.getByRole('list').getByText('read 2 me').first().waitFor();
    await page.context().close();
  });

  inBrowser('the memory map: sums as the interface has them, and squares in words', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web/memory');
    const table = page.getByRole('table', { name: 'Memory by kind of page' });
    await table.waitFor();
    const parts = await table.getByRole('row').evaluateAll(rows =>
      rows.slice(1).map(row => {
        const [kind, , part] = [...row.children].map(cell => cell.textContent);
        return { kind: kind ?? '', part: Number.parseFloat(part ?? '') };
      }),
    );
    for (const kind of ['Private', 'Code', 'Untouched'])
      assert.ok(
        parts.some(row => row.kind.startsWith(kind)),
        `${kind} in ${JSON.stringify(parts)}`,
      );
    const sum = parts.reduce((total, { part }) => total + part, 0);
    assert.ok(Math.abs(sum - 100) < 2, `parts add up to ${sum}`);
    const map = page.getByRole('slider', { name: /Memory map of web/ });
    await map.focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    // 64 squares a row; 128 MiB in 2048 squares are 16 pages a square.
    const text = await map.getAttribute('aria-valuetext');
    assert.match(text ?? '', /^0x00400000: \d+ pages? /);
    assert.equal(await page.locator('.map-cell').textContent(), text);
    await page.keyboard.press('End');
    assert.match((await map.getAttribute('aria-valuetext')) ?? '', /^0x07ff0000: /);
    await page.keyboard.press('ArrowRight');
    assert.match((await map.getAttribute('aria-valuetext')) ?? '', /^0x07ff0000: /, 'there is no next one');
    const pixels = await page.locator('.map canvas').evaluate(element => {
      const canvas = element as HTMLCanvasElement;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set<string>();
      for (let at = 0; at < data.length; at += 4)
        if (data[at + 3] === 255) colours.add(data.slice(at, at + 3).join());
      return colours.size;
    });
    assert.ok(pixels >= 3, 'it has the colours of several kinds');
    await page.context().close();
  });

  inBrowser('by click: create, pause, resume, snapshot, clone, start of a snapshot, destroy', async () => {
    const page = await openPage();
    await page.getByRole('button', { name: 'New machine' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('made');
    await dialog.getByLabel('Memory, MiB').fill('128');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await heading(page, 'made').waitFor();
    assert.equal((await daemon.guest('made')).memoryBytes, MEMORY);

    await machineButton(page, 'Pause').click();
    await machineButton(page, 'Resume').waitFor();
    assert.match((await daemon.guest('made')).domain?.state ?? '', /p/);
    await page.getByRole('status').getByText('made is paused').waitFor();
    await machineButton(page, 'Resume').click();
    await machineButton(page, 'Pause').waitFor();
    assert.doesNotMatch((await daemon.guest('made')).domain?.state ?? '', /p/);

    await machineButton(page, 'Snapshot').click();
    await dialog.getByLabel('Name of the snapshot').fill('kept');
    await dialog.getByRole('button', { name: 'Take snapshot' }).click();
    await page.getByRole('status').getByText('made is kept as kept').waitFor();

    await machineButton(page, 'Clone').click();
    await dialog.getByLabel('How many').fill('2');
    await dialog.getByLabel('Name').fill('twin');
    await dialog.getByRole('button', { name: 'Clone' }).click();
    await page
      .getByRole('status')
      .getByText(/2 clones of made/)
      .waitFor();
    assert.deepEqual((await guestNames()).slice(-2), ['twin-1', 'twin-2']);
    await page.getByRole('tab', { name: 'Memory' }).click();
    const sums = page.getByRole('table', { name: 'Memory by kind of page' });
    await sums.getByText('Shared with clones').waitFor();
    await visit(page, '#/machines/twin-1/memory');
    await sums.getByText('In the image').waitFor();

    await page.getByRole('link', { name: 'All machines' }).click();
    await page.getByRole('button', { name: 'Start from kept' }).click();
    await dialog.getByLabel('Name').fill('again');
    assert.equal(await dialog.getByLabel('Snapshot', { exact: true }).inputValue(), 'kept');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await heading(page, 'again').waitFor();
    assert.equal((await daemon.guest('again')).state, 'running');
    await page.getByRole('link', { name: 'All machines' }).click();
    await page.getByRole('button', { name: 'Remove kept' }).click();
    await page.getByText('None yet.').waitFor();

    for (const name of ['again', 'twin-1', 'twin-2', 'made']) {
      await visit(page, `#/machines/${name}`);
      await heading(page, name).waitFor();
      await machineButton(page, 'Destroy').click();
      await dialog.getByRole('button', { name: 'Destroy' }).click();
      await heading(page, 'All machines').waitFor();
    }
    assert.deepEqual(await guestNames(), ['web']);
    await page.context().close();
  });

  inBrowser('curves of disk and network show what a machine reads, writes and sends', async () => {
    const disk = join(stateFolder, 'disk.raw');
    writeFileSync(disk, '');
    truncateSync(disk, 4 << 20);
    const work =
      'dd if=/dev/urandom of=/dev/xvda bs=64k count=16 conv=fsync; echo x | nc -u -w 1 192.0.2.1 9';
    await daemon.create({
      name: 'busy',
      memory: MEMORY,
      command: ['sh', '-c', `while true; do ${work}; sleep 1; done`],
      disks: [{ path: disk }],
      network: 'nat',
    });
    const page = await openPage();
    await visit(page, '#/machines/busy');
    await page.getByRole('img', { name: /^Disk: .*; at most [\d.]+ [KM]iB\/s/ }).waitFor();
    await page.getByRole('img', { name: /^Network: .*; at most [1-9]\d*(\.\d)? (Ki)?B\/s/ }).waitFor();
    await eventually('the host process has counted it', async () => {
      const { diskWrittenBytes = 0, netSentBytes = 0 } = (await daemon.guest('busy')).domain?.traffic ?? {};
      return diskWrittenBytes >= 1 << 20 && netSentBytes > 0;
    });
    await daemon.destroy('busy');
    await page.context().close();
  });

  inBrowser('page sharing: its budget is the host process’s, and each machine has its line', async () => {
    const page = await openPage();
    const card = page.getByRole('region', { name: 'Page sharing' });
    await card.getByRole('rowheader', { name: 'web' }).waitFor();
    await card.getByLabel('Processor for the scan, percent').fill('4');
    await card.getByRole('button', { name: 'Set' }).click();
    await page.getByRole('status').getByText('the scan may use 4 % of a processor').waitFor();
    assert.equal((await daemon.sharing()).cpuPercent, 4);
    await page.context().close();
  });

  inBrowser('memory is asked for, and given back', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web/memory');
    await page.getByLabel('Asked to have, MiB').fill('96');
    await page.getByRole('button', { name: 'Set' }).click();
    await page.getByRole('status').getByText('web is asked to have 96 MiB').waitFor();
    assert.equal((await daemon.guest('web')).domain?.memoryTargetBytes, 96 << 20);
    await page.getByRole('table', { name: 'Memory by kind of page' }).getByText('Ballooned out').waitFor();
    await page.getByLabel('Asked to have, MiB').fill('128');
    await page.getByRole('button', { name: 'Set' }).click();
    await page.getByRole('status').getByText('web is asked to have 128 MiB').waitFor();
    await page.context().close();
  });

  inBrowser('what is typed stays while the page is drawn again', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web');
    const dialog = page.getByRole('dialog');
    const twoLooks = async () => {
      for (let i = 0; i < 2; i++) await page.waitForResponse(answer => answer.url().endsWith('/v1/info'));
      await page.evaluate(() => new Promise(resolve => requestAnimationFrame(resolve)));
    };
    const fields = {
      Snapshot: { 'Name of the snapshot': 'other' },
      Clone: { 'How many': '3', Name: 'other' },
    };
    for (const [action, values] of Object.entries(fields)) {
      await machineButton(page, action).click();
      for (const [label, value] of Object.entries(values)) await dialog.getByLabel(label).fill(value);
      await twoLooks();
      for (const [label, value] of Object.entries(values))
        assert.equal(await dialog.getByLabel(label).inputValue(), value, label);
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
    }
    await page.getByRole('button', { name: 'New machine' }).click();
    await dialog.getByRole('radio', { name: 'An image' }).check();
    const own = { Name: 'other', Image: 'dir:/x', Command: 'x', 'Memory, MiB': '77', vCPUs: '2' };
    for (const [label, value] of Object.entries(own))
      await dialog.getByLabel(label, { exact: true }).fill(value);
    await dialog.getByLabel('Network').selectOption('nat');
    await twoLooks();
    for (const [label, value] of Object.entries({ ...own, Network: 'nat' }))
      assert.equal(await dialog.getByLabel(label, { exact: true }).inputValue(), value, label);
    await page.context().close();
  });

  inBrowser('what is refused is told where it was asked for, and nothing is done', async () => {
    const page = await openPage();
    await visit(page, '#/machines/web');
    await machineButton(page, 'Clone').click();
    const dialog = page.getByRole('dialog', { name: 'Clone web' });
    await dialog.getByLabel('Name').fill('web');
    await dialog.getByRole('button', { name: 'Clone' }).click();
    await dialog
      .getByRole('alert')
      .getByText(/there is a guest named web already/)
      .waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.deepEqual(await guestNames(), ['web']);
    await visit(page, '#/machines/nosuch');
    await heading(page, 'There is no machine nosuch').waitFor();
    await page.context().close();
  });

  inBrowser('by keyboard alone: in order, into a dialog and out of it, from tab to tab', async () => {
    const page = await openPage();
    await machineLink(page).waitFor();
    const focused = () =>
      page.evaluate(() => {
        const element = document.activeElement as Element;
        return element.getAttribute('aria-label') ?? element.textContent;
      });
    const order: (string | undefined)[] = [];
    for (let i = 0; i < 10; i++) {
      await page.keyboard.press('Tab');
      order.push(await focused());
    }
    const expected = [
      ...['Skip to the content', 'Domus', 'New machine', 'All machines', 'web'],
      ...['web', 'Pause web', 'Snapshot web', 'Clone web', 'Destroy web'],
    ];
    const isInOrder = expected.every((name, i) => order[i]?.startsWith(name));
    assert.ok(isInOrder, JSON.stringify(order));
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle);
    assert.equal(ring, 'solid', 'the focus is seen');

    await page.getByRole('button', { name: 'New machine' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'New machine' }).waitFor();
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      const isInside = await page.evaluate(
        () => document.activeElement === document.body || document.activeElement?.closest('dialog') !== null,
      );
      assert.ok(isInside, `the focus stays in the dialog: ${await focused()}`);
    }
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await focused(), 'New machine', 'it goes back to where it was');

    await page.getByRole('navigation').getByRole('link', { name: /^web/ }).focus();
    await page.keyboard.press('Enter');
    await heading(page, 'web').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'MAIN', 'it follows the link');
    await page.getByRole('tab', { name: 'Overview' }).focus();
    for (const tab of ['Terminal', 'Memory', 'Log', 'Overview', 'Terminal']) {
      await page.keyboard.press('ArrowRight');
      await page.getByRole('tabpanel', { name: tab }).waitFor();
      assert.equal(await focused(), tab, 'no view takes the focus from the tabs');
    }
    await page.keyboard.press('End');
    assert.equal(await focused(), 'Log');
    await page.keyboard.press('Home');
    assert.equal(await focused(), 'Overview');
    await page.reload();
    await heading(page, 'web').waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal(
      await page.evaluate(() => document.activeElement?.tagName),
      'MAIN',
      'the content is one key away',
    );
    await page.context().close();
  });

  inBrowser('names, roles and contrast in every view, light and dark; narrow windows', async () => {
    for (const scheme of ['light', 'dark'] as const) {
      const page = await openPage(scheme);
      const examine = async (where: string) => {
        await checkNames(page, where);
        assert.deepEqual(await faintThings(page), [], `${where}, ${scheme}`);
      };
      const narrow = async (where: string) => {
        await page.setViewportSize({ width: 360, height: 740 });
        await eventually(
          `${where}: nothing sticks out of a narrow window`,
          async () => (await excessWidth(page)) <= 0,
        );
        await page.setViewportSize({ width: 1280, height: 860 });
      };
      await machineLink(page).waitFor();
      await examine('all machines');
      await narrow('all machines');
      const roles = (await accessibilityTree(page)).map(({ role }) => role);
      for (const role of ['banner', 'navigation', 'main', 'status', 'alert', 'table'])
        assert.ok(roles.includes(role), role);
      for (const view of VIEWS) {
        await visit(page, `#/machines/web${view}`);
        await page.getByRole('tabpanel').waitFor();
        if (view === '/memory') await page.getByRole('slider').waitFor();
        if (view === '/terminal') await page.locator('.xterm-rows').getByText('/ #').first().waitFor();
        await examine(view || 'overview');
        await narrow(view);
      }
      for (const action of ['Snapshot', 'Clone', 'Destroy']) {
        await machineButton(page, action).click();
        await page.getByRole('dialog').waitFor();
        await examine(`${action} dialog`);
        await page.keyboard.press('Escape');
        await page.getByRole('dialog').waitFor({ state: 'detached' });
      }
      await page.getByRole('button', { name: 'New machine' }).click();
      await page.getByRole('radio', { name: 'An image' }).check();
      await examine('new machine');
      await page.keyboard.press('Escape');
      await page.context().close();
    }
  });

  inBrowser('a machine that ends is told to a screen reader, and seen', async () => {
    const page = await openPage();
    await machineLink(page).waitFor();
    await daemon.create({ name: 'once', memory: MEMORY, command: ['sh', '-c', 'exit 3'] });
    await page.getByRole('status').filter({ hasText: 'once exited: exit code 3' }).waitFor();
    await page.getByRole('main').getByRole('row', { name: /once/ }).getByText('exited (3)').waitFor();
    await daemon.destroy('once');
    await page.context().close();
  });

  inBrowser('a server that is gone is told', async () => {
    const other = await startWeb({ link: linkHost({ stateFolder, entry: '' }, daemon), port: 0 });
    assert.ok(browser);
    const page = await browser.newPage();
    await page.goto(other.address);
    await heading(page, 'All machines').waitFor();
    await other.close();
    await page
      .getByRole('alert')
      .getByText(/the server of this page has ended/)
      .waitFor();
    await page.close();
  });
});
