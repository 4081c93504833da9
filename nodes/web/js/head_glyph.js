/**
 * A small head as the camera of DualEnc Camera sees it: pure functions from a pose to SVG paths.
 *
 * World as in the library: +y up, +z out of the face, +x to the viewer's right from the front. Angles in degrees. The
 * picture is -1..1 in x (right) and y (down), with the frame of the rendered image at its border.
 */

const DEG = Math.PI / 180;
const STEPS = 72;
const HEAD = { center: [0, 0.01, 0], axes: [0.165, 0.22, 0.195] };
const EARS = [-1, 1].map((side) => ({ center: [side * 0.166, 0, -0.015], axes: [0.02, 0.05, 0.034] }));
// Bridge, tip, nostrils.
const NOSE = [[0, 0.03, 0.185], [0, -0.045, 0.232], [-0.028, -0.058, 0.185], [0.028, -0.058, 0.185]];
const FACE = { pitch: -20, size: 64 };
const RING = { height: -0.22, size: 0.25, notch: 0.3 };
// Sizes at which the glyph is still a head: PanoHead's usual frame gives 3.2.
const MIN_ZOOM = 0.7;
const MAX_ZOOM = 7;

const add = (a, b) => a.map((x, i) => x + b[i]);
const scale = (a, s) => a.map((x) => x * s);
const times = (a, b) => a.map((x, i) => x * b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const unit = (a) => scale(a, 1 / Math.hypot(...a));
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

/** Unit vector to a yaw and pitch, as of a camera that stands there. */
export function direction(yaw, pitch) {
  const [y, p] = [yaw * DEG, pitch * DEG];
  return [Math.sin(y) * Math.cos(p), Math.sin(p), Math.cos(y) * Math.cos(p)];
}

/** The camera's axes in the world, as Camera.look_at has them: right, up, and back (from the head to the camera). */
export function cameraAxes({ yaw, pitch, roll }) {
  const back = direction(yaw, pitch);
  const right = [Math.cos(yaw * DEG), 0, -Math.sin(yaw * DEG)];
  const up = cross(back, right);
  const [c, s] = [Math.cos(roll * DEG), Math.sin(roll * DEG)];
  return { right: add(scale(right, c), scale(up, -s)), up: add(scale(right, s), scale(up, c)), back };
}

/** Frames per world unit at the distance of the head. */
function zoomOf({ radius, fov }) {
  const zoom = 1 / (radius * Math.tan((fov * DEG) / 2));
  return Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom || 0));
}

/** Loop of unit vectors at an angle (degrees) round a direction. */
function loop(middle, angle) {
  const side = unit(cross(Math.abs(middle[1]) < 0.9 ? [0, 1, 0] : [1, 0, 0], middle));
  const other = cross(middle, side);
  const [c, s] = [Math.cos(angle * DEG), Math.sin(angle * DEG)];
  return Array.from({ length: STEPS }, (_, i) => {
    const turn = (2 * Math.PI * i) / STEPS;
    const round = add(scale(side, Math.cos(turn)), scale(other, Math.sin(turn)));
    return add(scale(middle, c), scale(round, s));
  });
}

/** Points on the screen → the convex polygon round them (Andrew's monotone chain). */
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  const chain = (list) => {
    const border = [];
    for (const point of list) {
      while (border.length > 1 && turn(border.at(-2), border.at(-1), point) <= 0) border.pop();
      border.push(point);
    }
    return border.slice(0, -1);
  };
  return [...chain(sorted), ...chain(sorted.reverse())];
}

const path = (points, end = "Z") => `M${points.map(([x, y]) => `${x.toFixed(4)} ${y.toFixed(4)}`).join("L")}${end}`;

/**
 * Paths of the head in painting order.
 *
 * @param {{yaw: number, pitch: number, roll: number, radius: number, fov: number}} pose
 * @returns {{part: string, d: string}[]} part names a style: frame, ring, neck, ear, hair, face, eye, mouth, nose.
 */
export function headGlyph(pose) {
  const { right, up, back } = cameraAxes(pose);
  const zoom = zoomOf(pose);
  const project = (p) => [dot(p, right) * zoom, -dot(p, up) * zoom];
  const inFront = (p) => dot(p, back) > 0;

  // The view in the space where an ellipsoid is the unit sphere; across it is the silhouette.
  const seenFrom = (axes) => unit(back.map((x, i) => x / axes[i]));
  const outline = ({ center, axes }) => loop(seenFrom(axes), 90).map((u) => project(add(center, times(u, axes))));
  const seen = seenFrom(HEAD.axes);
  const onHead = (u) => project(add(HEAD.center, times(u, HEAD.axes)));

  // Of a cap of the head the visible part is convex if its middle is in front, else that of the rest of the head is.
  const capOrRest = (middle, angle) => {
    const sign = dot(middle, seen) >= 0 ? 1 : -1;
    const edge = loop(middle, angle).filter((u) => dot(u, seen) >= 0);
    const horizon = loop(seen, 90).filter((u) => (dot(u, middle) - Math.cos(angle * DEG)) * sign > 0);
    return { isCap: sign > 0, border: path(hull([...edge, ...horizon].map(onHead))) };
  };
  const silhouette = path(outline(HEAD));
  const face = capOrRest(direction(0, FACE.pitch), FACE.size);
  const eyes = [-1, 1].map((side) => capOrRest(direction(side * 24, 3), 6.5)).filter((eye) => eye.isCap);
  const mouth = [-24, -16, -8, 0, 8, 16, 24].map((yaw) => direction(yaw, -37 + (yaw / 10) ** 2 * 0.7));
  const smile = mouth.filter((u) => dot(u, seen) > 0).map(onHead);

  const neck = { part: "neck", d: path(hull([-0.14, -0.27].flatMap((y) => circle(y, 0.075, -0.035)).map(project))) };
  const nose = { part: "nose", d: path(hull(NOSE.map(project))) };
  const ear = (one) => ({ part: "ear", d: path(outline(one)) });
  const ring = (far) => ({ part: "ring", d: ringHalf(back, far).map((line) => path(line.map(project), "")).join("") });

  return [
    { part: "frame", d: "M-1 -1L1 -1L1 1L-1 1Z" },
    ring(true),
    ...(back[1] >= 0 ? [neck] : []),
    ...EARS.filter((one) => !inFront(one.center)).map(ear),
    ...(inFront(NOSE[1]) ? [] : [nose]),
    { part: face.isCap ? "hair" : "face", d: silhouette },
    { part: face.isCap ? "face" : "hair", d: face.border },
    { part: "outline", d: silhouette },
    ...eyes.map((eye) => ({ part: "eye", d: eye.border })),
    ...(smile.length > 1 ? [{ part: "mouth", d: path(smile, "") }] : []),
    ...(back[1] < 0 ? [neck] : []),
    ...(inFront(NOSE[1]) ? [nose] : []),
    ...EARS.filter((one) => inFront(one.center)).map(ear),
    ring(false),
  ];
}

/** Points of a level circle at a height, round z. */
function circle(y, size, z) {
  return loop([0, 1, 0], 90).map((u) => [u[0] * size, y, u[2] * size + z]);
}

/** Lines of the far or near half of the ring round the neck, with a notch where the face looks. */
function ringHalf(back, far) {
  const at = (turn, size) => [Math.sin(turn) * size, RING.height, Math.cos(turn) * size];
  const start = Math.atan2(back[0], back[2]) + (far ? Math.PI / 2 : -Math.PI / 2);
  const half = Array.from({ length: STEPS / 2 + 1 }, (_, i) => at(start + (Math.PI * 2 * i) / STEPS, RING.size));
  const notch = [at(-0.12, RING.size), at(0, RING.notch), at(0.12, RING.size)];
  return back[2] < 0 === far ? [half, notch] : [half];
}
