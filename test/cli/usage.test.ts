/**
 * Help, wrong usage and wrong configurations: what the person is told, and the exit code.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gyrus, scratch } from './helpers.js';

let dir: string;
let remove: () => void;
beforeAll(() => ({ dir, remove } = scratch()));
afterAll(() => remove());

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

describe('help', () => {
  it('lists the commands, exit codes and examples', async () => {
    const { code, stdout } = await gyrus(['--help']);
    expect(code).toBe(0);
    for (const text of ['train', 'compare', 'data', 'report', 'doctor', 'Exit codes', '130', 'Examples'])
      expect(stdout).toContain(text);
  });

  it.each(['train', 'compare', 'experiment', 'data', 'report', 'doctor'])('%s --help has examples', async (command) => {
    const { code, stdout } = await gyrus([command, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`gyrus ${command}`);
    expect(stdout).toContain('Examples:');
  });

  it('train --help names every field of a configuration with its default', async () => {
    const { stdout } = await gyrus(['train', '--help']);
    for (const field of ['optimizer.lr', 'plasticity.maturity', 'dataset.imbalanceFactor'])
      expect(stdout).toContain(field);
  });

  it('--version is the version of the package', async () => {
    expect((await gyrus(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('wrong usage ends with 2', () => {
  it.each([
    ['no command', [], /Usage: gyrus/],
    ['unknown command', ['trian'], /unknown command 'trian'\n\(Did you mean train\?\)/],
    ['unknown flag', ['train', '--epohcs', '3'], /unknown option '--epohcs'\n\(Did you mean --epochs\?\)/],
    ['no number', ['train', '--epochs', 'many'], /'--epochs <n>' argument 'many' is invalid. Expected a number/],
    ['empty number', ['train', '--lr', ''], /Expected a number/],
    ['negative rate', ['train', '--lr', '-1'], /'optimizer.lr'.*got -1/],
    ['infinite rate', ['train', '--lr', 'Infinity'], /'optimizer.lr'/],
    ['zero epochs', ['train', '--epochs', '0'], /'epochs'.*got 0/],
    ['half a unit', ['train', '--hidden', '1.5'], /'model.hidden.0'/],
    ['unknown optimiser', ['train', '--optimizer', 'sdg'], /'optimizer.name'/],
    [
      'unknown field',
      ['train', '--set', 'plasticity.rte=1'],
      /unknown key 'plasticity.rte'; did you mean 'plasticity.rate'/,
    ],
    ['field without value', ['train', '--set', 'epochs'], /Expected key=value/],
    ['prototype field', ['train', '--set', '__proto__.epochs=1'], /unknown key '__proto__.epochs'/],
    ['unknown data set', ['train', '--dataset', 'imagenet'], /fashion-mnist, mnist, .*, got 'imagenet'/],
    ['nothing to compare', ['compare'], /expected configuration files or --preset \(demo/],
    ['unknown preset', ['compare', '--preset', 'dmeo'], /expected one of demo.*got 'dmeo'/],
    ['preset and files', ['compare', 'a.json', '--preset', 'demo'], /got both/],
    ['bad seeds', ['compare', '--preset', 'demo', '--seeds', '1,x'], /Expected whole numbers/],
    ['seeds twice', ['compare', '--preset', 'demo', '--seeds', '1,1'], /each seed once/],
    ['no experiment', ['experiment'], /missing required argument/],
    [
      'unknown experiment',
      ['experiment', 'smok'],
      /expected a file .* or one of the presets smoke.*did you mean 'smoke'/,
    ],
    ['missing experiment file', ['experiment', 'nowhere.yaml'], /config: nowhere.yaml can't be read/],
    [
      'filter on nothing',
      ['experiment', 'smoke', '-f', 'modle=x'],
      /--filter: expected dataset, model, if, method or seed/,
    ],
    ['filter that leaves nothing', ['experiment', 'smoke', '-f', 'model=x'], /--filter: expected runs that fit/],
    ['no minutes', ['experiment', 'smoke', '--max-minutes', '0'], /Expected a number above 0/],
    ['missing config file', ['train', '--config', 'nowhere.json'], /config: nowhere.json can't be read/],
    ['report of nothing', ['report'], /missing required argument/],
  ])('%s', async (_name, args, message) => {
    const { code, stdout, stderr } = await gyrus(args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it("'none' as imbalance is a value like any other", async () => {
    const { code, stderr } = await gyrus(['train', '--imbalance', 'none', '--epochs', '0']);
    expect(stderr).toMatch(/'epochs'.*got 0/);
    expect(stderr).not.toMatch(/imbalance/);
    expect(code).toBe(2);
  });

  it('an unknown key in a file is answered with the nearest known one', async () => {
    const { code, stderr } = await gyrus(['train', '--config', file('typo.yaml', 'optimzer:\n  lr: 0.1\n')]);
    expect(stderr).toContain("unknown key 'optimzer'; did you mean 'optimizer'?");
    expect(code).toBe(2);
  });

  it.each([
    ['broken.json', '{"epochs": 3', /expected JSON in .*broken.json/],
    ['broken.yaml', 'a: [1', /expected YAML in .*broken.yaml/],
    ['endless.yaml', 'model: &m { hidden: *m, x: *m }', /expected at most 32 levels in .*endless.yaml, got more/],
    ['deep.json', `${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}`, /expected at most 32 levels in .*deep.json/],
    ['list.json', '[1, 2]', /expected an object of fields in .*list.json/],
    ['empty.yaml', '', /expected an object of fields/],
    ['nan.yaml', 'optimizer: {lr: .nan}', /'optimizer.lr'.*got NaN/],
  ])('config %s', async (name, text, message) => {
    const { code, stderr } = await gyrus(['train', '--config', file(name, text)]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});

describe('failures at run time end with 1', () => {
  it('a results file that is not there, is no JSON, or is something else', async () => {
    const missing = await gyrus(['report', join(dir, 'nothing.json')]);
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("can't be read")]);
    const text = await gyrus(['report', file('text.json', 'hello')]);
    expect([text.code, text.stderr]).toEqual([1, expect.stringContaining('expected JSON')]);
    const foreign = await gyrus(['report', file('foreign.json', '{"runs": []}')]);
    expect([foreign.code, foreign.stderr]).toEqual([1, expect.stringContaining("'format'")]);
  });

  it('missing data: the message names the command that brings them', async () => {
    const { code, stderr } = await gyrus(['train', '--data-dir', dir]);
    expect(stderr).toContain('bring it with');
    expect(code).toBe(1);
  });

  it('a foreign checkpoint', async () => {
    const { code, stderr } = await gyrus(['train', '--resume', file('foreign.gyrus', 'x'.repeat(100))]);
    expect(stderr).toContain('foreign.gyrus');
    expect(code).toBe(1);
  });
});

describe('doctor', () => {
  it('--json says what there is, alone on stdout', async () => {
    const { code, stdout, stderr } = await gyrus(['doctor', '--json']);
    expect(stderr).toBe('');
    const d = JSON.parse(stdout);
    expect(d).toMatchObject({
      node: { version: process.version, abi: process.versions.modules, platform: process.platform, arch: process.arch },
      addon: { loaded: true, error: '' },
      selfTest: { passed: true },
    });
    expect(d.isa.available).toContain(d.isa.used);
    expect(d.threads).toBeGreaterThan(0);
    expect(d.memory.totalBytes).toBeGreaterThan(0);
    expect(d.devices).toContain('cpu');
    expect(d.cuda.status === '').toBe(d.cuda.devices.length > 0);
    for (const set of d.datasets) {
      expect(set).toEqual({
        name: expect.any(String),
        description: expect.any(String),
        found: expect.any(Boolean),
        source: expect.any(String),
        command: expect.any(String),
      });
    }
    expect(code).toBe(d.datasets.some((set: { found: boolean }) => set.found) ? 0 : 1);
  });

  it('says which instruction set was forced', async () => {
    const { stdout } = await gyrus(['doctor', '--json'], { env: { GYRUS_ISA: 'scalar' } });
    expect(JSON.parse(stdout).isa).toMatchObject({ used: 'scalar', forced: 'scalar' });
    const text = await gyrus(['doctor'], { env: { GYRUS_ISA: 'scalar' } });
    expect(text.stdout).toContain('GYRUS_ISA=scalar');
  });

  it('tells what is wrong when the addon is missing, and ends with 1', async () => {
    const { code, stdout } = await gyrus(['doctor'], { env: { GYRUS_ADDON: join(dir, 'none.node') } });
    expect(stdout).toContain('none.node');
    expect(stdout).toContain('failed');
    expect(code).toBe(1);
  });
});
