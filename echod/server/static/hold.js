// A button that is held while one talks; or tapped to begin, and tapped again to end.

const HOLD = 300; // ms: a shorter press is a tap

const isPress = (event) => event.key === " " || event.key === "Enter";

/** `begin` and `end` are called in turn, `end` only while `active()`: by mouse, touch, keyboard or a screen reader. */
export function holdable(button, { begin, end, active }) {
  let since = 0; // when it was pressed to begin; 0 after the press that ended it

  function press() {
    since = active() ? 0 : performance.now();
    if (since) begin();
    else end();
  }

  function release() {
    if (active() && since && performance.now() - since > HOLD) end();
  }

  button.onpointerdown = ({ pointerId }) => {
    button.setPointerCapture(pointerId);
    press();
  };
  button.onpointerup = button.onpointercancel = release;
  button.onkeydown = (event) => {
    if (!isPress(event)) return;
    event.preventDefault(); // no click beside it
    if (!event.repeat) press();
  };
  button.onkeyup = (event) => isPress(event) && release();
  button.onclick = ({ detail, pointerType }) => detail === 0 && !pointerType && press(); // by assistive technology
  button.oncontextmenu = (event) => event.preventDefault(); // what a long touch would open
}
