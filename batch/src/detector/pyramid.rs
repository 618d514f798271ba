//! The images of a batch, and their feature pyramid's levels: stride, grid and step of each, the same for Faster R-CNN's
//! anchors and for FCOS's points.

use d2r_contracts::space::ImageSize;
use tch::Tensor;

use crate::error::Result;

/// Images of a batch, padded at the right and the bottom to one size.
#[derive(Debug)]
pub struct ImageBatch {
    /// f32 `[B, 1 or 3, H, W]`, normalised, height and width multiples of 32; padding is 0.
    pub images: Tensor,
    /// Of each image without padding, model pixels.
    pub sizes: Vec<ImageSize>,
}

impl ImageBatch {
    /// Images that fill the tensor `[B, C, H, W]`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] for a tensor of other dimensions.
    pub fn unpadded(images: &Tensor) -> Result<Self> {
        let (batch, _, height, width) = images.size4()?;
        let size = ImageSize { width: width as u32, height: height as u32 };
        Ok(Self { images: images.shallow_clone(), sizes: vec![size; batch as usize] })
    }

    /// The horizontal mirror images; the padding stays at the right.
    pub fn mirrored(&self) -> Self {
        let columns = self.images.size()[3];
        let sizes = self.sizes.clone();
        if sizes.iter().all(|size| i64::from(size.width) == columns) {
            return Self { images: self.images.flip([3]), sizes };
        }
        let images = self.images.zeros_like();
        for (i, size) in sizes.iter().enumerate() {
            let inside = |all: &Tensor| all.narrow(0, i as i64, 1).narrow(3, 0, i64::from(size.width));
            inside(&images).copy_(&inside(&self.images).flip([3]));
        }
        Self { images, sizes }
    }
}

/// The feature pyramid of a batch.
#[derive(Debug)]
pub struct Pyramid {
    /// f32 or bf16 `[B, C, H, W]` each, finest first.
    pub maps: Vec<Tensor>,
    /// One level per map.
    pub levels: Vec<Level>,
}

/// Number of rows and columns of a feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub rows: i64,
    pub columns: i64,
}

/// One level of a feature pyramid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Nominal stride, model pixels: the unit of this level's distances.
    pub stride: f32,
    pub grid: Grid,
    /// Model pixels between two columns: the image's width over the number of columns, rounded down, as in torchvision
    /// (not the stride where the width is no multiple of it).
    pub step_x: i64,
    /// Model pixels between two rows.
    pub step_y: i64,
}

impl Level {
    /// Number of cells.
    pub fn cells(&self) -> i64 {
        self.grid.rows * self.grid.columns
    }
}

/// The levels of an image with these grids, finest first; the first has stride `1 << min_level`.
pub fn levels(image: ImageSize, grids: &[Grid], min_level: usize) -> Vec<Level> {
    let level = |(i, &grid): (usize, &Grid)| Level {
        stride: (1u64 << (min_level + i)) as f32,
        grid,
        step_x: i64::from(image.width) / grid.columns.max(1),
        step_y: i64::from(image.height) / grid.rows.max(1),
    };
    grids.iter().enumerate().map(level).collect()
}

/// For tests: levels from the `[rows, columns]` of each grid.
#[cfg(test)]
pub(crate) fn levels_of(image: ImageSize, grids: &[[i64; 2]], min_level: usize) -> Vec<Level> {
    let grids: Vec<Grid> = grids.iter().map(|&[rows, columns]| Grid { rows, columns }).collect();
    levels(image, &grids, min_level)
}
