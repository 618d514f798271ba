//! Pixels of a batch as one normalised tensor.

use d2r_contracts::preprocess::InputSpec;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// f32 `[B, 1, S, S]` on `device`, normalised by the spec; `pixels` holds `B * S * S` grey levels.
///
/// # Errors
/// [`Error::Internal`] when the number of pixels does not fit, [`Error::Torch`] when a libtorch operation fails.
pub fn stack_images(pixels: &[u8], spec: &InputSpec, device: Device) -> Result<Tensor> {
    let size = i64::from(spec.size);
    let area = (size * size).max(1) as usize;
    if pixels.is_empty() || !pixels.len().is_multiple_of(area) {
        return Err(Error::Internal(format!("{} pixels are no batch of {size} x {size} images", pixels.len())));
    }
    let grey = Tensor::f_from_slice(pixels)?.f_to_device(device)?.f_to_kind(Kind::Float)?;
    let (scale, shift) = (1.0 / (255.0 * f64::from(spec.std)), f64::from(spec.mean) / f64::from(spec.std));
    Ok(grey.f_view([-1, 1, size, size])?.f_mul_scalar(scale)?.f_sub_scalar(shift)?)
}

#[cfg(test)]
mod tests {
    use d2r_contracts::preprocess::Fit;

    use super::*;

    #[test]
    fn grey_levels_are_normalised() {
        let spec = InputSpec { size: 2, fit: Fit::Letterbox, mean: 0.5, std: 0.25 };
        let stacked = stack_images(&[0, 255, 51, 102, 0, 0, 0, 0], &spec, Device::Cpu).unwrap();
        assert_eq!(stacked.size(), [2, 1, 2, 2]);
        let values = Vec::<f32>::try_from(stacked.get(0).reshape([-1])).unwrap();
        for (ours, wanted) in values.iter().zip([-2.0, 2.0, -1.2, -0.4]) {
            assert!((ours - wanted).abs() < 1e-5, "{values:?}");
        }
        assert!(stack_images(&[0; 5], &spec, Device::Cpu).is_err());
        assert!(stack_images(&[], &spec, Device::Cpu).is_err());
    }
}
