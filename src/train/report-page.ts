/**
 * What every report is made of: the page around its sections, figures, legends, and writing it.
 */
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IOError } from '../device/index.js';
import { makeFolder } from '../io/index.js';
import { type Html, markup, raw } from './report-html.js';
import { SERIES, STYLE } from './report-style.js';
import { type Difference, differenceText, significance } from './report-summary.js';
import { type Chart, renderSvg } from './report-svg.js';

/** A chart under its title. */
export async function figure(chart: Chart, caption = true): Promise<Html> {
  const svg = await renderSvg(chart);
  return markup`<figure>${caption ? markup`<h3>${chart.title}</h3>` : undefined}${svg}</figure>`;
}

/** The colours of the series; with `dashes` also what solid and dashed lines are. */
export function legend(names: readonly string[], dashes = false): Html {
  const line = (color: string, dash: string): Html =>
    raw(
      `<svg viewBox="0 0 26 12" aria-hidden="true"><path d="M0 6h26" stroke="${color}" stroke-width="3" stroke-dasharray="${dash}"/></svg>`,
    );
  return markup`<ul class="legend">${names.map((name, i) => markup`<li>${line(SERIES[i % SERIES.length], 'none')}${name}</li>`)}${
    dashes ? markup`<li>${line('var(--soft)', 'none')}test</li><li>${line('var(--soft)', '4 3')}train</li>` : undefined
  }</ul>`;
}

/** Coloured only where the interval over the seeds leaves out zero. */
export function signed(difference: Difference | undefined): Html {
  const css = { '-1': 'down', 0: '', 1: 'up' }[difference ? significance(difference) : 0];
  return markup`<span class="${css}">${differenceText(difference)}</span>`;
}

/** Vega numbers its clip paths over the life of the process; here they count from 1, so that equal results make equal pages. */
function renumbered(page: string): string {
  const numbers = new Map<string, number>();
  return page.replace(/((?: id="|url\(#)clip)(\d+)/g, (_, before: string, id: string) => {
    if (!numbers.has(id)) numbers.set(id, numbers.size + 1);
    return `${before}${numbers.get(id)}`;
  });
}

/** A whole document. */
export function page(title: string, sections: readonly (Html | undefined)[]): string {
  const document = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="generator" content="gyrus">
<title>${title}</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<main>
${sections.filter((section) => section !== undefined).map((section) => markup`${section}\n`)}</main>
</body>
</html>
`;
  return renumbered(document.text);
}

/** Writes a page, making its folder. Throws IOError when it can't be written. */
export async function writePage(text: string, path: string): Promise<void> {
  try {
    makeFolder(dirname(path));
    await writeFile(path, text);
  } catch (error) {
    throw new IOError(`report: ${path} can't be written: ${(error as Error).message}`, { cause: error });
  }
}
