/**
 * The report's style sheet: system fonts, light and dark by the reader's setting, print. Charts use the same variables.
 */

/** Colours of the groups of runs, in order; further groups start again. */
export const SERIES = ['var(--s1)', 'var(--s2)', 'var(--s3)', 'var(--s4)', 'var(--s5)', 'var(--s6)'] as const;

export const STYLE = `
:root{color-scheme:light dark;
--page:#f6f7f9;--card:#ffffff;--ink:#1b2430;--soft:#5a6675;--line:#d9dee5;--grid:#e8ebf0;
--s1:#64748b;--s2:#0b8577;--s3:#c05a12;--s4:#6d4bc4;--s5:#b23468;--s6:#7d6c08;
--birth:#1b8a4b;--death:#cc3a3a;--good:#14733d;--bad:#b42b2b;--heat:#0b8577}
@media (prefers-color-scheme:dark){:root{
--page:#12161c;--card:#1a2029;--ink:#e6eaf0;--soft:#9aa6b5;--line:#303946;--grid:#28303b;
--s1:#94a3b8;--s2:#2fc4ae;--s3:#f0924a;--s4:#a78bfa;--s5:#f07aa8;--s6:#d3bd3f;
--birth:#4ac97f;--death:#f07171;--good:#5fd492;--bad:#f58a8a;--heat:#2fc4ae}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 4px;letter-spacing:-.005em}
h3{font-size:14px;margin:0 0 6px;font-weight:600}
p{margin:0 0 10px;max-width:78ch}
.sub,.note,figcaption{color:var(--soft)}
.note,figcaption{font-size:13px}
section,header.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin:0 0 18px}
.outcome{font-size:17px;line-height:1.5;margin:14px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0 0;padding:0}
.tiles div{border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tiles dt{font-size:12px;color:var(--soft)}
.tiles dd{margin:0;font-size:16px;font-weight:600;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:18px;margin-top:10px}
.small{grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr))}
figure{margin:0;min-width:0}
figure svg{display:block;width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:6px 0 2px;padding:0;font-size:13px;color:var(--soft)}
.legend svg{display:inline-block;width:26px;height:12px;vertical-align:-1px;margin-right:6px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums;margin:8px 0}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;vertical-align:baseline}
thead th{color:var(--soft);font-weight:600;font-size:13px}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
tr:last-child>*{border-bottom:0}
.up{color:var(--good);font-weight:600}.down{color:var(--bad);font-weight:600}
details{margin-top:10px}
summary{cursor:pointer;color:var(--soft);font-size:13px}
pre{overflow-x:auto;background:var(--page);border:1px solid var(--line);border-radius:8px;padding:12px 14px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:8px 0}
@media (max-width:560px){main{padding:16px 10px 40px}section,header.card{padding:16px 14px}
th,td{padding:5px 6px}thead th{font-size:12px}thead .n{white-space:normal}}
@media print{:root{--page:#fff}body{font-size:12px}main{max-width:none;padding:0}section,header.card{break-inside:auto;border:0;padding:8px 0}figure,table{break-inside:avoid}}
`.trim();
