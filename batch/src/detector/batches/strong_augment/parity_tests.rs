//! Strong augmentation against Pillow and torchvision on the same images and parameters.

use serde_json::Value;

use super::*;

fn golden() -> Value {
    let path = "golden/detector/strong_augment.json";
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Array(items) => items.iter().flat_map(bytes).collect(),
        other => vec![other.as_u64().unwrap() as u8],
    }
}

/// A counter-based stream of numbers in [-1, 1), as in the generator.
fn uniform(stream: u64, count: u64) -> Vec<f64> {
    (0..count)
        .map(|i| {
            let mut x = stream.wrapping_mul(1_000_003).wrapping_add(i);
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            x ^= x >> 33;
            x = x.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            x ^= x >> 33;
            (x >> 40) as f64 / 8_388_608.0 - 1.0
        })
        .collect()
}

fn assert_level(ours: &[u8], wanted: &Value, what: &str) {
    let wanted = bytes(wanted);
    assert_eq!(ours.len(), wanted.len());
    for (i, (a, b)) in ours.iter().zip(&wanted).enumerate() {
        assert!(a.abs_diff(*b) <= 1, "{what}, pixel {i}: {a} against {b}");
    }
}

#[test]
fn brightness_contrast_and_blur_equal_pillows_within_a_grey_level() {
    let file = golden();
    let (rows, columns) = (19usize, 24usize);
    let stream = file["noise_stream"].as_u64().unwrap();
    for image in file["images"].as_array().unwrap() {
        let pixels: Vec<u8> = if image["name"] == "noise" {
            uniform(stream, (rows * columns) as u64)
                .into_iter()
                .map(|u| (256.0 * (0.5 + 0.5 * u)).floor() as u8)
                .collect()
        } else {
            (0..rows * columns).map(|i| ((5 * (i / columns) + 9 * (i % columns)) % 256) as u8).collect()
        };
        for case in image["brightness"].as_array().unwrap() {
            let mut ours = pixels.clone();
            brightness(&mut ours, case["factor"].as_f64().unwrap() as f32);
            assert_level(&ours, &case["output"], "brightness");
        }
        for case in image["contrast"].as_array().unwrap() {
            let mut ours = pixels.clone();
            contrast(&mut ours, case["factor"].as_f64().unwrap() as f32);
            assert_level(&ours, &case["output"], "contrast");
        }
        for case in image["blur"].as_array().unwrap() {
            let ours = blur(&pixels, columns, case["radius"].as_f64().unwrap() as f32);
            assert_level(&ours, &case["output"], "blur");
        }
    }
}

#[test]
fn erased_rectangles_follow_the_published_arithmetic() {
    let file = golden();
    for case in file["erase"].as_array().unwrap() {
        let number = |v: &Value| v.as_f64().unwrap();
        // The golden file has height, then width.
        let size_of = |v: &Value| ImageSize { width: number(&v[1]) as u32, height: number(&v[0]) as u32 };
        let size = size_of(&case["size"]);
        let between = |range: &Value, share: f64| number(&range[0]) + (number(&range[1]) - number(&range[0])) * share;
        let logs = serde_json::json!([number(&case["aspect"][0]).ln(), number(&case["aspect"][1]).ln()]);
        for (i, tried) in case["tries"].as_array().unwrap().iter().enumerate() {
            let (u, v) = (number(&case["draws"][2 * i]), number(&case["draws"][2 * i + 1]));
            let found = erased_size(size, between(&case["area"], u), between(&logs, v).exp());
            let wanted = size_of(tried);
            let fits = wanted.height < size.height && wanted.width < size.width;
            assert_eq!(found, fits.then_some(wanted), "{case}");
        }
    }
    let fill = &file["fill"];
    for (value, byte) in fill["values"].as_array().unwrap().iter().zip(bytes(&fill["bytes"])) {
        assert_eq!(wrapped(value.as_f64().unwrap() as f32), byte, "{value}");
    }
}
