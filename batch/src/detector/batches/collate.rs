//! Images of a batch as one normalised tensor.

use std::borrow::Borrow;

use d2r_contracts::preprocess::{Fit, InputSpec};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::ImageSize;
use tch::{Device, Kind, Tensor};

use crate::detector::pyramid::ImageBatch;
use crate::error::{Error, Result};
use crate::nn::to_device::to_device;

/// Height and width of a padded batch are multiples of this: the stride of the trunk's last stage.
const MULTIPLE: u32 = 32;

/// The images on `device`, normalised by the spec. With [`Fit::ShortEdge`] they are padded at the right and the bottom to
/// the largest height and width, rounded up to multiples of 32; the padding is 0 after normalisation, as in detectron2.
///
/// # Errors
/// [`Error::Internal`] without images or where squares have different sizes, [`Error::Torch`] when a libtorch operation
/// fails.
pub fn image_batch(images: &[impl Borrow<Radiograph>], spec: &InputSpec, device: Device) -> Result<ImageBatch> {
    let sizes: Vec<ImageSize> = images.iter().map(|image| image.borrow().size()).collect();
    let (scale, shift) = (1.0 / (255.0 * f64::from(spec.std)), f64::from(spec.mean) / f64::from(spec.std));
    let tensor = |pixels: &[u8], shape: &[i64]| -> Result<Tensor> {
        let grey = to_device(&Tensor::f_from_slice(pixels)?, device)?.f_to_kind(Kind::Float)?;
        Ok(grey.f_view(shape)?.f_mul_scalar(scale)?.f_sub_scalar(shift)?)
    };
    let count = images.len() as i64;
    let Some(first) = sizes.first().copied() else {
        return Err(Error::Internal("a batch without images".into()));
    };
    let padded = padded_size(&sizes, spec.fit);
    if sizes.iter().all(|size| *size == padded) {
        let pixels: Vec<u8> = images.iter().flat_map(|image| image.borrow().pixels.iter().copied()).collect();
        let images = tensor(&pixels, &[count, 1, i64::from(padded.height), i64::from(padded.width)])?;
        return Ok(ImageBatch { images, sizes });
    }
    if spec.fit != Fit::ShortEdge {
        return Err(Error::Internal(format!("images of other sizes than {} x {}", first.width, first.height)));
    }
    let shape = [count, 1, i64::from(padded.height), i64::from(padded.width)];
    let batch = Tensor::f_zeros(shape, (Kind::Float, device))?;
    for (i, image) in images.iter().enumerate() {
        let image = image.borrow();
        let (height, width) = (i64::from(image.height), i64::from(image.width));
        let pixels = tensor(&image.pixels, &[1, 1, height, width])?;
        batch.f_narrow(0, i as i64, 1)?.f_narrow(2, 0, height)?.f_narrow(3, 0, width)?.f_copy_(&pixels)?;
    }
    Ok(ImageBatch { images: batch, sizes })
}

fn padded_size(sizes: &[ImageSize], fit: Fit) -> ImageSize {
    let largest = |of: fn(&ImageSize) -> u32| sizes.iter().map(of).max().unwrap_or_default();
    let (width, height) = (largest(|s| s.width), largest(|s| s.height));
    match fit {
        Fit::Letterbox | Fit::Squash => ImageSize { width, height },
        Fit::ShortEdge => {
            ImageSize { width: width.next_multiple_of(MULTIPLE), height: height.next_multiple_of(MULTIPLE) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fit: Fit) -> InputSpec {
        InputSpec { size: 2, fit, mean: 0.5, std: 0.25 }
    }

    fn image(width: u32, height: u32, pixels: &[u8]) -> Radiograph {
        Radiograph::new(width, height, pixels.to_vec()).unwrap()
    }

    #[test]
    fn grey_levels_are_normalised() {
        let images = [image(2, 2, &[0, 255, 51, 102]), image(2, 2, &[0; 4])];
        let batch = image_batch(&images, &spec(Fit::Letterbox), Device::Cpu).unwrap();
        assert_eq!(batch.images.size(), [2, 1, 2, 2]);
        assert_eq!(batch.sizes, [ImageSize::square(2); 2]);
        let values = Vec::<f32>::try_from(batch.images.get(0).reshape([-1])).unwrap();
        for (ours, wanted) in values.iter().zip([-2.0, 2.0, -1.2, -0.4]) {
            assert!((ours - wanted).abs() < 1e-5, "{values:?}");
        }
        let unequal = [image(2, 2, &[0; 4]), image(1, 2, &[0; 2])];
        assert!(image_batch(&unequal, &spec(Fit::Letterbox), Device::Cpu).is_err());
        let none: [Radiograph; 0] = [];
        assert!(image_batch(&none, &spec(Fit::Letterbox), Device::Cpu).is_err());
    }

    #[test]
    fn images_of_other_sizes_are_padded_with_zeros_after_normalisation() {
        let images = [image(33, 2, &[255; 66]), image(3, 40, &[0; 120])];
        let batch = image_batch(&images, &spec(Fit::ShortEdge), Device::Cpu).unwrap();
        assert_eq!(batch.images.size(), [2, 1, 64, 64], "the largest height and width, as multiples of 32");
        assert_eq!(batch.sizes, [ImageSize { width: 33, height: 2 }, ImageSize { width: 3, height: 40 }]);
        for (i, (value, count)) in [(2.0, 66.0), (-2.0, 120.0)].into_iter().enumerate() {
            let one = batch.images.get(i as i64);
            let sum = f64::try_from(one.sum(Kind::Float)).unwrap();
            assert_eq!(sum, value * count, "all the rest is 0");
            let size = batch.sizes[i];
            let inside = one.narrow(1, 0, i64::from(size.height)).narrow(2, 0, i64::from(size.width));
            assert_eq!(f64::try_from(inside.sum(Kind::Float)).unwrap(), sum);
        }
    }
}
