use d2r_contracts::decode::{DecodeError, FileKind, ImageDecodeOptions, decode};
use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};

use crate::raster_file::{jpeg, png};

fn levels(bytes: &[u8]) -> Vec<u8> {
    decode(bytes, &ImageDecodeOptions::default()).unwrap().radiograph.pixels
}

fn code(bytes: &[u8]) -> &'static str {
    decode(bytes, &ImageDecodeOptions::default()).unwrap_err().code()
}

/// 48 x 40 with all grey levels.
fn ramp() -> GrayImage {
    GrayImage::from_fn(48, 40, |x, y| Luma([(x * 5 + y) as u8]))
}

#[test]
fn an_8_bit_png_keeps_its_levels() {
    let decoded = decode(&png(ramp()), &ImageDecodeOptions::default()).unwrap();
    assert_eq!(decoded.radiograph.pixels, ramp().into_raw());
    assert_eq!((decoded.radiograph.width, decoded.radiograph.height), (48, 40));
    assert_eq!((decoded.kind, decoded.projection), (FileKind::Png, None));
}

#[test]
fn alpha_is_ignored() {
    let grey = ImageBuffer::from_fn(48, 40, |x, y| LumaA([(x * 5 + y) as u8, (x * y % 256) as u8]));
    assert_eq!(levels(&png(grey)), ramp().into_raw());
    let rgba = ImageBuffer::from_fn(48, 40, |x, y| {
        let v = (x * 5 + y) as u8;
        Rgba([v, v, v, 7])
    });
    assert_eq!(levels(&png(rgba)), ramp().into_raw());
}

#[test]
fn a_16_bit_png_is_windowed_and_a_hot_pixel_does_not_darken_it() {
    // 12-bit values in a 16-bit file, and one pixel at full scale.
    let mut deep = ImageBuffer::from_fn(100, 100, |x, _| Luma([(x * 41) as u16]));
    deep.put_pixel(0, 0, Luma([u16::MAX]));
    let pixels = levels(&png(deep));
    assert_eq!((pixels[100], pixels[199]), (0, 255));
    let middle = pixels[150];
    assert!((124..=134).contains(&middle), "the middle became {middle}");
}

#[test]
fn a_16_bit_png_of_few_levels_uses_its_whole_range() {
    let mut flat = ImageBuffer::from_pixel(100, 100, Luma([1000u16]));
    assert_eq!(levels(&png(flat.clone())), vec![0; 10_000]);
    flat.put_pixel(50, 50, Luma([1001]));
    let pixels = levels(&png(flat));
    assert_eq!((pixels[0], pixels[50 * 100 + 50]), (0, 255));
}

#[test]
fn a_grey_jpeg_stored_as_colour_is_a_radiograph() {
    let rgb = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 2 + y) as u8; 3]));
    let decoded = decode(&jpeg(rgb), &ImageDecodeOptions::default()).unwrap();
    assert_eq!(decoded.kind, FileKind::Jpeg);
    for (at, &level) in decoded.radiograph.pixels.iter().enumerate() {
        let expected = ((at % 64) * 2 + at / 64) as u8;
        assert!(level.abs_diff(expected) <= 6, "pixel {at}: {level} for {expected}");
    }
}

#[test]
fn colour_is_judged_by_its_share_of_the_pixels() {
    let with_red = |columns: u32| {
        RgbImage::from_fn(100, 100, move |x, y| if x < columns { Rgb([200, 30, 30]) } else { Rgb([y as u8; 3]) })
    };
    assert_eq!(code(&png(with_red(100))), "colour_photograph");
    assert_eq!(code(&png(with_red(6))), "colour_photograph");
    assert_eq!(code(&jpeg(with_red(60))), "colour_photograph");
    assert!(decode(&png(with_red(5)), &ImageDecodeOptions::default()).is_ok(), "5 % is a caption");
    let tinted = RgbImage::from_fn(100, 100, |x, y| Rgb([(x + y) as u8, (x + y + 20) as u8, (x + y + 40) as u8]));
    assert!(decode(&png(tinted), &ImageDecodeOptions::default()).is_ok(), "a tint is no photograph");
    let deep = ImageBuffer::from_pixel(64, 64, Rgb([60_000u16, 100, 100]));
    assert_eq!(code(&png(deep)), "colour_photograph");
}

#[test]
fn sizes_are_refused_from_the_header() {
    assert_eq!(code(&png(GrayImage::new(31, 400))), "too_small");
    assert_eq!(code(&jpeg(GrayImage::new(400, 31))), "too_small");
    let options = ImageDecodeOptions { max_pixels: 48 * 40 - 1, ..ImageDecodeOptions::default() };
    for file in [png(ramp()), jpeg(ramp())] {
        let error = decode(&file, &options).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { width: 48, height: 40, max_pixels: 1919 });
        // The size is refused from the header, before the rest of the file is read.
    }
    let mut bomb = png(ramp());
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(code(&bomb), "too_large");
}

#[test]
fn files_that_are_no_images_are_refused() {
    assert_eq!(code(b""), "empty_file");
    assert_eq!(code(b"hello, this is a text file"), "not_an_image");
    assert_eq!(code(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "not_an_image");
    assert_eq!(code(&vec![0; 5000]), "not_an_image");
    assert_eq!(code(&png(ramp())[..12]), "truncated");
}

#[test]
fn a_jpeg_that_lost_its_lower_half_is_refused() {
    let whole = jpeg(GrayImage::from_fn(200, 200, |x, y| Luma([(x ^ y) as u8])));
    assert!(decode(&whole, &ImageDecodeOptions::default()).is_ok());
    for length in [whole.len() / 2, whole.len() - 40, whole.len() - 1] {
        assert_eq!(code(&whole[..length]), "truncated", "{length} of {} bytes", whole.len());
    }
}

#[test]
fn a_png_that_lost_its_lower_half_is_refused() {
    let whole = png(GrayImage::from_fn(200, 200, |x, y| Luma([(x * y % 256) as u8])));
    for length in [whole.len() / 2, whole.len() - 12, whole.len() - 1] {
        assert_eq!(code(&whole[..length]), "truncated", "{length} of {} bytes", whole.len());
    }
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 0x55;
    assert_eq!(code(&damaged), "corrupt");
}

#[test]
fn bytes_behind_the_image_do_not_matter() {
    for mut file in [png(ramp()), jpeg(ramp())] {
        file.extend_from_slice(b"trailing bytes");
        assert!(decode(&file, &ImageDecodeOptions::default()).is_ok());
    }
}

#[test]
fn messages_say_what_to_do() {
    let error = decode(&png(GrayImage::new(8, 9)), &ImageDecodeOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "8 x 9 pixels are too few; width and height must be 32 or more");
    assert!(DecodeError::NotDeidentified.to_string().contains("not marked as de-identified"));
}
