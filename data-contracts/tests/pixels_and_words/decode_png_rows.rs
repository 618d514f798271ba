//! PNG files whose rows come one by one, and interlaced ones, whose pixels come in seven passes.

use std::io::Write;

use d2r_contracts::decode::{ImageDecodeOptions, decode};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const WIDTH: usize = 45;
const HEIGHT: usize = 38;
/// First column and row of a pass, and their distances (PNG 8.2).
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = Crc::new();
    checked.update(&[kind.as_slice(), data].concat());
    [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &checked.sum().to_be_bytes()].concat()
}

/// A ramp with alpha that changes; colours are nearly grey.
fn pixel(x: usize, y: usize, colour_type: u8, bytes_per_sample: usize) -> Vec<u8> {
    let level = (x * 800 + y * 650) as u16;
    let channels: &[u16] = match colour_type {
        0 => &[level],
        2 => &[level, level + 600, level],
        4 => &[level, (x * 999) as u16],
        _ => &[level, level + 600, level, (y * 999) as u16],
    };
    channels.iter().flat_map(|v| v.to_be_bytes()[..bytes_per_sample].to_vec()).collect()
}

fn png(colour_type: u8, bytes_per_sample: usize, is_interlaced: bool) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    let passes: &[[usize; 4]] = if is_interlaced { &PASSES } else { &[[0, 0, 1, 1]] };
    for &[left, top, dx, dy] in passes {
        for y in (top..HEIGHT).step_by(dy) {
            // No filter.
            rows.write_all(&[0]).unwrap();
            for x in (left..WIDTH).step_by(dx) {
                rows.write_all(&pixel(x, y, colour_type, bytes_per_sample)).unwrap();
            }
        }
    }
    let size = [WIDTH as u32, HEIGHT as u32].map(u32::to_be_bytes).concat();
    let header = [size, vec![8 * bytes_per_sample as u8, colour_type, 0, 0, is_interlaced.into()]].concat();
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &rows.finish().unwrap()), chunk(b"IEND", &[])];
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
}

#[test]
fn interlaced_files_are_read_like_others_and_alpha_is_left_out() {
    let read = |colour_type, bytes, is_interlaced| {
        decode(&png(colour_type, bytes, is_interlaced), &ImageDecodeOptions::default()).unwrap()
    };
    for bytes_per_sample in [1, 2] {
        for (plain, with_alpha) in [(0, 4), (2, 6)] {
            let expected = read(plain, bytes_per_sample, false);
            for (colour_type, is_interlaced) in [(plain, true), (with_alpha, false), (with_alpha, true)] {
                let decoded = read(colour_type, bytes_per_sample, is_interlaced);
                assert_eq!(
                    decoded, expected,
                    "type {colour_type}, {bytes_per_sample} bytes, interlaced: {is_interlaced}"
                );
            }
        }
    }
    let grey = read(0, 1, true).radiograph.pixels;
    let expected: Vec<u8> = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| pixel(x, y, 0, 1)[0])).collect();
    assert_eq!(grey, expected);
}
