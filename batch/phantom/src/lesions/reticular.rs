//! Reticular lesions: the edges of random cells, coarse (fibrosis) or fine (interstitial disease).

use super::Contribution;
use crate::body::chest::Chest;
use crate::drawing::canvas::{Layer, Point, Rect, at, length, smoothstep};
use crate::drawing::noise::{SmoothNoise, scramble};
use crate::lesions::opacity::masked;

/// A net over an elliptic part of one lung.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// Its middle.
    pub centre: Point,
    /// Half its width and half its height.
    pub radius: Point,
    /// Side of a cell.
    pub cell: f32,
    /// Density of the threads.
    pub strength: f32,
    /// Share of the air that is gone between the threads.
    pub haze: f32,
    /// Seed of the cells.
    pub seed: u64,
}

impl Net {
    pub(super) fn contribution(&self, chest: &Chest, size: usize) -> Contribution {
        let reach = self.radius.x.max(self.radius.y) * 1.3;
        let own_side = chest.side_of(self.centre);
        let outline = SmoothNoise::new(self.seed ^ 9, 10.0);
        let amount = |p: Point| {
            if chest.side_of(p) != own_side {
                return 0.0;
            }
            let k = length((p.x - self.centre.x) / self.radius.x, (p.y - self.centre.y) / self.radius.y);
            smoothstep(1.12, 0.85, k + 0.15 * outline.at(p))
        };
        let area = Rect::around(self.centre, reach);
        // Threads are crooked and of uneven strength.
        let (warp_x, warp_y) =
            (SmoothNoise::new(self.seed ^ 1, 0.45 / self.cell), SmoothNoise::new(self.seed ^ 2, 0.45 / self.cell));
        let uneven = SmoothNoise::new(self.seed ^ 3, 0.7 / self.cell);
        let mut add = Layer::drawn(size, area, |p| {
            let amount = amount(p);
            if amount == 0.0 {
                return 0.0;
            }
            let bent = at(p.x + 0.6 * self.cell * warp_x.at(p), p.y + 0.6 * self.cell * warp_y.at(p));
            self.strength * amount * (0.75 + 0.5 * uneven.at(p)) * self.thread(bent)
        });
        masked(&mut add, chest);
        Contribution { fill: Layer::drawn(size, area, |p| self.haze * amount(p)), add, ..Contribution::none(size) }
    }

    /// 1 on the border between two cells, 0 inside a cell.
    fn thread(&self, p: Point) -> f32 {
        let (x, y) = (p.x / self.cell, p.y / self.cell);
        let (column, row) = (x.floor(), y.floor());
        let (mut nearest, mut second) = (f32::MAX, f32::MAX);
        for dy in -1i64..=1 {
            for dx in -1i64..=1 {
                let (i, j) = (column as i64 + dx, row as i64 + dy);
                let word = scramble(self.seed ^ ((i as u64) << 32 | (j as u64 & 0xFFFF_FFFF)));
                let jitter = |bits: u64| 0.1 + 0.8 * (bits & 0xFFFF) as f32 / 65535.0;
                let distance = length(x - i as f32 - jitter(word), y - j as f32 - jitter(word >> 16));
                if distance < nearest {
                    (nearest, second) = (distance, nearest);
                } else if distance < second {
                    second = distance;
                }
            }
        }
        smoothstep(0.40, 0.04, second - nearest)
    }
}
