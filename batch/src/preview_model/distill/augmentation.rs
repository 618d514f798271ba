//! Training films are moved a little and shown in other greys; never mirrored, since reports name sides.

use rand::{Rng, RngExt};
use tch::{Kind, Tensor};

/// Largest change of size, as a share.
const ZOOM: f32 = 0.1;
/// Largest shift, as a share of the side.
const SHIFT: f32 = 0.05;
/// Largest turn, radians.
const TURN: f32 = 0.08;

/// A turn and a change of size about the film's centre, then a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Above 1 is larger.
    pub zoom: f32,
    /// Radians, from x to y.
    pub turn: f32,
    /// To the right and down, as shares of the side.
    pub shift: [f32; 2],
}

impl Move {
    /// Leaves a film where it is.
    pub const NONE: Self = Self { zoom: 1.0, turn: 0.0, shift: [0.0; 2] };

    /// A small one.
    pub fn drawn(rng: &mut impl Rng) -> Self {
        let mut within = |most: f32| rng.random_range(-most..=most);
        Self { zoom: 1.0 + within(ZOOM), turn: within(TURN), shift: [within(SHIFT), within(SHIFT)] }
    }

    /// Where a box `x_min y_min x_max y_max`, shares of the side, comes to lie: its centre turns, its sides stay upright.
    pub fn of_box(&self, [x_min, y_min, x_max, y_max]: [f32; 4]) -> [f32; 4] {
        let (x, y) = ((x_min + x_max) / 2.0 - 0.5, (y_min + y_max) / 2.0 - 0.5);
        let (sin, cos) = self.turn.sin_cos();
        let x_new = (x * cos - y * sin) * self.zoom + 0.5 + self.shift[0];
        let y_new = (x * sin + y * cos) * self.zoom + 0.5 + self.shift[1];
        let (w, h) = ((x_max - x_min) / 2.0 * self.zoom, (y_max - y_min) / 2.0 * self.zoom);
        [x_new - w, y_new - h, x_new + w, y_new + h]
    }

    /// From a place in the moved film to its source, both from -1 to 1: two rows of an affine map.
    fn source(&self) -> [f32; 6] {
        let (sin, cos) = self.turn.sin_cos();
        let (a, b) = (cos / self.zoom, sin / self.zoom);
        let [x, y] = self.shift.map(|s| 2.0 * s);
        [a, b, -a * x - b * y, -b, a, b * x - a * y]
    }
}

/// What shows where nothing of the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Black, as a letterbox's rim.
    Black,
    /// The nearest value.
    Nearest,
}

/// Each of `[B, C, H, W]` moved its own way, bilinear.
pub fn moved(maps: &Tensor, moves: &[Move], beyond: Beyond) -> Tensor {
    let rows: Vec<f32> = moves.iter().flat_map(Move::source).collect();
    let rows = Tensor::from_slice(&rows).view([-1, 2, 3]).to_device(maps.device());
    let grid = Tensor::affine_grid_generator(&rows, maps.size(), false);
    maps.grid_sampler(&grid, 0, i64::from(beyond == Beyond::Nearest), false)
}

/// Contrast, brightness and noise, drawn anew for each film of `[B, 1, S, S]`.
pub fn in_other_greys(films: &Tensor) -> Tensor {
    let shape = [films.size()[0], 1, 1, 1];
    let per_film = |low: f64, high: f64| films.new_empty(shape, (Kind::Float, films.device())).uniform_(low, high);
    let curved = films.clamp_min(1e-4).pow(&per_film(0.8, 1.25));
    let noisy = curved * per_film(0.85, 1.15) + per_film(-0.06, 0.06) + films.randn_like() * 0.01;
    noisy.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A film of 64 px, black but for a square around a place given as shares.
    fn square(x: f32, y: f32) -> Tensor {
        let film = Tensor::zeros([1, 1, 64, 64], (Kind::Float, tch::Device::Cpu));
        let at = |v: f32| (v * 64.0) as i64 - 3;
        let _ = film.narrow(2, at(y), 6).narrow(3, at(x), 6).fill_(1.0);
        film
    }

    #[test]
    fn a_film_and_its_boxes_move_together() {
        let film = square(0.75, 0.25);
        for (zoom, turn, shift) in [(1.1, 0.0, [0.0, 0.0]), (1.0, 0.08, [0.0, 0.0]), (0.9, -0.08, [0.05, -0.03])] {
            let there = Move { zoom, turn, shift };
            let [x_min, y_min, x_max, y_max] = there.of_box([0.7, 0.2, 0.8, 0.3]);
            let (x, y) = ((x_min + x_max) / 2.0, (y_min + y_max) / 2.0);
            let seen = moved(&film, &[there], Beyond::Black).squeeze();
            let total = f64::try_from(seen.sum(Kind::Float)).unwrap();
            let places = (Tensor::arange(64, (Kind::Float, tch::Device::Cpu)) + 0.5) / 64.0;
            let mean = |axis: i64| {
                let along = seen.sum_dim_intlist([axis].as_slice(), false, Kind::Float);
                f64::try_from((along * &places).sum(Kind::Float)).unwrap() / total
            };
            let (found_x, found_y) = (mean(0), mean(1));
            assert!(
                (found_x - f64::from(x)).abs() < 0.01 && (found_y - f64::from(y)).abs() < 0.01,
                "{there:?}: {found_x} {found_y} against {x} {y}"
            );
        }
        let still = moved(&film, &[Move::NONE], Beyond::Black);
        assert!(f64::try_from((still - &film).abs().max()).unwrap() < 1e-5);
    }
}
