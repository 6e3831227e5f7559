// The part of a portrait that a clip shows, as echod/inference/face.py cuts it.

const { ceil, floor, max, min, round, trunc } = Math;

const DILATION = 0.5; // of the face box on each side

/** [left, top, right, bottom] in a picture with its face in `box`, if any, for a clip of that size. */
export function cropOf({ width, height, box }, [w, h]) {
  if (!box) return fit([0, 0, width, height], w, h);
  const face = box.map(Math.round);
  const rect = dilated(face, width, height);
  return w === h ? fit(rect, w, h) : roomFor(face, rect, [width, height], w, h);
}

/** The largest part of the rectangle with that aspect, centred. */
function fit([x0, y0, x1, y1], w, h) {
  const across = max(1, min(x1 - x0, floor(((y1 - y0) * w) / h)));
  const down = max(1, min(y1 - y0, floor(((x1 - x0) * h) / w)));
  const [left, top] = [start(x0, x1, across), start(y0, y1, down)];
  return [left, top, left + across, top + down];
}

/** The rectangle grown to that aspect as far as the picture goes; forehead goes before mouth and chin. */
function roomFor([x0, y0, x1, y1], [left, top, right, bottom], [width, height], w, h) {
  const across = max(1, min(max(right - left, floor(((bottom - top) * w) / h)), width, floor((height * w) / h)));
  const down = max(1, min(max(bottom - top, floor(((right - left) * h) / w)), height, floor((width * h) / w)));
  const x = inside(start(x0, x1, across), width - across);
  const y = inside(max(start(y0, y1, down), y1 - down), height - down);
  return [x, y, x + across, y + down];
}

const start = (from, to, size) => floor((from + to) / 2) - floor(size / 2);
const inside = (from, last) => max(0, min(from, last));

function dilated([x0, y0, x1, y1], width, height) {
  const [grow, rise] = [trunc(DILATION * (x1 - x0)), trunc(DILATION * (y1 - y0))];
  return [max(0, x0 - grow), max(0, y0 - rise), min(x1 + grow, width), min(y1 + rise, height)];
}

/** The face in a picture, as far as that shows it, and a pixel more: what a crop must hold. */
function faceOf({ width, height, box: [x0, y0, x1, y1] }) {
  return [max(0, floor(x0) - 1), max(0, floor(y0) - 1), min(width, ceil(x1) + 1), min(height, ceil(y1) + 1)];
}

const holds = (rect, [x0, y0, x1, y1]) => rect[0] <= x0 && rect[1] <= y0 && rect[2] >= x1 && rect[3] >= y1;

/** The crop as it is, or larger, so that it may be dragged; null where the picture has no room for that. */
export function looseCrop(facts, [w, h]) {
  const [face, crop, sides] = [faceOf(facts), cropOf(facts, [w, h]), [facts.width, facts.height]];
  const loose = holds(crop, face) ? crop : roomFor(face, dilated(face, ...sides), sides, w, h);
  return holds(loose, face) ? loose : null;
}

/** The crop so much further, inside the picture and around the face. */
export function moved([x0, y0, x1, y1], dx, dy, facts) {
  const [face, across, down] = [faceOf(facts), x1 - x0, y1 - y0];
  const x = round(max(0, face[2] - across, min(x0 + dx, face[0], facts.width - across)));
  const y = round(max(0, face[3] - down, min(y0 + dy, face[1], facts.height - down)));
  return [x, y, x + across, y + down];
}

/** The crop so many pixels across, in the shape of the frames; its corner that is not `right`, not `low`, stays. */
export function resized([x0, y0, x1, y1], across, { right, low }, [w, h], facts) {
  const face = faceOf(facts);
  const [x, y] = [right ? x0 : x1, low ? y0 : y1];
  const least = max(right ? face[2] - x : x - face[0], ceil(((low ? face[3] - y : y - face[1]) * w) / h));
  const most = min(right ? facts.width - x : x, floor(((low ? facts.height - y : y) * w) / h));
  const width = round(max(least, min(across, most)));
  const height = round((width * h) / w);
  return [right ? x : x - width, low ? y : y - height, right ? x + width : x, low ? y + height : y];
}

/** Draw that part of `picture` on a canvas, which gets the size of the clip. */
export function drawCrop(canvas, picture, [left, top, right, bottom], [width, height]) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(picture, left, top, right - left, bottom - top, 0, 0, width, height);
}

const LARGEST = 1920; // pixels a side, as clips of whole pictures are

/** Draw all of `picture` on a canvas, which gets the size of the clip. */
export function drawPicture(canvas, picture) {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const scale = min(1, LARGEST / max(width, height));
  drawCrop(canvas, picture, [0, 0, width, height], [floor(width * scale), floor(height * scale)]);
}
