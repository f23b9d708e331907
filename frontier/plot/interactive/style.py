"""How a page looks, on a screen and on a phone: no text below 11 pixels, nothing to touch below 40."""

STYLE = """
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; color: #303030; margin: 0; background: #fff; overflow-wrap: anywhere; }
main { max-width: 1240px; margin: 0 auto; padding: 18px 24px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 6px 0; } h2 { font-size: 19px; margin: 28px 0 4px; } h3 { font-size: 14px; margin: 4px 0 0; font-weight: 600; }
.note { color: #595959; font-size: 13px; margin: 6px 0 10px; max-width: 90em; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e6e6e6; white-space: nowrap; }
th { background: #f5f5f5; font-weight: 600; }
th.name, td.name { white-space: normal; max-width: 16em; overflow-wrap: break-word; } td.name { min-width: 5em; } td.wider { min-width: 9em; } td.long { min-width: 14em; }
th.text button, td.text { text-align: left; } td.text details[open] { white-space: normal; min-width: 24em; max-width: 40em; overflow-wrap: anywhere; }
#summary td:first-child, #summary th:first-child, #differences td:first-child, #differences th:first-child { text-align: left; }
td small { display: block; font-size: 11px; color: #595959; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 4px 0; width: 100%; min-width: 40px; min-height: 40px; text-align: right; cursor: pointer; overflow-wrap: break-word; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
tr.marked td { background: #fff3c4; } tr.best td { box-shadow: inset 0 2px #000, inset 0 -2px #000; font-weight: 600; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 50%; border: 2px solid; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 14px 22px; }
figure { margin: 0; min-width: 0; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 400px); gap: 12px 24px; align-items: center; }
.plot { width: 100%; min-width: 0; }
figcaption { font-size: 13px; color: #595959; text-align: center; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 8px 0; font-size: 13px; align-items: center; }
ul.legend li { display: flex; align-items: center; gap: 7px; } ul.legend svg { flex: none; }
ul.legend button { display: flex; align-items: center; gap: 7px; min-height: 40px; padding: 4px 12px; font: inherit; color: inherit; background: #fff; border: 1px solid #9a9a9a; border-radius: 6px; cursor: pointer; text-align: left; }
ul.legend button[aria-pressed=false] { color: #767676; text-decoration: line-through; background: #f2f2f2; }
#weights { border: 1px solid #c8c8c8; border-radius: 8px; padding: 10px 16px; margin: 12px 0; }
#weights h2 { margin: 0; } #weights .sliders { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 2px 26px; }
#weights label { display: block; font-size: 13px; } #weights input { width: 100%; height: 40px; margin: 0; accent-color: #303030; }
#weights .result { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: center; margin: 4px 0 0; } #best { margin: 0; } .plain { min-height: 40px; padding: 4px 14px; font: inherit; background: #fff; border: 1px solid #767676; border-radius: 6px; cursor: pointer; }
#chosen { position: sticky; bottom: 0; background: #fff; border-top: 2px solid #303030; padding: 8px 4px; display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; font-size: 13px; z-index: 5; }
#chosen[hidden] { display: none; } #chosen p { margin: 0; flex: 1 1 16em; max-height: 30vh; overflow-y: auto; }
details summary { cursor: pointer; } details.more > summary { min-height: 40px; padding: 9px 0; font-weight: 600; }
ol.axes { font-size: 13px; margin: 2px 0 0; padding-left: 26px; } ol.axes[hidden] { display: none; }
button:focus-visible, input:focus-visible, summary:focus-visible { outline: 3px solid #1a52b0; outline-offset: 2px; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 760px) {
  main { padding: 10px 12px 40px; } h1 { font-size: 21px; } .beside { grid-template-columns: minmax(0, 1fr); }
  .beside > figure { width: 100%; } td.text details summary { min-height: 40px; padding-top: 8px; } td.text details[open] { min-width: 16em; }
}
@media print { #weights, #chosen, .plain { display: none; } }
"""
