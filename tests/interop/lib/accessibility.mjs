// What makes a page fit for everybody, measured in the browser: contrast (WCAG 2.2, 1.4.3 and
// 1.4.11), reflow (1.4.10), text of twice the size (1.4.4), and the rules of axe-core.

import axe from 'axe-core';

import { expect } from './checks.mjs';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** The guard's policy stands: what a debugger evaluates is no script of the page. */
export async function audited(page) {
  const run = (tags) => globalThis.axe.run(document, { runOnly: { type: 'tag', values: tags } });
  await page.evaluate(axe.source);
  const { passes, violations } = await page.evaluate(run, RULES);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
  expect(found.length === 0, found.join('\n'));
  expect(passes.length > 10, `axe looked at ${passes.length} rules only`);
}

/** Every text against what is behind it, and every edge that tells a control from the page. */
export async function contrasted(page) {
  const pairs = await page.evaluate(colored);
  expect(pairs.some(({ kind }) => kind === 'text'), 'no text was found');
  const told = pairs
    .map((pair) => ({ ...pair, ratio: ratio(pair) }))
    .filter(({ ratio, needed }) => ratio < needed)
    .map(({ kind, what, ratio, needed }) => `${kind} of ${what}: ${ratio.toFixed(2)} of ${needed}`);
  expect(told.length === 0, told.join('\n'));
}

/** What has the focus is in sight, and a ring says so. */
export async function ringed(page) {
  const ring = await page.evaluate(() => {
    const { activeElement: active, documentElement: root } = document;
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(active);
    const { top, bottom } = active.getBoundingClientRect();
    return {
      style: outlineStyle,
      width: parseFloat(outlineWidth),
      color: outlineColor,
      behind: [getComputedStyle(active.closest('main')).backgroundColor],
      isInSight: top >= 0 && bottom <= root.clientHeight,
    };
  });
  expect(ring.style === 'solid' && ring.width >= 2, `the ring is ${ring.style}, ${ring.width} px`);
  expect(ratio(ring) >= 3, `the ring has a contrast of ${ratio(ring).toFixed(2)}`);
  expect(ring.isInSight, 'what has the focus is out of sight');
}

/** Runs in the page. Colours as they are written; those behind from the nearest to the farthest. */
function colored() {
  const behind = (element) =>
    element ? [getComputedStyle(element).backgroundColor, ...behind(element.parentElement)] : [];
  const pairs = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const what = node.data.trim();
    if (!what || !element.checkVisibility({ visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight } = getComputedStyle(element);
    const size = parseFloat(fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(fontWeight) >= 700);
    pairs.push({ kind: 'text', what, needed: isLarge ? 3 : 4.5, color, behind: behind(element) });
  }
  for (const control of document.querySelectorAll('input:not([type=hidden]), button, a')) {
    const { borderTopColor: color } = getComputedStyle(control);
    const what = control.id || control.textContent;
    pairs.push({ kind: 'edge', what, needed: 3, color, behind: behind(control.parentElement) });
  }
  return pairs;
}

function ratio({ color, behind }) {
  const ground = behind.map(parts).reduceRight((below, top) => over(top, below), [255, 255, 255]);
  const [low, high] = [over(parts(color), ground), ground].map(luminance).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function parts(color) {
  const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
  return { rgb: [red, green, blue], alpha };
}

const over = ({ rgb, alpha }, below) => rgb.map((part, at) => part * alpha + below[at] * (1 - alpha));

function luminance(rgb) {
  const [red, green, blue] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** No scrolling sideways on the narrowest screens, enlarged, and with letters of twice the size. */
export async function reflows(page) {
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  await fits(page, 'at 320 px');
  await page.setViewportSize({ width: Math.max(320, width / 2), height: height / 2 });
  await fits(page, 'at 200 %');
  await page.setViewportSize({ width, height });
  await page.evaluate(() => document.documentElement.style.setProperty('font-size', '200%'));
  await fits(page, 'with letters of twice the size');
  await page.evaluate(() => document.documentElement.style.removeProperty('font-size'));
}

async function fits(page, how) {
  const outside = await page.evaluate(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    const wide = [...document.body.querySelectorAll('*')].filter((part) => {
      const { left, right } = part.getBoundingClientRect();
      const inner = part.scrollWidth - part.clientWidth;
      const isClipped = getComputedStyle(part).overflowX === 'clip';
      return left < -0.5 || right > clientWidth + 0.5 || (inner > 1 && part.clientWidth > 0 && !isClipped);
    });
    const told = wide.map((part) => `${part.localName}.${part.className}`);
    return scrollWidth > clientWidth ? [`the page by ${scrollWidth - clientWidth} px`, ...told] : told;
  });
  expect(outside.length === 0, `too wide ${how}: ${outside.join(', ')}`);
}
