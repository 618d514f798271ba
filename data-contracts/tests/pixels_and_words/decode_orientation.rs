use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{Decoded, ImageDecodeOptions, Orientation, decode};
use d2r_contracts::space::{ImageSize, Original};
use image::metadata::Orientation as ExifOrientation;
use image::{DynamicImage, GrayImage, Luma};

use crate::raster_file::{exif, jpeg, jpeg_with_exif, png, png_with_exif};

/// Dark, with a bright rectangle from (8, 4) to (24, 12), so that no turn leaves it as it is.
fn stored() -> GrayImage {
    GrayImage::from_fn(56, 40, |x, y| Luma([if (8..24).contains(&x) && (4..12).contains(&y) { 240 } else { 16 }]))
}

fn shown(orientation: Orientation) -> GrayImage {
    let mut image = DynamicImage::ImageLuma8(stored());
    image.apply_orientation(ExifOrientation::from_exif(orientation.exif()).unwrap());
    image.into_luma8()
}

fn read(bytes: &[u8]) -> Decoded {
    decode(bytes, &ImageDecodeOptions::default()).unwrap()
}

#[test]
fn a_jpeg_is_turned_as_its_exif_orientation_says() {
    for orientation in Orientation::ALL {
        for big_endian in [false, true] {
            let block = exif(orientation.exif().into(), big_endian);
            let decoded = read(&jpeg_with_exif(stored(), &block));
            assert_eq!(decoded.orientation, orientation);
            assert_eq!(decoded.stored_size, ImageSize { width: 56, height: 40 });
            assert_eq!(decoded.radiograph.size(), orientation.shown_size(decoded.stored_size));
            let expected = shown(orientation);
            let close = decoded.radiograph.pixels.iter().zip(expected.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 8);
            assert!(close, "{orientation:?}");
        }
    }
}

#[test]
fn a_png_is_turned_as_its_exif_chunk_says_before_or_behind_the_pixels() {
    for orientation in Orientation::ALL {
        let file = png_with_exif(stored(), &exif(orientation.exif().into(), true));
        let decoded = read(&file);
        assert_eq!(decoded.orientation, orientation);
        assert_eq!(decoded.radiograph.pixels, shown(orientation).into_raw(), "{orientation:?}");
        // The same chunk behind the pixels.
        let at = file.windows(4).position(|w| w == b"eXIf").unwrap() - 4;
        let length = 12 + u32::from_be_bytes(*file[at..].first_chunk().unwrap()) as usize;
        let end = file.len() - 12;
        let moved = [&file[..at], &file[at + length..end], &file[at..at + length], &file[end..]].concat();
        assert_eq!(read(&moved), decoded);
    }
}

#[test]
fn a_16_bit_png_is_turned_too() {
    let deep = image::ImageBuffer::from_fn(56, 40, |x, y| Luma([(x * 500 + y * 900) as u16]));
    let upright = read(&png(deep.clone()));
    let turned = read(&png_with_exif(deep, &exif(6, false)));
    assert_eq!((turned.radiograph.width, turned.radiograph.height), (40, 56));
    // Value 6: stored (x, y) is shown at (height - 1 - y, x).
    assert_eq!(turned.radiograph.get(39, 10), upright.radiograph.get(10, 0));
    assert_eq!(turned.radiograph.get(0, 55), upright.radiograph.get(55, 39));
}

#[test]
fn without_a_valid_orientation_the_image_stays_as_it_is_stored() {
    for block in [exif(0, true), exif(9, false), exif(300, true), b"II*\0".to_vec(), vec![0xff; 40], Vec::new()] {
        let decoded = read(&jpeg_with_exif(stored(), &block));
        assert_eq!((decoded.orientation, decoded.radiograph.size()), (Orientation::Upright, decoded.stored_size));
    }
    assert_eq!(read(&jpeg(stored())).orientation, Orientation::Upright);
    assert_eq!(read(&png(stored())).orientation, Orientation::Upright);
}

#[test]
fn a_turned_box_frames_what_it_framed_in_the_stored_image() {
    let b = BoxXyxy::<Original>::new(8.0, 4.0, 24.0, 12.0);
    for orientation in Orientation::ALL {
        let decoded = read(&png_with_exif(stored(), &exif(orientation.exif().into(), false)));
        let turned = orientation.turn_box(&b, decoded.stored_size);
        for y in 0..decoded.radiograph.height {
            for x in 0..decoded.radiograph.width {
                let (u, v) = (x as f32, y as f32);
                let is_inside = u >= turned.x_min && u < turned.x_max && v >= turned.y_min && v < turned.y_max;
                let level = decoded.radiograph.get(x, y).unwrap();
                assert_eq!(level, if is_inside { 240 } else { 16 }, "{orientation:?} at {x}, {y}");
            }
        }
        assert_eq!(orientation.turn_box_back(&turned, decoded.stored_size), b, "{orientation:?}");
    }
}
