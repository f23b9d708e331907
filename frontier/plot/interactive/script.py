"""What a page does: draws its plots for the width there is, turns weights into the best point, finds rows, sorts. Plain JavaScript, nothing loaded."""

SCRIPT = r"""
'use strict';
(function () {
  var content = JSON.parse(document.getElementById('content').textContent);
  var front = content.front, plots = {};
  var NARROW = 560;  // pixels of a plot below which it is laid out for a phone

  function layoutFor(place, figure) {
    var layout = JSON.parse(JSON.stringify(figure.layout)), width = place.clientWidth, meta = layout.meta || {};
    if (width < NARROW) {
      layout.dragmode = meta.kind === 'space' ? 'turntable' : false;  // a finger on a plot scrolls the page
      layout.height = Math.min(layout.height, meta.kind === 'space' ? 380 : Math.max(300, Math.round(width * 1.08)));
      if (meta.kind === 'ternary') { layout.height = Math.min(400, width); }
    }
    if (meta.kind === 'parallel') {
      var tight = (width - 80) / Math.max(1, meta.names.length - 1) < 128;
      if (tight) { layout.xaxis.ticktext = meta.names.map(function (_, k) { return String(k + 1); }); }
      document.querySelectorAll('ol.axes').forEach(function (key) { key.hidden = !tight; });
    }
    if (meta.kind === 'space' && width < NARROW) {
      ['x', 'y', 'z'].forEach(function (axis) { layout.scene.camera.eye[axis] *= 1.22; });
    }
    if (meta.kind === 'space' && (width < NARROW || meta.long)) {
      ['x', 'y', 'z'].forEach(function (axis, k) { layout.scene[axis + 'axis'].title.text = String(k + 1); });
    }
    place.style.height = layout.height + 'px';
    return layout;
  }

  function dataFor(narrow, data) {
    return !narrow ? data : data.map(function (trace) {
      var size = trace.type === 'scatter' && trace.marker && trace.marker.size;
      if (typeof size !== 'number') { return trace; }
      return Object.assign({}, trace, { marker: Object.assign({}, trace.marker, { size: 0.75 * size }) });
    });
  }

  function draw(place) {
    var figure = content.plots[place.id];
    if (plots[place.id] || !figure || place.closest('details:not([open])')) { return; }
    var layout = layoutFor(place, figure);
    var narrow = place.clientWidth < NARROW;
    var options = { displaylogo: false, responsive: true, displayModeBar: narrow ? false : 'hover', modeBarButtons: [(layout.meta || {}).kind === 'space' ? ['toImage', 'resetCameraDefault3d'] : ['toImage', 'zoom2d', 'pan2d', 'resetScale2d']] };
    plots[place.id] = place;
    Plotly.newPlot(place, dataFor(narrow, figure.data), layout, options);
    place.dataset.width = place.clientWidth;
    place.on('plotly_click', function (event) { choose(event.points[0].customdata, event.points[0].hovertext); });
  }

  function hasWebGL() {
    try { return !!document.createElement('canvas').getContext('webgl'); } catch (error) { return false; }
  }

  function drawAll() {
    document.querySelectorAll('.plot').forEach(function (place) {
      var figure = content.plots[place.id];
      if (figure && (figure.layout.meta || {}).kind === 'space' && !hasWebGL()) {
        place.textContent = 'The view in space needs WebGL, which this browser does not have. The projections below show the same points.';
        place.style.height = 'auto';
        return;
      }
      draw(place);
    });
    weigh();
  }

  var waiting;
  window.addEventListener('resize', function () {
    clearTimeout(waiting);
    waiting = setTimeout(function () {
      Object.keys(plots).forEach(function (name) {
        var place = plots[name];
        if (!place.clientWidth || Number(place.dataset.width) === place.clientWidth) { return; }
        place.dataset.width = place.clientWidth;
        Plotly.react(place, place.data, layoutFor(place, content.plots[name]));
      });
      weigh();
    }, 150);
  });

  // The best point for the weights that the reader sets.
  var sliders = Array.from(document.querySelectorAll('#weights input'));
  function weights() {
    var values = sliders.map(function (slider) { return Number(slider.value); });
    if (values.length === 1) { return [values[0], 1 - values[0]]; }
    var sum = values.reduce(function (a, b) { return a + b; }, 0);
    return values.map(function (v) { return sum > 0 ? v / sum : 1 / values.length; });
  }
  function dot(a, b) { return a.reduce(function (sum, v, k) { return sum + v * b[k]; }, 0); }

  function weigh() {
    if (!sliders.length) { return; }
    var w = weights(), best = null, each = [];
    front.layers.forEach(function (layer, number) {
      var top = null;
      layer.rewards.forEach(function (rewards, index) {
        var utility = dot(w, rewards);
        if (top === null || utility > top.utility) { top = { number: number, index: index, utility: utility, rewards: rewards, label: layer.label, weights: layer.weights[index] }; }
      });
      each.push(top);
      if (best === null || top.utility > best.utility) { best = top; }
    });
    document.getElementById('shares').textContent = front.objectives.map(function (name, k) { return name + ' ' + w[k].toFixed(2); }).join(', ');
    sliders.forEach(function (slider, k) { slider.setAttribute('aria-valuetext', front.objectives[k] + ' ' + w[k].toFixed(2)); });
    var several = front.layers.length > 1;
    var name = (several ? best.label + ', ' : '') + 'point ' + best.index;
    var text = name + ', utility ' + best.utility.toFixed(3);
    if (several) {
      text += '; best of ' + each.filter(function (top) { return top !== best; }).map(function (top) { return top.label + ': point ' + top.index + ', ' + top.utility.toFixed(3); }).join('; of ');
    }
    document.getElementById('best-name').textContent = text;
    document.querySelectorAll('tr.best').forEach(function (row) { row.classList.remove('best'); row.querySelector('.mark').textContent = ''; });
    var row = document.getElementById('p' + best.number + '-' + best.index);
    if (row) { row.classList.add('best'); row.querySelector('.mark').textContent = '◎ '; }
    document.getElementById('best').dataset.row = 'p' + best.number + '-' + best.index;
    Object.keys(plots).forEach(function (id) { show(plots[id], best, w); });
  }

  function show(place, best, w) {
    var meta = place.layout.meta || {}, at = null;
    var find = function (what) { return place.data.findIndex(function (trace) { return trace.meta === what; }); };
    if (meta.kind === 'pair') { at = { x: [[best.rewards[meta.x]]], y: [[best.rewards[meta.y]]] }; }
    if (meta.kind === 'space') { at = { x: [[best.rewards[0]]], y: [[best.rewards[1]]], z: [[best.rewards[2]]] }; }
    if (meta.kind === 'parallel') {
      at = { y: [best.rewards.map(function (r, k) { return (r - meta.low[k]) / meta.extent[k]; })] };
    }
    if (meta.kind === 'ternary') {
      var corner = function (v) { var sum = v[0] + v[1] + v[2]; return { x: [[(v[1] + v[2] / 2) / sum]], y: [[v[2] * Math.sqrt(0.75) / sum]] }; };
      at = best.weights ? corner(best.weights) : { x: [[null]], y: [[null]] };
      Plotly.restyle(place, corner(w), [find('weights')]);
    }
    if (at) { Plotly.restyle(place, at, [find('best')]); }
    if (meta.kind === 'pair' && place.layout.shapes && place.layout.shapes.length) { isoLine(place, best, w); }
  }

  function isoLine(place, best, w) {
    // Far past the axes, so that it still crosses the plot after zooming out. A shape, not a trace: a trace would stretch the axes.
    var ends = ['xaxis', 'yaxis'].map(function (axis) {
      var range = content.plots[place.id].layout[axis].range, wide = 4 * (range[1] - range[0]);
      return [range[0] - wide, range[1] + wide];
    });
    var line = {}, along = Math.abs(w[1]) >= Math.abs(w[0]) ? 0 : 1;
    [0, 1].forEach(function (end) {
      var free = ends[along][end];
      var bound = (best.utility - w[along] * free) / w[1 - along];
      line['shapes[0].x' + end] = along === 0 ? free : bound;
      line['shapes[0].y' + end] = along === 0 ? bound : free;
    });
    Plotly.relayout(place, line);
  }

  var next = 0;
  sliders.forEach(function (slider) {
    slider.addEventListener('input', function () {
      if (!next) { next = requestAnimationFrame(function () { next = 0; weigh(); }); }
    });
  });

  // A click or tap on a point: its text stays at the foot of the window, with a way to its row.
  var chosen = document.getElementById('chosen');
  function goTo(id) {
    var row = document.getElementById(id);
    if (!row) { return; }
    document.querySelectorAll('tr.marked').forEach(function (r) { r.classList.remove('marked'); });
    row.classList.add('marked');
    row.scrollIntoView({ behavior: 'smooth', block: 'center', inline: 'start' });
  }
  function choose(id, text) {
    if (!id || !chosen) { return; }
    var parsed = new DOMParser().parseFromString(String(text || '').replace(/<br>/g, '\n'), 'text/html');
    chosen.querySelector('p').textContent = parsed.body.textContent.split('\n').filter(Boolean).join(' · ');
    chosen.dataset.row = id;
    chosen.hidden = false;
    document.querySelectorAll('tr.marked').forEach(function (r) { r.classList.remove('marked'); });
    var row = document.getElementById(id);
    if (row) { row.classList.add('marked'); }
  }
  document.querySelectorAll('button[data-act]').forEach(function (button) {
    button.addEventListener('click', function () {
      if (button.dataset.act === 'best') { goTo(document.getElementById('best').dataset.row); }
      if (button.dataset.act === 'row') { goTo(chosen.dataset.row); }
      if (button.dataset.act === 'close') { chosen.hidden = true; }
    });
  });

  document.querySelectorAll('button[data-front]').forEach(function (button) {
    button.addEventListener('click', function () {
      var on = button.getAttribute('aria-pressed') !== 'true', label = content.labels[Number(button.dataset.front)];
      button.setAttribute('aria-pressed', String(on));
      Object.keys(plots).forEach(function (name) {
        var which = [];
        plots[name].data.forEach(function (trace, i) { if (trace.legendgroup === label) { which.push(i); } });
        if (which.length) { Plotly.restyle(plots[name], { visible: on }, which); }
      });
    });
  });

  document.querySelectorAll('details.more').forEach(function (more) {
    more.addEventListener('toggle', function () { more.querySelectorAll('.plot').forEach(draw); });
  });

  document.querySelectorAll('table.sortable th button').forEach(function (button) {
    var heading = button.closest('th'), column = heading.cellIndex;
    button.addEventListener('click', function () {
      var body = heading.closest('table').tBodies[0];
      var key = function (row) {
        var cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      var up = heading.getAttribute('aria-sort') === 'descending' || !heading.hasAttribute('aria-sort');
      heading.closest('tr').querySelectorAll('th').forEach(function (other) { other.removeAttribute('aria-sort'); });
      heading.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      Array.from(body.rows).sort(function (a, b) {
        var x = key(a), y = key(b);
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      }).forEach(function (row) { body.appendChild(row); });
    });
  });

  drawAll();
})();
"""
