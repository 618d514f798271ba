use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::preprocess::{Fit, InputSpec, crop_region, grey_statistics, mirror, resize, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Model, Original, PixelRect};
use serde_json::Value;

use crate::from_hex;

/// Grey levels by which two correct roundings of the same filter may differ.
const GREY_LEVELS: u8 = 1;

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

#[test]
fn resizing_agrees_with_pillow() {
    let golden: Value = serde_json::from_str(include_str!("../../golden/resize.json")).unwrap();
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let source = Radiograph::new(
            number(&case["width"]),
            number(&case["height"]),
            from_hex(case["pixels"].as_str().unwrap()),
        )
        .unwrap();
        for expected in case["resized"].as_array().unwrap() {
            let (width, height) = (number(&expected["width"]), number(&expected["height"]));
            let ours = resize(&source, ImageSize { width, height });
            let theirs = from_hex(expected["pixels"].as_str().unwrap());
            assert_eq!(ours.pixels.len(), theirs.len());
            let worst = ours.pixels.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= GREY_LEVELS, "{} to {width} x {height}: {worst} levels off", case["name"]);
            compared += 1;
        }
    }
    assert!(compared >= 20, "only {compared} images compared");
}

#[test]
fn shrinking_averages_instead_of_skipping() {
    // Without a widened support every second column would survive: all black or all white.
    let stripes = Radiograph::new(64, 64, (0..64 * 64).map(|i| if i % 2 == 0 { 0 } else { 255 }).collect()).unwrap();
    assert!(resize(&stripes, ImageSize::square(8)).pixels.iter().all(|&p| (120..=136).contains(&p)));
}

fn spec(size: u32, fit: Fit) -> InputSpec {
    InputSpec { size, fit, mean: 0.5, std: 0.25 }
}

#[test]
fn letterboxing_centres_the_image_on_black() {
    let white = Radiograph::new(200, 100, vec![255; 200 * 100]).unwrap();
    let input = to_model_input(&white, &spec(64, Fit::Letterbox));
    let rows: Vec<u8> = input.pixels.chunks(64).map(|row| row[0]).collect();
    assert_eq!(rows, [[0; 16].as_slice(), &[255; 32], &[0; 16]].concat());
    let map = input.letterbox;
    assert_eq!((map.scale_x, map.scale_y, map.pad_x, map.pad_y), (0.32, 0.32, 0.0, 16.0));
    let whole = map.model_from_original(&BoxXyxy::<Original>::new(0.0, 0.0, 200.0, 100.0));
    assert_eq!(whole, BoxXyxy::<Model>::new(0.0, 16.0, 64.0, 48.0));
}

#[test]
fn squashing_fills_the_square() {
    let white = Radiograph::new(200, 100, vec![255; 200 * 100]).unwrap();
    let input = to_model_input(&white, &spec(64, Fit::Squash));
    assert_eq!(input.pixels, vec![255; 64 * 64]);
    assert_eq!((input.letterbox.scale_x, input.letterbox.scale_y), (0.32, 0.64));
}

#[test]
fn an_image_of_the_models_size_is_unchanged() {
    let radiograph = Radiograph::new(40, 40, (0..1600).map(|i| (i % 251) as u8).collect()).unwrap();
    assert_eq!(to_model_input(&radiograph, &spec(40, Fit::Letterbox)).pixels, radiograph.pixels);
    assert_eq!(resize(&radiograph, ImageSize::square(40)), radiograph);
}

#[test]
fn extreme_shapes_keep_pixels() {
    let line = Radiograph::new(5000, 1, vec![200; 5000]).unwrap();
    let input = to_model_input(&line, &spec(32, Fit::Letterbox));
    assert_eq!(input.pixels.iter().filter(|&&p| p == 200).count(), 64, "an even square has even margins");
    let input = to_model_input(&line, &spec(33, Fit::Letterbox));
    assert_eq!(input.pixels.iter().filter(|&&p| p == 200).count(), 33);
    assert_eq!(resize(&line, ImageSize::square(0)).pixels.len(), 1);
}

#[test]
fn a_flipped_image_gives_a_flipped_input() {
    let noisy = |width: u32, height: u32| {
        let pixels = (0..width * height).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Radiograph::new(width, height, pixels).unwrap()
    };
    let turned = |square: &[u8], size: usize| -> Vec<u8> {
        square.chunks(size).flat_map(|row| row.iter().rev().copied()).collect()
    };
    for (width, height) in [(97, 131), (130, 131), (41, 64), (200, 67), (64, 64)] {
        let radiograph = noisy(width, height);
        let mirrored = mirror(&radiograph);
        for size in [32, 33, 64] {
            let input = |radiograph: &Radiograph| to_model_input(radiograph, &spec(size, Fit::Letterbox)).pixels;
            assert_eq!(turned(&input(&radiograph), size as usize), input(&mirrored), "{width} x {height} at {size}");
            let lesion = BoxXyxy::<Original>::new(3.2, 5.0, 30.7, 33.4);
            let crop =
                |radiograph: &Radiograph, at: &BoxXyxy<Original>| crop_region(radiograph, at, size, 0.1).unwrap();
            let own = crop(&radiograph, &lesion);
            assert_eq!(turned(&own, size as usize), crop(&mirrored, &lesion.mirrored(width as f32)));
        }
    }
}

/// 100 x 80, black but for the white rectangle x 20..60, y 30..50.
fn one_lesion() -> (Radiograph, BoxXyxy<Original>) {
    let pixels =
        (0..8000).map(|i| if (20..60).contains(&(i % 100)) && (30..50).contains(&(i / 100)) { 255 } else { 0 });
    (Radiograph::new(100, 80, pixels.collect()).unwrap(), BoxXyxy::new(20.0, 30.0, 60.0, 50.0))
}

#[test]
fn a_crop_shows_its_box_and_pads_the_short_axis() {
    let (radiograph, lesion) = one_lesion();
    let crop = crop_region(&radiograph, &lesion, 40, 0.0).unwrap();
    let rows: Vec<u8> = crop.chunks(40).map(|row| row[20]).collect();
    assert_eq!(rows, [[0; 10].as_slice(), &[255; 20], &[0; 10]].concat());
    assert!(crop[10 * 40..30 * 40].iter().all(|&p| p == 255));
}

#[test]
fn a_margin_widens_the_crop_by_its_share_of_the_box() {
    let (radiograph, lesion) = one_lesion();
    let crop = crop_region(&radiograph, &lesion, 60, 0.25).unwrap();
    // 40 px and 10 px of margin on each side: the lesion takes the middle two thirds of the width.
    let middle: Vec<u8> = crop[30 * 60..31 * 60].to_vec();
    assert_eq!(middle, [[0; 10].as_slice(), &[255; 40], &[0; 10]].concat());
}

#[test]
fn boxes_outside_the_image_are_clipped_and_degenerate_ones_dropped() {
    let (radiograph, _) = one_lesion();
    let crop = |a: f32, b: f32, c: f32, d: f32| crop_region(&radiograph, &BoxXyxy::new(a, b, c, d), 16, 0.1);
    assert!(crop(-50.0, -50.0, 30.0, 40.0).is_some());
    assert!(crop(-1e30, -1e30, 1e30, 1e30).is_some());
    assert!(crop(10.0, 10.0, 18.0, 18.0).is_some());
    assert!(crop(10.0, 10.0, 17.9, 18.0).is_none(), "7.9 px wide");
    assert!(crop(96.0, 10.0, 140.0, 60.0).is_none(), "4 px inside the radiograph");
    assert!(crop(120.0, 10.0, 140.0, 60.0).is_none(), "outside the radiograph");
    assert!(crop(30.0, 10.0, 20.0, 60.0).is_none(), "inverted");
    assert!(crop(f32::NAN, 0.0, 20.0, 20.0).is_none());
    assert!(crop(0.0, 0.0, f32::INFINITY, 20.0).is_none());
    assert!(crop_region(&radiograph, &BoxXyxy::new(0.0, 0.0, 20.0, 20.0), 0, 0.1).is_none());
    assert!(crop_region(&radiograph, &BoxXyxy::new(0.0, 0.0, 20.0, 20.0), 16, f32::NAN).is_some());
}

#[test]
fn a_box_below_a_five_thousandth_of_the_image_is_dropped() {
    let radiograph = Radiograph::new(1000, 1000, vec![9; 1_000_000]).unwrap();
    assert!(crop_region(&radiograph, &BoxXyxy::new(0.0, 0.0, 14.0, 14.0), 16, 0.0).is_none(), "196 px");
    assert!(crop_region(&radiograph, &BoxXyxy::new(0.0, 0.0, 15.0, 14.0), 16, 0.0).is_some(), "210 px");
}

#[test]
fn flipping_swaps_columns_and_twice_is_the_identity() {
    let radiograph = Radiograph::new(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(mirror(&radiograph).pixels, [3, 2, 1, 6, 5, 4]);
    assert_eq!(mirror(&mirror(&radiograph)), radiograph);
}

#[test]
fn grey_statistics_are_those_of_the_part_alone() {
    // Numpy: mean and std of [10, 200, 30, 40] / 255.
    let radiograph = Radiograph::new(3, 2, vec![10, 200, 255, 30, 40, 255]).unwrap();
    let part = |left, width| PixelRect { left, top: 0, size: ImageSize { width, height: 2 } };
    let [mean, std] = grey_statistics(&radiograph, part(0, 2));
    assert!((mean - 0.2745098).abs() < 1e-6 && (std - 0.2973677).abs() < 1e-6, "{mean} {std}");
    assert_eq!(grey_statistics(&radiograph, part(2, 1)), [1.0, 0.0]);
    assert_eq!(grey_statistics(&radiograph, part(0, 0)), [0.0, 0.0]);
}
