/**
 * Small pieces of HTML. Every value goes through `escape` unless it was made by `markup`, so no text of a results file can become
 * markup.
 */

/** Markup that is known to be safe. */
export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

type Value = Html | string | number | undefined | readonly Value[];

export function escape(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] as string,
  );
}

function insert(value: Value): string {
  if (value === undefined) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'string' || typeof value === 'number') return escape(String(value));
  return value.map(insert).join('');
}

/** A template whose inserted strings are escaped and whose inserted Html and lists of it are not. */
export function markup(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(parts.reduce((text, part, i) => text + (i > 0 ? insert(values[i - 1]) : '') + part, ''));
}

/** Text of SVG or CSS that we made ourselves. */
export function raw(text: string): Html {
  return new Html(text);
}

export interface Column {
  label: string;
  /** Numbers stand on the right. */
  numeric?: boolean;
}

/** A table with a caption for screen readers; the first column of each row is its header. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly Value[])[]): Html {
  const css = (i: number): string => (columns[i].numeric ? 'n' : 't');
  return markup`<div class="scroll"><table>
<caption>${caption}</caption>
<thead><tr>${columns.map((column, i) => markup`<th scope="col" class="${css(i)}">${column.label}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row) =>
      markup`<tr>${row.map((cell, i) =>
        i === 0 ? markup`<th scope="row" class="${css(i)}">${cell}</th>` : markup`<td class="${css(i)}">${cell}</td>`,
      )}</tr>
`,
  )}</tbody>
</table></div>`;
}

/** A part that can be folded away; open ones print, closed ones don't. */
export function details(summary: string, body: Html, open = false): Html {
  return markup`<details${raw(open ? ' open' : '')}><summary>${summary}</summary>${body}</details>`;
}
