"""The frame and the look of a report page: light and dark, screen and paper."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src data:; \
style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
{lead}
</header>
{body}
{footer}
</main>
</body>
</html>
"""

STYLE = """
:root { --ink: #1f2328; --muted: #5c6670; --line: #d9dee3; --soft: #f4f6f8; --page: #ffffff;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --muted: #a0a8b0; --line: #3a4149; --soft: #22272d; --page: #16191d;
    --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 0 0 .8rem; }
p { margin: 0 0 .8rem; max-width: 46rem; }
.lead { font-size: 1.08rem; color: var(--muted); }
section { margin-top: 2.6rem; }
figure { margin: 0; }
figcaption { margin-top: .7rem; color: var(--muted); font-size: .88rem; max-width: 52rem; }
.paper { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }
img { display: block; width: 100%; height: auto; }
video { display: block; width: 100%; height: auto; border-radius: 8px; background: #000; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: .4rem; }
thead th { white-space: normal; vertical-align: bottom; color: var(--muted); font-weight: 600;
  font-size: .82rem; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
.emphasised th, .emphasised td { font-weight: 700; background: var(--soft); }
.times { max-width: 46rem; }
.times .bar { width: 45%; }
.times .bar span { display: block; height: .7rem; min-width: 2px; border-radius: 2px;
  background: var(--accent); }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0; }
.numbers > div { flex: 1 1 11rem; background: var(--soft); border-radius: 8px; padding: .8rem 1rem; }
.numbers dt { color: var(--muted); font-size: .85rem; }
.numbers dd { margin: 0; }
.numbers b { display: block; font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.numbers small { display: block; color: var(--muted); font-size: .82rem; line-height: 1.35; }
.facts { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .18rem 1.4rem;
  margin: .6rem 0 0; font-size: .88rem; }
.facts dt { color: var(--muted); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace; }
details summary { cursor: pointer; color: var(--accent); font-size: .92rem; }
.missing { color: var(--muted); background: var(--soft); border-radius: 8px; padding: .8rem 1rem; }
a { color: var(--accent); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--muted);
  font-size: .85rem; }
@media print { main { max-width: none; padding: 0; } section { break-inside: avoid; } }
"""
