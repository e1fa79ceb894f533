/**
 * From a Vega-Lite specification to an SVG that can stand inside the report: rendered when the report is written, coloured by the
 * style sheet's variables, scaled to its column, with a title and a description for screen readers.
 */
import * as vega from 'vega';
import { compile, type Config, type TopLevelSpec } from 'vega-lite';
import { escape, type Html, raw } from './report-html.js';

const FONT = 'system-ui,-apple-system,Segoe UI,Roboto,sans-serif';

const CONFIG: Config = {
  aria: false,
  background: 'transparent',
  font: FONT,
  view: { stroke: null },
  axis: {
    labelColor: 'var(--soft)',
    titleColor: 'var(--soft)',
    gridColor: 'var(--grid)',
    domainColor: 'var(--line)',
    tickColor: 'var(--line)',
    labelFontSize: 11,
    titleFontSize: 11,
    titleFontWeight: 'normal',
    titlePadding: 8,
    labelPadding: 5,
    tickSize: 4,
  },
  axisY: {
    domain: false,
    ticks: false,
    titleAlign: 'left',
    titleAngle: 0,
    titleX: 0,
    titleY: -8,
    titleBaseline: 'bottom',
  },
  legend: { disable: true },
  text: { color: 'var(--ink)', fontSize: 11 },
};

export interface Chart {
  /** What is shown, in a few words. */
  title: string;
  /** What it says, for those who can't see it. */
  description: string;
  spec: Omit<TopLevelSpec, 'config' | 'description'>;
}

/** Renders a chart. Its figures come from the data given in the specification; nothing is fetched. */
export async function renderSvg(chart: Chart): Promise<Html> {
  const warnings: string[] = [];
  const logger = vega.logger(vega.Error);
  const { spec } = compile({ ...chart.spec, config: CONFIG } as TopLevelSpec, {
    logger: { ...logger, warn: (...args: unknown[]) => (warnings.push(args.join(' ')), logger) },
  });
  const refuse = {
    load: () => Promise.reject(new Error('report: charts load nothing')),
    sanitize: () => Promise.reject(new Error('report: charts link to nothing')),
    http: () => Promise.reject(new Error('report: charts load nothing')),
    file: () => Promise.reject(new Error('report: charts load nothing')),
  };
  const view = new vega.View(vega.parse(spec), { renderer: 'none', loader: refuse as unknown as vega.Loader, logger });
  try {
    const svg = await view.toSVG();
    const at = svg.indexOf('>') + 1;
    const width = /<svg[^>]* width="([\d.]+)"/.exec(svg)?.[1] ?? '400';
    const head = svg
      .slice(0, at)
      .replace(/ (width|height|class|xmlns|xmlns:xlink)="[^"]*"/g, '')
      .replace('<svg', `<svg role="img" style="max-width:${Math.ceil(Number(width) * 1.15)}px"`);
    return raw(`${head}<title>${escape(chart.title)}</title><desc>${escape(chart.description)}</desc>${svg.slice(at)}`);
  } finally {
    view.finalize();
  }
}
