//! Whether colour is a function of luminance: a tinted radiograph or a colour map, in contrast to a photograph.
//!
//! The pixels are sorted by luminance into steps. The mean colour of each step, smoothed by a median so that a coloured
//! mark of one luminance has no say, is the curve of the tint. In a tinted image almost all pixels lie on the curve;
//! JPEG moves single pixels away from it at edges, since it stores colour at a lower resolution, but not the means of
//! small blocks. In a photograph, things of the same luminance have different colours.

use super::colour::{CHANNEL_SPREAD_MAX, COLOURED_SHARE_MAX, Rgb};
use crate::space::ImageSize;

/// Steps between the darkest and the brightest luminance.
const STEPS: usize = 64;
/// Luminances are compared in tenths of a grey level.
const LUMAS: usize = 2551;
/// This share of the pixels, or of the blocks, lies nearer to the curve than [`DISTANCE_MAX`].
const SHARE_ON_CURVE: f64 = 0.9;
/// Grey levels of the channel that differs most. JPEG of quality 50 stays below; a fundus photograph, which has few
/// hues, does not.
const DISTANCE_MAX: usize = 8;
/// Side of a block whose colour is averaged, pixels.
const BLOCK: usize = 4;
/// A radiograph uses many levels of luminance (28 steps on the average, 14 at least in 50 radiographs), a drawing few.
const STEPS_USED_MIN: f64 = 10.0;
/// Neighbouring steps of a tint have similar colours: the channels differ by no more than this.
const STEP_CHANGE_MAX: f32 = 40.0;
/// Share of the pixels that are in steps with such a neighbour.
const SHARE_CONNECTED: f64 = 0.6;
/// Grey levels between the dark and the bright parts of a radiograph, in its widest channel.
const IMAGE_RANGE_MIN: u8 = 40;

/// How often each level of a channel occurs.
pub(super) struct ChannelRange {
    counts: [u64; 256],
    total: u64,
}

impl ChannelRange {
    pub(super) fn of<P: Rgb>(pixels: &[P], channel: usize) -> Self {
        let mut counts = [0; 256];
        for pixel in pixels {
            counts[usize::from(pixel.rgb()[channel])] += 1;
        }
        Self { counts, total: pixels.len() as u64 }
    }

    /// The difference of the levels at the two ends, a share `tail` of the pixels left out at each.
    pub(super) fn width(&self, tail: f64) -> u8 {
        (level_at(&self.counts, self.total, 1.0 - tail) - level_at(&self.counts, self.total, tail)) as u8
    }

    pub(super) fn holds_an_image(&self) -> bool {
        self.width(COLOURED_SHARE_MAX) >= IMAGE_RANGE_MIN
    }
}

/// The smallest level up to which there are a share of `share` of all values.
fn level_at(counts: &[u64], total: u64, share: f64) -> usize {
    let wanted = (share * total as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    let found = counts.iter().position(|&count| {
        seen += count;
        seen >= wanted
    });
    found.unwrap_or(0)
}

/// Whether the pixels' colours lie on one curve.
pub(super) fn is_tint<P: Rgb>(pixels: &[P], size: ImageSize) -> bool {
    let Some(curve) = Curve::of(pixels) else { return false };
    let distances = curve.distances(pixels);
    let on_curve = |counts: &[u64; 256], total: usize| level_at(counts, total as u64, SHARE_ON_CURVE) <= DISTANCE_MAX;
    let far: u64 = distances[usize::from(CHANNEL_SPREAD_MAX) + 1..].iter().sum();
    if far as f64 > COLOURED_SHARE_MAX * pixels.len() as f64 || !curve.is_connected || curve.steps_used < STEPS_USED_MIN
    {
        return false;
    }
    if on_curve(&distances, pixels.len()) {
        return true;
    }
    let blocks = block_means(pixels, size);
    Curve::of(&blocks).is_some_and(|curve| on_curve(&curve.distances(&blocks), blocks.len()))
}

/// Mean colours of whole blocks.
fn block_means<P: Rgb>(pixels: &[P], size: ImageSize) -> Vec<[u8; 3]> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut means = Vec::with_capacity(pixels.len() / (BLOCK * BLOCK));
    for top in (0..=height.saturating_sub(BLOCK)).step_by(BLOCK) {
        for left in (0..=width.saturating_sub(BLOCK)).step_by(BLOCK) {
            let mut sums = [0u32; 3];
            for row in top..top + BLOCK {
                for pixel in pixels.iter().skip(row * width + left).take(BLOCK) {
                    sums.iter_mut().zip(pixel.rgb()).for_each(|(sum, value)| *sum += u32::from(value));
                }
            }
            means.push(sums.map(|sum| (sum / (BLOCK * BLOCK) as u32) as u8));
        }
    }
    means
}

/// Colour as a function of luminance.
struct Curve {
    /// For each luminance the channels' differences from it.
    offsets: Vec<[f32; 3]>,
    /// Whether most pixels are in steps with a neighbour of a similar colour.
    is_connected: bool,
    /// Number of steps that would hold the pixels if each held the same number; the fullest step (a background) is left
    /// out.
    steps_used: f64,
}

/// Pixels of one step.
#[derive(Clone, Copy, Default)]
struct Step {
    index: usize,
    count: f64,
    luma: f64,
    offsets: [f64; 3],
}

/// Luminance in tenths of a grey level (BT.601).
fn luma_index([red, green, blue]: [u8; 3]) -> usize {
    (299 * usize::from(red) + 587 * usize::from(green) + 114 * usize::from(blue) + 50) / 100
}

impl Curve {
    /// `None` for pixels of one luminance.
    fn of<P: Rgb>(pixels: &[P]) -> Option<Self> {
        let mut counts = vec![0u64; LUMAS];
        for pixel in pixels {
            counts[luma_index(pixel.rgb())] += 1;
        }
        let total = pixels.len() as u64;
        let (low, high) = (level_at(&counts, total, 0.01), level_at(&counts, total, 0.99));
        if high <= low {
            return None;
        }
        let mut steps = [Step::default(); STEPS];
        for pixel in pixels.iter().map(Rgb::rgb) {
            let luma = luma_index(pixel);
            let index = (luma.clamp(low, high) - low) * STEPS / (high - low);
            let step = &mut steps[index.min(STEPS - 1)];
            let level = luma as f64 / 10.0;
            step.count += 1.0;
            step.luma += level;
            step.offsets.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(value) - level);
        }
        let used: Vec<Step> = (0..STEPS)
            .filter(|&index| steps[index].count > 0.0)
            .map(|index| {
                let Step { count, luma, offsets, .. } = steps[index];
                Step { index, count, luma: luma / count, offsets: offsets.map(|sum| sum / count) }
            })
            .collect();
        let smooth = smoothed(&used);
        Some(Self {
            is_connected: connected(&smooth) >= SHARE_CONNECTED * total as f64,
            steps_used: steps_used(&smooth),
            offsets: (0..LUMAS).map(|luma| interpolated(&smooth, luma as f64 / 10.0)).collect(),
        })
    }

    /// How many pixels are at each distance from the curve, grey levels of the channel that differs most.
    fn distances<P: Rgb>(&self, pixels: &[P]) -> [u64; 256] {
        let mut counts = [0; 256];
        for pixel in pixels.iter().map(Rgb::rgb) {
            let luma = luma_index(pixel);
            let level = luma as f32 / 10.0;
            let of = |c: usize| (f32::from(pixel[c]) - level - self.offsets[luma][c]).abs();
            counts[(of(0).max(of(1)).max(of(2)).round() as usize).min(255)] += 1;
        }
        counts
    }
}

/// Each step's offsets replaced by the median of five steps, of fewer near the ends.
fn smoothed(steps: &[Step]) -> Vec<Step> {
    let median = |at: usize, channel: usize| {
        let reach = at.min(steps.len() - 1 - at).min(2);
        let mut near: Vec<f64> = steps[at - reach..=at + reach].iter().map(|s| s.offsets[channel]).collect();
        near.sort_by(f64::total_cmp);
        near[reach]
    };
    (0..steps.len()).map(|at| Step { offsets: [0, 1, 2].map(|channel| median(at, channel)), ..steps[at] }).collect()
}

/// Number of pixels in steps that have a neighbour of a similar colour.
fn connected(steps: &[Step]) -> f64 {
    let colour = |step: &Step| step.offsets.map(|offset| (step.luma + offset) as f32);
    let similar = |a: &Step, b: &Step| {
        let (one, other) = (colour(a), colour(b));
        a.index + 1 == b.index && (0..3).all(|c| (one[c] - other[c]).abs() <= STEP_CHANGE_MAX)
    };
    let has_neighbour = |at: usize| {
        (at > 0 && similar(&steps[at - 1], &steps[at])) || (at + 1 < steps.len() && similar(&steps[at], &steps[at + 1]))
    };
    (0..steps.len()).filter(|&at| has_neighbour(at)).map(|at| steps[at].count).sum()
}

fn steps_used(steps: &[Step]) -> f64 {
    let fullest = steps.iter().map(|s| s.count).fold(0.0, f64::max);
    let sum: f64 = steps.iter().map(|s| s.count).sum::<f64>() - fullest;
    let squares: f64 = steps.iter().map(|s| s.count * s.count).sum::<f64>() - fullest * fullest;
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Offsets at a luminance, on the line between two steps; those of the first or the last step beyond them.
fn interpolated(steps: &[Step], luma: f64) -> [f32; 3] {
    let after = steps.partition_point(|s| s.luma <= luma);
    let (Some(right), Some(left)) = (steps.get(after), after.checked_sub(1).map(|at| &steps[at])) else {
        let end = if after == 0 { steps.first() } else { steps.last() };
        return end.map_or([0.0; 3], |s| s.offsets.map(|offset| offset as f32));
    };
    let share = (luma - left.luma) / (right.luma - left.luma);
    [0, 1, 2].map(|c| (left.offsets[c] + share * (right.offsets[c] - left.offsets[c])) as f32)
}
