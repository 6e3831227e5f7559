// The part of a portrait that a clip shows, as echod/inference/face.py cuts it.

const DILATION = 0.5; // of the face box on each side

/** [left, top, right, bottom] in a picture of `width` x `height` with its face in `box`, if any, for such a clip. */
export function cropOf({ width, height, box }, [w, h]) {
  if (!box) return fit([0, 0, width, height], w, h);
  const face = box.map(Math.round);
  const rect = dilated(face, width, height);
  return w === h ? fit(rect, w, h) : roomFor(face, rect, [width, height], w, h);
}

/** The largest part of the rectangle with that aspect, centred. */
function fit([x0, y0, x1, y1], w, h) {
  const across = Math.max(1, Math.min(x1 - x0, Math.floor(((y1 - y0) * w) / h)));
  const down = Math.max(1, Math.min(y1 - y0, Math.floor(((x1 - x0) * h) / w)));
  const left = Math.floor((x0 + x1) / 2) - Math.floor(across / 2);
  const top = Math.floor((y0 + y1) / 2) - Math.floor(down / 2);
  return [left, top, left + across, top + down];
}

/** The rectangle grown to that aspect as far as the picture goes; forehead goes before mouth and chin. */
function roomFor([x0, y0, x1, y1], [left, top, right, bottom], [width, height], w, h) {
  const grownAcross = Math.max(right - left, Math.floor(((bottom - top) * w) / h));
  const grownDown = Math.max(bottom - top, Math.floor(((right - left) * h) / w));
  const across = Math.max(1, Math.min(grownAcross, width, Math.floor((height * w) / h)));
  const down = Math.max(1, Math.min(grownDown, height, Math.floor((width * h) / w)));
  const centred = Math.floor((y0 + y1) / 2) - Math.floor(down / 2);
  const x = inside(Math.floor((x0 + x1) / 2) - Math.floor(across / 2), width - across);
  const y = inside(Math.max(centred, y1 - down), height - down);
  return [x, y, x + across, y + down];
}

const inside = (start, last) => Math.max(0, Math.min(start, last));

function dilated([x0, y0, x1, y1], width, height) {
  const [grow, rise] = [Math.trunc(DILATION * (x1 - x0)), Math.trunc(DILATION * (y1 - y0))];
  return [Math.max(0, x0 - grow), Math.max(0, y0 - rise), Math.min(x1 + grow, width), Math.min(y1 + rise, height)];
}

/** Draw that part of `picture` on a canvas, which gets the size of the clip. */
export function drawCrop(canvas, picture, [left, top, right, bottom], [width, height]) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(picture, left, top, right - left, bottom - top, 0, 0, width, height);
}
