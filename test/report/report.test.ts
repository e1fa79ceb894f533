/**
 * The report: complete, self-contained, and safe with whatever stands in a results file.
 */
import { describe, expect, it } from 'vitest';
import { scoreBins } from '../../src/train/report-charts.js';
import { markup } from '../../src/train/report-html.js';
import { checkResults } from '../../src/train/report-read.js';
import { renderReport } from '../../src/train/report.js';
import {
  differenceText,
  groupRuns,
  outcome,
  overallRows,
  pairedDifference,
  points,
  stageSummaries,
} from '../../src/train/report-summary.js';
import { sample } from './sample.js';

const page = await renderReport(sample());

describe('renderReport', () => {
  it('has every section', () => {
    for (const id of ['results', 'curves', 'classes', 'neurons', 'confusion', 'configuration', 'machine', 'reproduce'])
      expect(page).toContain(`id="${id}"`);
    for (const text of [
      'Mean class recall',
      'Width of hidden',
      'Scores in hidden at epoch 2',
      'Confusion of plastic',
      'Some CPU',
    ])
      expect(page).toContain(text);
    expect(page).toContain('npx gyrus compare a.json b.json --json results.json');
    expect(page.trimEnd().endsWith('</html>')).toBe(true);
  });

  it('loads nothing: no external address, no script', () => {
    const tags = (page.match(/<[a-z][^>]*>/gi) ?? []).join('\n');
    expect(tags.length).toBeGreaterThan(1000);
    expect(tags).not.toMatch(/\b(src|href|xlink:href|data|action)\s*=/i);
    expect(tags).not.toMatch(/\son\w+\s*=/i);
    const rest = `${tags}${/<style>[\s\S]*<\/style>/.exec(page)?.[0]}`;
    expect(rest).not.toMatch(/url\(\s*["']?(https?:)?\/\//i);
    expect(rest).not.toMatch(/@import|<script|<link|<iframe|<object|<embed|<img/i);
  });

  it('escapes all text', () => {
    expect(page).not.toContain('<img');
    expect(page).toContain('&lt;img src=');
    // Inside charts too.
    const svgs = page.match(/<svg role="img"[\s\S]*?<\/svg>/g) ?? [];
    expect(svgs.length).toBeGreaterThan(5);
    for (const svg of svgs) expect(svg).not.toContain('<img');
  });

  it('gives every chart a title and a description', () => {
    const svgs = page.match(/<svg role="img"[\s\S]*?<\/svg>/g) ?? [];
    for (const svg of svgs) expect(svg).toMatch(/^<svg role="img"[^>]*><title>[^<]+<\/title><desc>[^<]+<\/desc>/);
  });

  it('is the same for the same results', async () => {
    expect(await renderReport(sample())).toBe(page);
  });

  it('marks births and deaths with their numbers', () => {
    expect(page).toContain('+2');
    expect(page).toContain('−2');
  });

  it('copes with a single run and with fixed widths only', async () => {
    const result = sample();
    result.runs = result.runs.slice(0, 1);
    delete result.command;
    const text = await renderReport(result);
    expect(text).toContain('No neurons came or went');
    expect(text).toContain('npx gyrus compare run1.json --seeds 0');
  });

  it('shows means and intervals over seeds', async () => {
    expect(await renderReport(sample([0, 1, 2]))).toMatch(/Over 3 paired seeds the 95 % interval/);
  });
});

describe('summary', () => {
  it('pairs by seed and takes Student’s interval', () => {
    const [fixed, plastic] = groupRuns(sample([0, 1]));
    const difference = pairedDifference(fixed, plastic, (run) => run.final.mid);
    expect(difference.pairs).toBe(2);
    expect(difference.mean).toBeCloseTo(0.0205, 10);
    // Differences .020 and .021: standard error .0005, t(1) = 12.706.
    expect(difference.halfWidth).toBeCloseTo(12.706 * 0.0005, 8);
    plastic.runs = plastic.runs.filter((run) => run.seed === 1);
    expect(pairedDifference(fixed, plastic, (run) => run.final.mid)).toMatchObject({ pairs: 1, halfWidth: undefined });
  });

  it('claims nothing from one seed', () => {
    expect(outcome(groupRuns(sample()))[0]).toMatch(/This is one seed.*can’t be told apart/);
  });

  it('says when seeds have nothing in common', () => {
    const result = sample();
    result.runs[1].seed = 7;
    const groups = groupRuns(result);
    expect(outcome(groups)[0]).toContain('no seed in common');
    expect(differenceText(overallRows(groups)[0].differences[1])).toBe('no common seed');
  });

  it('writes points with their sign', () => {
    expect([0.0123, -0.0123, 0.0001, Number.NaN].map((v) => points(v))).toEqual(['+1.2', '−1.2', '±0.0', '–']);
  });
});

describe('second stages', () => {
  /** The plastic runs end with cRT, which gave 4 points of recall and cost 2 of the head: of seed 1 one point more. */
  function staged(seeds: number[], method = 'crt', tau?: (seed: number) => number) {
    const result = sample(seeds);
    for (const run of result.runs.filter(({ name }) => name === 'plastic')) {
      const { seed, final } = run;
      run.secondStage = { method, ...(tau && { tau: tau(seed) }) };
      run.epochs.push({ ...run.epochs[2], epoch: 4, stage: 2, test: final });
      run.final = { ...final, meanRecall: final.meanRecall + 0.04 + 0.01 * seed, head: final.head - 0.02 };
    }
    return result;
  }

  it('are summed up from where the first stage ends to the last weights', () => {
    const result = staged([0, 1]);
    const [, before] = result.runs[1].epochs;
    const [summary, ...others] = stageSummaries(groupRuns(result));
    expect(others).toEqual([]);
    expect(summary).toMatchObject({ name: 'plastic', method: 'cRT' });
    expect(summary.measures.map(({ key }) => key)).toEqual(['top1', 'meanRecall', 'head', 'mid', 'tail']);
    const [top1, recall, head] = summary.measures;
    expect(top1).toMatchObject({ difference: { mean: 0, halfWidth: 0, pairs: 2 } });
    expect(recall.before).toBeCloseTo((before.test!.meanRecall + result.runs[3].epochs[2].test!.meanRecall) / 2, 12);
    expect(recall.after - recall.before).toBeCloseTo(0.045, 12);
    // Differences .04 and .05: standard error .005, t(1) = 12.706.
    expect(recall.difference.halfWidth).toBeCloseTo(12.706 * 0.005, 8);
    expect(head.difference.mean).toBeCloseTo(-0.02, 12);
  });

  it('stand in the report with their method, and not where there are none', async () => {
    const text = await renderReport(staged([0]));
    expect(text).toContain('id="second-stage"');
    expect(text).toMatch(/plastic, before cRT.*>62.0 %<.*plastic, after cRT.*>66.0 %<.*after − before.*\+4\.0.*−2\.0/s);
    expect(page).not.toContain('id="second-stage"');
  });

  it('name every tau that was chosen', () => {
    const [summary] = stageSummaries(groupRuns(staged([0, 1, 2], 'tau-norm', (seed) => [0.7, 0.4, 0.7][seed])));
    expect(summary.method).toBe('tau-norm (tau 0.4, 0.7)');
  });

  it('are left out of runs that did not come to them', () => {
    const result = staged([0, 1]);
    delete result.runs[1].secondStage;
    const [summary] = stageSummaries(groupRuns(result));
    expect(summary.measures[1].difference).toMatchObject({ pairs: 1, halfWidth: undefined });
    delete result.runs[3].secondStage;
    expect(stageSummaries(groupRuns(result))).toEqual([]);
  });
});

describe('checkResults', () => {
  it('takes what JSON made of a missing number', () => {
    const checked = checkResults(JSON.parse(JSON.stringify(sample())));
    expect(checked.runs[0].epochs[1].trainLoss).toBeNaN();
  });

  it.each([
    ['another format', (r: any) => (r.format = 'x'), /'format'/],
    ['a later version', (r: any) => (r.version = 2), /'version'/],
    ['no runs', (r: any) => (r.runs = []), /'runs': expected at least one run/],
    ['a missing field', (r: any) => delete r.runs[0].final.top1, /'runs.0.final.top1'/],
    [
      'a confusion matrix of another size',
      (r: any) => r.runs[0].final.confusion.pop(),
      /'runs.0.final.confusion': expected 3 x 3/,
    ],
    [
      'a second stage without a method',
      (r: any) => (r.runs[0].secondStage = { tau: 1 }),
      /'runs.0.secondStage.method'/,
    ],
    ['too few rates', (r: any) => r.runs[1].final.perClass.pop(), /'runs.1.final.perClass'/],
  ])('refuses %s', (_name, damage, message) => {
    const result = JSON.parse(JSON.stringify(sample()));
    damage(result);
    expect(() => checkResults(result, 'f.json')).toThrow(message);
  });
});

describe('parts', () => {
  it('markup escapes strings and keeps Html', () => {
    expect(markup`<p title="${'"<'}">${markup`<b>${'&'}</b>`}${['<', markup`<i>`]}</p>`.text).toBe(
      '<p title="&quot;&lt;"><b>&amp;</b>&lt;<i></p>',
    );
  });

  it('scoreBins counts every unit once, zeros in the first bin', () => {
    const event = sample().runs[1].events[1];
    const { bins, log } = scoreBins(event);
    expect(log).toBe(true);
    expect(bins.reduce((sum, bin) => sum + bin.kept, 0)).toBe(4);
    expect(bins[0].removed).toBe(2);
    const equal = scoreBins({ ...event, scores: [0, 1, 2].map((id) => ({ id, score: 0 })) });
    expect(equal.bins.reduce((sum, bin) => sum + bin.kept + bin.removed, 0)).toBe(3);
  });
});
