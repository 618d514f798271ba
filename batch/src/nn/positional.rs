//! Sinusoidal positions (Vaswani et al. 2017, section 3.5).

use tch::{Device, Tensor};

/// `f32 [positions, width]`: even columns are sines, odd ones cosines, of frequency `10000^(-2i / width)`.
pub fn sinusoidal(positions: i64, width: i64, device: Device) -> Tensor {
    let mut table = vec![0f32; (positions * width) as usize];
    for position in 0..positions {
        for column in 0..width {
            let frequency = (-((column / 2 * 2) as f64) * 10000f64.ln() / width as f64).exp();
            let angle = position as f64 * frequency;
            let value = if column % 2 == 0 { angle.sin() } else { angle.cos() };
            table[(position * width + column) as usize] = value as f32;
        }
    }
    Tensor::from_slice(&table).view([positions, width]).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_position_alternates_zero_and_one_and_columns_pair_up() {
        let table = sinusoidal(3, 4, Device::Cpu);
        assert_eq!(Vec::<f32>::try_from(table.get(0)).unwrap(), [0.0, 1.0, 0.0, 1.0]);
        let second = Vec::<f32>::try_from(table.get(2)).unwrap();
        let expected = [2f32.sin(), 2f32.cos(), 0.02f32.sin(), 0.02f32.cos()];
        for (a, b) in second.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{second:?}");
        }
    }
}
