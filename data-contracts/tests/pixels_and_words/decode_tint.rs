use d2r_contracts::decode::notes::Colour;
use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};

use crate::raster_file::{jpeg, png};

/// Smooth light and dark with fine lines and a black border, all grey levels: what a radiograph has.
fn radiograph(size: u32) -> GrayImage {
    GrayImage::from_fn(size, size, |x, y| {
        let (u, v) = (x as f32 / size as f32, y as f32 / size as f32);
        let is_border = u < 0.06 || v > 0.95;
        let soft = 0.5 + 0.5 * (7.0 * u).sin() * (5.0 * v + 1.0).cos();
        let lines = 0.12 * ((x * 3 + y) as f32 * 0.7).sin();
        Luma([if is_border { 0 } else { ((soft + lines) * 255.0).clamp(0.0, 255.0) as u8 }])
    })
}

fn tinted(grey: &GrayImage, tint: impl Fn(f32) -> [f32; 3]) -> RgbImage {
    RgbImage::from_fn(grey.width(), grey.height(), |x, y| {
        Rgb(tint(f32::from(grey.get_pixel(x, y)[0])).map(|v| v.round().clamp(0.0, 255.0) as u8))
    })
}

type Tint = (&'static str, fn(f32) -> [f32; 3]);

const TINTS: [Tint; 7] = [
    ("blue", |v| [0.78 * v, 1.06 * v, 1.25 * v]),
    ("strong blue", |v| [0.3 * v, 0.6 * v, v]),
    ("sepia", |v| [1.2 * v + 10.0, v, 0.7 * v]),
    ("green phosphor", |v| [0.1 * v, v, 0.2 * v]),
    ("blue cast", |v| [0.8 * v, 0.9 * v, 0.8 * v + 50.0]),
    ("blue base, clear highlights", |v| [v, v, 90.0 + v * 165.0 / 255.0]),
    // A colour map that begins with violet and ends with yellow.
    ("violet to yellow", |v| [68.0 + v * 0.72, 1.0 + v * 0.9, 84.0 + 90.0 * (v * 0.0123).sin() - v * 0.2]),
];

fn read(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, &ImageDecodeOptions::default())
}

fn code(bytes: &[u8]) -> &'static str {
    read(bytes).map_or_else(|e| e.code(), |_| "accepted")
}

fn luma(rgb: &Rgb<u8>) -> u8 {
    let [r, g, b] = rgb.0.map(u32::from);
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

fn jpeg_of(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    bytes
}

#[test]
fn a_tinted_png_gives_its_luminance() {
    for size in [80, 300] {
        for (name, tint) in TINTS {
            let image = tinted(&radiograph(size), tint);
            let decoded = read(&png(image.clone())).unwrap_or_else(|e| panic!("{name}, {size}: {e}"));
            assert_eq!(decoded.colour, Colour::Tinted, "{name}, {size}");
            let expected: Vec<u8> = image.pixels().map(luma).collect();
            assert_eq!(decoded.radiograph.pixels, expected, "{name}, {size}");
        }
    }
}

#[test]
fn a_tinted_jpeg_with_its_noise_gives_its_luminance() {
    for (name, tint) in &TINTS[..6] {
        let image = tinted(&radiograph(300), tint);
        for quality in [50, 75, 95] {
            let decoded = read(&jpeg_of(&image, quality)).unwrap_or_else(|e| panic!("{name}, {quality}: {e}"));
            assert_eq!(decoded.colour, Colour::Tinted, "{name}, {quality}");
            let error: u64 = decoded
                .radiograph
                .pixels
                .iter()
                .zip(image.pixels())
                .map(|(&level, rgb)| u64::from(level.abs_diff(luma(rgb))))
                .sum();
            let mean = error as f64 / decoded.radiograph.pixels.len() as f64;
            assert!(mean < 6.0, "{name}, {quality}: {mean} levels off");
        }
    }
}

#[test]
fn a_tinted_16_bit_png_is_windowed() {
    let grey = radiograph(120);
    let deep = ImageBuffer::from_fn(120, 120, |x, y| {
        let v = u16::from(grey.get_pixel(x, y)[0]) * 200;
        Rgb([v / 2, v, v + v / 4])
    });
    let decoded = read(&png(deep)).unwrap();
    assert_eq!(decoded.colour, Colour::Tinted);
    assert!(decoded.window.is_some());
    assert!(decoded.radiograph.pixels.contains(&255) && decoded.radiograph.pixels.contains(&0));
}

#[test]
fn grey_in_one_channel_is_read_from_it() {
    let grey = radiograph(100);
    for channel in 0..3 {
        let image = RgbImage::from_fn(100, 100, |x, y| {
            let mut rgb = [0; 3];
            rgb[channel] = grey.get_pixel(x, y)[0];
            Rgb(rgb)
        });
        let decoded = read(&png(image)).unwrap();
        assert_eq!((decoded.colour, &decoded.radiograph.pixels), (Colour::OneChannel, grey.as_raw()), "{channel}");
    }
}

#[test]
fn marks_in_another_colour_may_cover_a_twentieth_of_a_tinted_image() {
    let marked = |columns: u32| {
        let mut image = tinted(&radiograph(100), TINTS[0].1);
        for (x, _, pixel) in image.enumerate_pixels_mut() {
            if x >= 100 - columns {
                *pixel = Rgb([220, 30, 30]);
            }
        }
        png(image)
    };
    assert_eq!(code(&marked(5)), "accepted");
    assert_eq!(code(&marked(7)), "colour_photograph");
}

#[test]
fn photographs_and_drawings_remain_refused() {
    let image = |f: fn(u32, u32) -> [u8; 3]| DynamicImage::from(RgbImage::from_fn(128, 128, |x, y| Rgb(f(x, y))));
    // Sky above grass, with light and shade in both.
    let landscape = image(|x, y| {
        let shade = ((x * 7 + y * 13) % 60) as u8;
        if y < 64 { [90 + shade, 140 + shade, 190 + shade] } else { [60 + shade, 120 + shade, 30 + shade / 2] }
    });
    // Skin before a blue wall: the same luminance in two hues.
    let portrait = image(|x, y| {
        let is_face = (x as i32 - 64).pow(2) + (y as i32 - 64).pow(2) < 1600;
        let light = (y as u8) / 2 + (x % 16) as u8;
        if is_face {
            [160 + light / 2, 110 + light / 2, 80 + light / 3]
        } else {
            [40 + light, 70 + light, 150 + light / 2]
        }
    });
    let gradients = image(|x, y| [(x * 2) as u8, (y * 2) as u8, 128]);
    // Four flat colours: each luminance has one colour, and few occur.
    let flag = image(|x, y| match (x < 64, y < 64) {
        (true, true) => [200, 30, 30],
        (true, false) => [20, 180, 30],
        (false, true) => [10, 20, 220],
        (false, false) => [240, 230, 20],
    });
    // A colour map of which luminance is no measure: blue, green and red, dark at both ends.
    let rainbow = image(|x, y| {
        let v = ((x * 2 + y) % 256) as i32;
        [(v - 85) * 3, 255 - (v - 128).abs() * 2, (170 - v) * 3].map(|c| c.clamp(0, 255) as u8)
    });
    let red = image(|_, _| [200, 30, 30]);
    for (name, image) in [
        ("landscape", landscape),
        ("portrait", portrait),
        ("gradients", gradients),
        ("flag", flag),
        ("rainbow", rainbow),
        ("red", red),
    ] {
        assert_eq!(code(&png(image.clone())), "colour_photograph", "{name} as PNG");
        assert_eq!(code(&jpeg(image)), "colour_photograph", "{name} as JPEG");
    }
}
