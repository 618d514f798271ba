//! Assignment of points to target boxes (FCOS, arXiv:1904.01355, section 3.2): a point is a positive of a box if it
//! lies strictly inside, its largest distance to an edge is within the level's range and, in torchvision's profile, it
//! is near the box's centre (centre sampling); of several boxes it takes the smallest. Torchvision compares areas at a
//! resolution of 8 square pixels; here they are exact, and of equal areas the first box is taken.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Model;

use crate::detector::fcos::points::Point;
use crate::detector::target::Target;

/// Half the size of the centre region, in strides.
const CENTRE_RADIUS: f32 = 1.5;

/// Which points inside a box are its positives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointRule {
    /// Within 1.5 strides of the centre, largest distance strictly within the level's range (torchvision).
    NearCentre,
    /// All, largest distance within the level's range, bounds included (Unbiased Teacher v2).
    Anywhere,
}

/// For each point the index of its target; `None` is background. Targets without area have no positives.
pub fn assign(points: &[Point], targets: &[Target], rule: PointRule) -> Vec<Option<usize>> {
    let proper: Vec<(usize, &BoxXyxy<Model>)> =
        targets.iter().map(|t| &t.region).enumerate().filter(|(_, b)| b.is_proper()).collect();
    points.iter().map(|p| smallest_match(p, &proper, rule)).collect()
}

/// All points that match a target, regardless of other targets. A target without area has none.
pub fn points_of(points: &[Point], target: &Target, rule: PointRule) -> Vec<usize> {
    let region = &target.region;
    (0..points.len()).filter(|&i| region.is_proper() && matches(&points[i], region, rule)).collect()
}

fn smallest_match(point: &Point, boxes: &[(usize, &BoxXyxy<Model>)], rule: PointRule) -> Option<usize> {
    let mut best: Option<(f32, usize)> = None;
    for (index, b) in boxes {
        if matches(point, b, rule) && best.is_none_or(|(area, _)| b.area() < area) {
            best = Some((b.area(), *index));
        }
    }
    best.map(|(_, index)| index)
}

fn matches(point: &Point, b: &BoxXyxy<Model>, rule: PointRule) -> bool {
    let (x, y) = b.centre();
    let distances = [point.x - b.x_min, point.y - b.y_min, b.x_max - point.x, b.y_max - point.y];
    let smallest = distances.into_iter().fold(f32::INFINITY, f32::min);
    let largest = distances.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let off_centre = (point.x - x).abs().max((point.y - y).abs());
    let accepted = match rule {
        PointRule::NearCentre => {
            off_centre < CENTRE_RADIUS * point.stride && largest > point.distance_min && largest < point.distance_max
        }
        PointRule::Anywhere => largest >= point.distance_min && largest <= point.distance_max,
    };
    smallest > 0.0 && accepted
}

#[cfg(test)]
mod tests {
    use d2r_contracts::space::ImageSize;

    use super::*;
    use crate::detector::fcos::points::points;
    use crate::detector::pyramid::levels_of;

    fn grid() -> Vec<Point> {
        points(&levels_of(ImageSize { width: 32, height: 32 }, &[[8, 8], [4, 4]], 2), false)
    }

    fn target(class_id: i32, corners: [f32; 4]) -> Target {
        let [a, b, c, d] = corners;
        Target::truth(class_id, BoxXyxy::new(a, b, c, d))
    }

    fn matched(targets: &[Target]) -> Vec<(usize, usize)> {
        assign(&grid(), targets, PointRule::NearCentre)
            .into_iter()
            .enumerate()
            .filter_map(|(i, m)| Some((i, m?)))
            .collect()
    }

    #[test]
    fn the_smaller_of_nested_boxes_wins_and_ties_go_to_the_first() {
        let nested = [target(0, [2.0, 2.0, 14.0, 14.0]), target(1, [6.0, 6.0, 10.0, 10.0])];
        let found = matched(&nested);
        assert!(found.contains(&(2 * 8 + 2, 1)), "the point (8, 8) is assigned to the inner box: {found:?}");
        assert!(found.contains(&(8 + 1, 0)), "the point (4, 4) is assigned to the outer one: {found:?}");
        let twins = [nested[1], nested[1]];
        assert_eq!(matched(&twins), [(18, 0)]);
    }

    #[test]
    fn points_on_an_edge_are_outside() {
        // (8, 8) lies on the left edge.
        assert_eq!(matched(&[target(0, [8.0, 4.5, 11.5, 11.5])]), []);
    }

    #[test]
    fn degenerate_and_missing_boxes_match_nothing() {
        assert_eq!(matched(&[]), []);
        assert_eq!(matched(&[target(0, [8.0, 8.0, 8.0, 20.0]), target(0, [f32::NAN, 0.0, 9.0, 9.0])]), []);
    }

    #[test]
    fn a_box_too_large_for_the_first_level_goes_to_the_second() {
        let found = matched(&[target(0, [-30.0, -30.0, 46.0, 46.0])]);
        assert!(!found.is_empty() && found.iter().all(|(i, _)| *i >= 64), "{found:?}");
    }
}
