//! The uniform border of a picture: padding, or the unexposed area beside the collimator.

use crate::radiograph::Radiograph;
use crate::space::{ImageSize, PixelRect};

/// Grey levels that a line of the border may differ from its own median.
const TOLERANCE: u8 = 6;
/// Share of a line's pixels that must lie within the tolerance: a marker or a few letters do not end a border.
const UNIFORM_SHARE: f64 = 0.98;
/// Most of the width and of the height that is taken for border, at each edge.
const BORDER_SHARE_MAX: f64 = 0.45;
/// Pixels of a line that are examined; they are evenly spaced.
const SAMPLES: usize = 512;

/// The picture without its uniform border. A picture that is uniform as a whole keeps its middle tenth.
pub fn content(radiograph: &Radiograph) -> PixelRect {
    let (width, height) = (radiograph.width as usize, radiograph.height as usize);
    let most = |n: usize| (n as f64 * BORDER_SHARE_MAX) as usize;
    let mut line = Vec::with_capacity(SAMPLES + 1);
    let mut row = |y: usize, from: usize, to: usize| {
        let step = ((to - from) / SAMPLES).max(1);
        line.clear();
        line.extend(radiograph.pixels[y * width + from..y * width + to].iter().step_by(step));
        is_uniform(&mut line)
    };
    let top = (0..most(height)).take_while(|&y| row(y, 0, width)).count();
    let bottom = (0..most(height)).take_while(|&y| row(height - 1 - y, 0, width)).count();
    let rows = height - top - bottom;
    let mut line = Vec::with_capacity(SAMPLES + 1);
    let mut column = |x: usize| {
        let step = (rows / SAMPLES).max(1);
        line.clear();
        line.extend((top..top + rows).step_by(step).map(|y| radiograph.pixels[y * width + x]));
        is_uniform(&mut line)
    };
    let left = (0..most(width)).take_while(|&x| column(x)).count();
    let right = (0..most(width)).take_while(|&x| column(width - 1 - x)).count();
    PixelRect {
        left: left as u32,
        top: top as u32,
        size: ImageSize { width: (width - left - right) as u32, height: rows as u32 },
    }
}

fn is_uniform(line: &mut [u8]) -> bool {
    if line.is_empty() {
        return false;
    }
    let middle = line.len() / 2;
    let median = *line.select_nth_unstable(middle).1;
    let near = line.iter().filter(|v| v.abs_diff(median) <= TOLERANCE).count();
    near as f64 >= UNIFORM_SHARE * line.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A textured picture of 60 x 40 pixels with a border of `margin` pixels at each edge.
    fn bordered(margin: [usize; 4], level: u8) -> Radiograph {
        let [left, top, right, bottom] = margin;
        let (width, height) = (60 + left + right, 40 + top + bottom);
        let mut pixels = vec![level; width * height];
        for y in 0..40 {
            for x in 0..60 {
                pixels[(top + y) * width + left + x] = (60 + (x * 37 + y * 91) % 150) as u8;
            }
        }
        Radiograph::new(width as u32, height as u32, pixels).unwrap()
    }

    #[test]
    fn the_border_is_cut_at_each_edge_whatever_its_level() {
        for level in [0, 128, 255] {
            let found = content(&bordered([5, 0, 12, 7], level));
            assert_eq!((found.left, found.top), (5, 0), "{level}");
            assert_eq!(found.size, ImageSize { width: 60, height: 40 }, "{level}");
        }
    }

    #[test]
    fn a_picture_without_border_and_a_uniform_one_keep_pixels() {
        let plain = bordered([0; 4], 0);
        assert_eq!(content(&plain).size, plain.size());
        let uniform = Radiograph::new(100, 50, vec![9; 5000]).unwrap();
        let found = content(&uniform);
        assert_eq!(found.size, ImageSize { width: 10, height: 6 });
        let one = Radiograph::new(1, 1, vec![9]).unwrap();
        assert_eq!(content(&one).size, one.size());
    }

    #[test]
    fn a_marker_does_not_end_the_border() {
        let mut marked = bordered([0, 20, 0, 0], 0);
        marked.pixels[10 * 60 + 30] = 255;
        assert_eq!(content(&marked).top, 20);
    }
}
