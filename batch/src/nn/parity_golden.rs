//! Reads the golden files of torchvision and of the published equations. Weights come from a formula that is written on
//! both sides, so the files hold results only (`tests/python/golden/formula.py`).

use std::collections::BTreeMap;

use d2r_contracts::space::ImageSize;
use serde_json::Value;
use tch::{Device, Kind, Tensor, nn};

pub fn golden(name: &str) -> Value {
    let path = format!("golden/detector/{name}.json");
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

/// All numbers of a nested list, in order.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Bool(b) => vec![f64::from(u8::from(*b))],
        other => vec![other.as_f64().unwrap_or_else(|| panic!("a number, not {other}"))],
    }
}

/// A nested list as a tensor of a shape.
pub fn tensor(value: &Value, shape: &[i64]) -> Tensor {
    Tensor::from_slice(&numbers(value)).to_kind(Kind::Float).reshape(shape)
}

/// Values of a tensor in order.
pub fn values(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.detach().to_kind(Kind::Double).contiguous().reshape([-1])).unwrap()
}

/// Asserts that every value is within `tolerance` of the wanted one, relative to values above 1.
pub fn assert_close(ours: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), wanted.len(), "{what}: number of values");
    for (i, (a, b)) in ours.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}[{i}]: {a} against {b}");
    }
}

/// Compares a tensor with a sample of another: values at some flat indices, and the sum of absolute values.
pub fn assert_sampled(ours: &Tensor, sample: &Value, tolerance: f64, what: &str) {
    let shape: Vec<i64> = numbers(&sample["shape"]).into_iter().map(|v| v as i64).collect();
    assert_eq!(ours.numel() as i64, shape.iter().product::<i64>(), "{what}: size against {shape:?}");
    let all = values(ours);
    let chosen: Vec<f64> = numbers(&sample["at"]).into_iter().map(|i| all[i as usize]).collect();
    let wanted = numbers(&sample["values"]);
    let scale = wanted.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(1e-3);
    for (i, (a, b)) in chosen.iter().zip(&wanted).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what} at sample {i}: {a} against {b}");
    }
    let (sum, wanted) = (all.iter().map(|v| v.abs()).sum::<f64>(), sample["abs_sum"].as_f64().unwrap());
    assert!(
        (sum - wanted).abs() <= tolerance * wanted.abs().max(1e-6),
        "{what}: sum of absolute values {sum} against {wanted}"
    );
}

fn fnv1a32(name: &str) -> u64 {
    u64::from(name.bytes().fold(2_166_136_261u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619)))
}

/// `count` numbers in [-1, 1) of a counter-based stream.
pub fn uniform(stream: u64, count: usize) -> Vec<f64> {
    (0..count as u64)
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

/// Fills all variables by the formula; `prefix` is put before their names.
pub fn fill(vs: &nn::VarStore, prefix: &str, gains: &Value) {
    let gains: BTreeMap<String, f64> = serde_json::from_value(gains.clone()).unwrap();
    let _no_grad = tch::no_grad_guard();
    for (name, mut variable) in vs.variables() {
        let name = format!("{prefix}{name}");
        let (shape, count) = (variable.size(), variable.numel());
        let mut u = uniform(fnv1a32(&name), count);
        let fan_in: i64 = shape.iter().skip(1).product();
        let map: Box<dyn Fn(f64) -> f64> = match () {
            () if name.ends_with("running_var") => Box::new(|v| 1.0 + 0.3 * v),
            () if name.ends_with("running_mean") => Box::new(|v| 0.1 * v),
            () if name.ends_with(".bias") => Box::new(|v| 0.05 * v),
            () if shape.len() < 2 => Box::new(|v| 1.0 + 0.2 * v),
            () => Box::new(move |v| v * (3.0 / fan_in as f64).sqrt()),
        };
        for v in &mut u {
            *v = map(*v);
            for (_, gain) in gains.iter().filter(|(key, _)| name.contains(key.as_str())) {
                *v *= gain;
            }
        }
        variable.copy_(&Tensor::from_slice(&u).to_kind(Kind::Float).reshape(&shape));
    }
}

/// A uniform image, f32 in [0, 1), of a shape.
pub fn image(stream: u64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let levels: Vec<f64> = uniform(stream, count as usize).into_iter().map(|v| 0.5 + 0.5 * v).collect();
    Tensor::from_slice(&levels).to_kind(Kind::Float).reshape(shape)
}

/// A uniform tensor, f32 in [-1, 1), of a shape.
pub fn signed(stream: u64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    Tensor::from_slice(&uniform(stream, count as usize)).to_kind(Kind::Float).reshape(shape)
}

/// The batch that a detector's golden file describes, and the sizes of its images without padding.
pub fn input(golden: &Value) -> (Tensor, Vec<ImageSize>) {
    let input = &golden["input"];
    let padded = numbers(&input["padded"]);
    let (mean, std) = (tensor(&input["mean"], &[3, 1, 1]), tensor(&input["std"], &[3, 1, 1]));
    let streams = numbers(&input["image_streams"]);
    let size = |s: &Value| {
        let [height, width] = [0, 1].map(|i| s[i].as_u64().unwrap() as u32);
        ImageSize { width, height }
    };
    let sizes: Vec<ImageSize> = input["image_sizes"].as_array().unwrap().iter().map(size).collect();
    let batch =
        Tensor::zeros([streams.len() as i64, 3, padded[0] as i64, padded[1] as i64], (Kind::Float, Device::Cpu));
    for (i, (stream, size)) in streams.iter().zip(&sizes).enumerate() {
        let (height, width) = (i64::from(size.height), i64::from(size.width));
        let normal = (image(*stream as u64, &[3, height, width]) - &mean) / &std;
        batch.get(i as i64).narrow(1, 0, height).narrow(2, 0, width).copy_(&normal);
    }
    (batch, sizes)
}

#[test]
fn the_formula_equals_that_of_the_generators() {
    assert_eq!(fnv1a32("a"), 3_826_002_220);
    assert_eq!(fnv1a32("backbone.body.conv1.weight"), 1_598_278_937);
    assert_close(&uniform(1, 3), &[0.7806100845, -0.3573907614, 0.6201072931], 1e-9, "stream 1");
}
