// How loud the microphone hears, as bars that move by.

const BAR = 10; // pixels of the canvas, with a gap of
const GAP = 4;

/** Draws `levels`, 0..1, each the peak of 100 ms, the newest at the right, in the canvas's colour. */
export function drawLevel(canvas, levels) {
  const [brush, middle] = [canvas.getContext("2d"), canvas.height / 2];
  brush.clearRect(0, 0, canvas.width, canvas.height);
  brush.fillStyle = getComputedStyle(canvas).color;
  levels.slice(-canvas.width / BAR).reverse().forEach((level, i) => {
    const tall = Math.max(3, Math.sqrt(level) * canvas.height);
    brush.fillRect(canvas.width - (i + 1) * BAR, middle - tall / 2, BAR - GAP, tall);
  });
}
