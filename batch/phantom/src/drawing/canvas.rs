//! The drawing board of the phantom: layers of `f32`, antialiased strokes, curves. Positions and lengths are
//! fractions of the film's size (x to the right, y down), so that a film looks alike at every size.

/// A point, in fractions of the film's size.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

/// Shorthand for a [`Point`].
pub const fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Point {
    /// The point `length` away in the direction `angle` (radians, clockwise on the film from the right).
    pub fn towards(self, angle: f32, length: f32) -> Point {
        at(self.x + angle.cos() * length, self.y + angle.sin() * length)
    }

    /// The point `share` of the way to `other`.
    pub fn lerp(self, other: Point, share: f32) -> Point {
        at(self.x + (other.x - self.x) * share, self.y + (other.y - self.y) * share)
    }

    /// Distance to `other`.
    pub fn distance(self, other: Point) -> f32 {
        length(self.x - other.x, self.y - other.y)
    }
}

/// The length of a vector; quicker than `hypot`, and no film is large enough to overflow it.
pub fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// A rectangle in fractions of the film's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

impl Rect {
    /// The square of half-size `reach` around `centre`.
    pub fn around(centre: Point, reach: f32) -> Rect {
        Rect { left: centre.x - reach, top: centre.y - reach, right: centre.x + reach, bottom: centre.y + reach }
    }

    /// The smallest rectangle that holds `points`, grown by `margin`.
    pub fn holding(points: impl IntoIterator<Item = Point>, margin: f32) -> Rect {
        let mut rect = Rect { left: f32::MAX, top: f32::MAX, right: f32::MIN, bottom: f32::MIN };
        for p in points {
            rect.left = rect.left.min(p.x - margin);
            rect.right = rect.right.max(p.x + margin);
            rect.top = rect.top.min(p.y - margin);
            rect.bottom = rect.bottom.max(p.y + margin);
        }
        rect
    }
}

/// A window of the film, in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Window {
    /// The pixels that `rect` touches on a film of size `size`; may be empty.
    pub fn of(rect: Rect, size: usize) -> Window {
        let pixel = |v: f32| (v * size as f32).clamp(0.0, size as f32);
        let (left, top) = (pixel(rect.left).floor() as usize, pixel(rect.top).floor() as usize);
        let (right, bottom) = (pixel(rect.right).ceil() as usize, pixel(rect.bottom).ceil() as usize);
        Window { left, top, width: right.saturating_sub(left), height: bottom.saturating_sub(top) }
    }
}

/// Values over a window of a film.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Side of the whole film, pixels.
    pub size: usize,
    /// The part of the film that has values; they are 0 elsewhere.
    pub window: Window,
    /// Row-major, `window.width * window.height`.
    pub values: Vec<f32>,
}

impl Layer {
    /// Zeros over the whole film.
    pub fn film(size: usize) -> Layer {
        Layer::zeros(size, Window { left: 0, top: 0, width: size, height: size })
    }

    /// Zeros over `window`.
    pub fn zeros(size: usize, window: Window) -> Layer {
        Layer { size, window, values: vec![0.0; window.width * window.height] }
    }

    /// No values at all.
    pub fn empty(size: usize) -> Layer {
        Layer::zeros(size, Window { left: 0, top: 0, width: 0, height: 0 })
    }

    /// The values of `value` at the pixels' centres inside `rect`.
    pub fn drawn(size: usize, rect: Rect, value: impl Fn(Point) -> f32) -> Layer {
        let mut layer = Layer::zeros(size, Window::of(rect, size));
        layer.for_each(|p, v| *v = value(p));
        layer
    }

    /// Calls `change` with the centre and the value of each pixel of the window.
    pub fn for_each(&mut self, mut change: impl FnMut(Point, &mut f32)) {
        let (step, window) = (1.0 / self.size as f32, self.window);
        for (row, line) in self.values.chunks_exact_mut(window.width.max(1)).enumerate() {
            let y = ((window.top + row) as f32 + 0.5) * step;
            for (column, value) in line.iter_mut().enumerate() {
                change(at(((window.left + column) as f32 + 0.5) * step, y), value);
            }
        }
    }

    /// Adds `other`, which covers a part of the same film.
    pub fn add(&mut self, other: &Layer) {
        self.combine(other, |mine, theirs| *mine += theirs);
    }

    /// Calls `change` with each value of `self` that lies in the window of `other`, and the value there.
    pub fn combine(&mut self, other: &Layer, change: impl Fn(&mut f32, f32)) {
        let (mine, theirs) = (self.window, other.window);
        let left = mine.left.max(theirs.left);
        let right = (mine.left + mine.width).min(theirs.left + theirs.width);
        let top = mine.top.max(theirs.top);
        let bottom = (mine.top + mine.height).min(theirs.top + theirs.height);
        if left >= right {
            return;
        }
        for y in top..bottom {
            let from = (y - mine.top) * mine.width + left - mine.left;
            let there = (y - theirs.top) * theirs.width + left - theirs.left;
            let pairs = self.values[from..].iter_mut().zip(&other.values[there..]);
            pairs.take(right - left).for_each(|(m, t)| change(m, *t));
        }
    }

    /// The smallest window outside which no absolute value exceeds `least`; `None` when none does.
    pub fn extent(&self, least: f32) -> Option<Window> {
        let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
        for (i, v) in self.values.iter().enumerate() {
            if v.abs() > least {
                let (x, y) = (self.window.left + i % self.window.width, self.window.top + i / self.window.width);
                (left, right) = (left.min(x), right.max(x + 1));
                (top, bottom) = (top.min(y), bottom.max(y + 1));
            }
        }
        (right > 0).then(|| Window { left, top, width: right - left, height: bottom - top })
    }

    /// Draws a stroke; where strokes overlap, the larger value is kept, so that joints are not brighter.
    pub fn stroke(&mut self, knots: &[Knot], profile: Profile) {
        let pixel = 1.0 / self.size as f32;
        for pair in knots.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let reach = a.half_width.max(b.half_width).max(0.5 * pixel) * profile.reach() + pixel;
            for (index, p) in self.pixels(Rect::holding([a.place, b.place], reach)) {
                let near = Span(a, b).nearest(p);
                let value = near.strength * profile.value(near.distance, near.half_width, pixel);
                self.values[index] = self.values[index].max(value);
            }
        }
    }

    /// Draws a bone: an even body, brighter along the edges. The layer's window should hold little else.
    pub fn bone(&mut self, knots: &[Knot]) {
        let pixel = 1.0 / self.size as f32;
        // The bright edge needs the distance to the whole line: spans drawn one by one would mark each joint.
        let mut nearest = vec![[f32::MAX, 0.0]; self.values.len()];
        for pair in knots.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let area = Rect::holding([a.place, b.place], a.half_width.max(b.half_width) + pixel);
            for (index, p) in self.pixels(area) {
                let near = Span(a, b).nearest(p);
                let outside = near.distance - near.half_width;
                if outside < nearest[index][0] {
                    let middle = 1.0 - (near.distance / near.half_width.max(1e-6)).min(1.0);
                    nearest[index] = [outside, near.strength * (0.62 + 0.38 * smoothstep(0.6, 0.2, middle))];
                }
            }
        }
        for (value, [outside, strength]) in self.values.iter_mut().zip(nearest) {
            *value = value.max(strength * (0.5 - outside / pixel).clamp(0.0, 1.0));
        }
    }

    /// Index and centre of the pixels of the window that lie inside `rect`.
    fn pixels(&self, rect: Rect) -> impl Iterator<Item = (usize, Point)> + use<> {
        let (part, whole, step) = (Window::of(rect, self.size), self.window, 1.0 / self.size as f32);
        let (left, right) = (part.left.max(whole.left), (part.left + part.width).min(whole.left + whole.width));
        let (top, bottom) = (part.top.max(whole.top), (part.top + part.height).min(whole.top + whole.height));
        (top..bottom).flat_map(move |y| {
            let start = (y - whole.top) * whole.width;
            (left..right).map(move |x| (start + x - whole.left, at((x as f32 + 0.5) * step, (y as f32 + 0.5) * step)))
        })
    }
}

/// One knot of a stroke.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knot {
    /// Where.
    pub place: Point,
    /// Half the stroke's width there.
    pub half_width: f32,
    /// The stroke's value there.
    pub strength: f32,
}

/// The part of a stroke between two knots.
struct Span(Knot, Knot);

/// The point of a span that is nearest to a pixel.
struct Nearest {
    distance: f32,
    half_width: f32,
    strength: f32,
}

impl Span {
    fn nearest(&self, p: Point) -> Nearest {
        let Span(a, b) = self;
        let (dx, dy) = (b.place.x - a.place.x, b.place.y - a.place.y);
        let share = ((p.x - a.place.x) * dx + (p.y - a.place.y) * dy) / (dx * dx + dy * dy).max(1e-12);
        let share = share.clamp(0.0, 1.0);
        Nearest {
            distance: length(p.x - a.place.x - dx * share, p.y - a.place.y - dy * share),
            half_width: a.half_width + (b.half_width - a.half_width) * share,
            strength: a.strength + (b.strength - a.strength) * share,
        }
    }
}

/// Knots of one width and strength along `points`.
pub fn knots(points: &[Point], half_width: f32, strength: f32) -> Vec<Knot> {
    points.iter().map(|&place| Knot { place, half_width, strength }).collect()
}

/// The stroke with `per_span` knots between neighbours.
pub fn refine(stroke: &[Knot], per_span: usize) -> Vec<Knot> {
    let places: Vec<Point> = stroke.iter().map(|k| k.place).collect();
    let finer = curve(&places, per_span);
    let between = |i: usize, place: Point| {
        let (a, b) = (stroke[i / per_span], stroke[(i / per_span + 1).min(stroke.len() - 1)]);
        let share = (i % per_span) as f32 / per_span as f32;
        let mix = |from: f32, to: f32| from + (to - from) * share;
        Knot { place, half_width: mix(a.half_width, b.half_width), strength: mix(a.strength, b.strength) }
    };
    finer.into_iter().enumerate().map(|(i, place)| between(i, place)).collect()
}

/// How a stroke fades across its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Round, like a vessel.
    Soft,
    /// Even, with a sharp edge.
    Flat,
}

impl Profile {
    /// How far the profile reaches, in half widths.
    fn reach(self) -> f32 {
        match self {
            Self::Soft => 1.6,
            Self::Flat => 1.0,
        }
    }

    fn value(self, distance: f32, half_width: f32, pixel: f32) -> f32 {
        // A stroke thinner than a pixel is drawn a pixel wide and fainter.
        let drawn = half_width.max(0.5 * pixel);
        let thin = half_width / drawn;
        let d = distance / drawn;
        thin * match self {
            Self::Soft => {
                let rest = (1.0 - (d / 1.6) * (d / 1.6)).max(0.0);
                rest * rest
            }
            Self::Flat => ((drawn - distance) / pixel + 0.5).clamp(0.0, 1.0),
        }
    }
}

/// A smooth curve through `points`, `per_span` steps between neighbours (Catmull-Rom).
pub fn curve(points: &[Point], per_span: usize) -> Vec<Point> {
    let Some(last) = points.len().checked_sub(1) else { return Vec::new() };
    let mut out = Vec::with_capacity(last * per_span + 1);
    for i in 0..last {
        let (p0, p1, p2, p3) = (points[i.saturating_sub(1)], points[i], points[i + 1], points[(i + 2).min(last)]);
        let spline = |a: f32, b: f32, c: f32, d: f32, t: f32| {
            0.5 * (2.0 * b
                + (c - a) * t
                + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                + (3.0 * b - a - 3.0 * c + d) * t * t * t)
        };
        for step in 0..per_span {
            let t = step as f32 / per_span as f32;
            out.push(at(spline(p0.x, p1.x, p2.x, p3.x, t), spline(p0.y, p1.y, p2.y, p3.y, t)));
        }
    }
    out.push(points[last]);
    out
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn smoothstep(low: f32, high: f32, v: f32) -> f32 {
    let t = ((v - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The smaller of two values, rounded off where they differ by less than `round`.
pub fn smooth_min(a: f32, b: f32, round: f32) -> f32 {
    let h = (round - (a - b).abs()).max(0.0) / round;
    a.min(b) - h * h * round * 0.25
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stroke_is_as_wide_as_asked_at_every_size() {
        for size in [128usize, 512] {
            let mut layer = Layer::film(size);
            layer.stroke(&knots(&[at(0.2, 0.5), at(0.8, 0.5)], 0.05, 1.0), Profile::Flat);
            let extent = layer.extent(0.5).unwrap();
            let share = extent.height as f32 / size as f32;
            assert!((share - 0.1).abs() < 0.02, "{size}: {share}");
        }
    }

    #[test]
    fn a_bone_is_brighter_at_its_edge_and_even_along_its_line() {
        let mut layer = Layer::film(256);
        let points: Vec<Point> = (0..20).map(|i| at(0.1 + 0.04 * i as f32, 0.5)).collect();
        layer.bone(&knots(&points, 0.04, 1.0));
        let value = |x: usize, y: usize| layer.values[y * 256 + x];
        assert!(value(128, 128 + 9) > value(128, 128) + 0.2, "{} {}", value(128, 137), value(128, 128));
        let line: Vec<f32> = (60..180).map(|x| value(x, 128)).collect();
        let (least, most) = line.iter().fold((f32::MAX, f32::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
        assert!(most - least < 0.01, "{least} {most}");
    }

    #[test]
    fn a_hair_keeps_its_weight_below_one_pixel() {
        let weight = |half_width: f32| {
            let mut layer = Layer::film(64);
            layer.stroke(&knots(&[at(0.2, 0.503), at(0.8, 0.503)], half_width, 1.0), Profile::Flat);
            layer.values.iter().sum::<f32>()
        };
        let ratio = weight(0.001) / weight(0.004);
        assert!((ratio - 0.25).abs() < 0.05, "{ratio}");
    }

    #[test]
    fn strokes_outside_the_film_are_cut() {
        let mut layer = Layer::film(32);
        layer.stroke(&knots(&[at(-0.5, 0.5), at(1.5, 0.5)], 0.1, 1.0), Profile::Soft);
        assert_eq!(layer.extent(0.1).map(|w| (w.left, w.width)), Some((0, 32)));
        let mut outside = Layer::film(32);
        outside.bone(&knots(&[at(2.0, 2.0), at(3.0, 3.0)], 0.1, 1.0));
        assert_eq!(outside.extent(0.0), None);
        assert_eq!(Layer::empty(32).extent(0.0), None);
    }

    #[test]
    fn a_curve_passes_through_its_points() {
        assert!(curve(&[], 4).is_empty());
        assert_eq!(curve(&[at(0.1, 0.2)], 4), vec![at(0.1, 0.2)]);
        let points = [at(0.0, 0.0), at(0.5, 0.3), at(1.0, 0.0)];
        let through = curve(&points, 4);
        assert_eq!((through[0], through[4], through[8]), (points[0], points[1], points[2]));
    }
}
