//! What a search needs of a decoder that writes the reports of a batch token by token. A row is one partial report; every image
//! has equally many rows, grouped by image.

use tch::{Device, Tensor};

use crate::error::Result;
use crate::reporter::model::encoder_decoder::DecodeState;

/// Tokens between two checks of the stopping condition on an accelerator, where reading a flag blocks the host.
const CHECK_INTERVAL: i64 = 8;

/// Decoding of a batch of images, one token of every row per step.
pub trait IncrementalDecoder {
    fn images(&self) -> i64;

    /// Where the tensors are.
    fn device(&self) -> Device;

    /// Whether the encoder's output is finite. Synchronises with the device.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    fn is_finite(&self) -> Result<bool>;

    /// Appends a token to each row. `tokens`: i64 `[rows]`, the boundary first. Returns f32 log-probabilities of the next token,
    /// `[rows, V]`.
    fn step(&mut self, tokens: &Tensor) -> Tensor;

    /// Reorders, drops or repeats rows. `rows`: i64 `[images * rows per image]`, grouped by image.
    fn select_rows(&mut self, rows: &Tensor);

    /// Keeps some images; their rows are selected separately. `images`: i64 `[images kept]`.
    fn select_images(&mut self, images: &Tensor);
}

impl IncrementalDecoder for DecodeState<'_> {
    fn images(&self) -> i64 {
        self.images()
    }

    fn device(&self) -> Device {
        self.device()
    }

    fn is_finite(&self) -> Result<bool> {
        self.is_finite()
    }

    fn step(&mut self, tokens: &Tensor) -> Tensor {
        self.step(tokens)
    }

    fn select_rows(&mut self, rows: &Tensor) {
        self.select_rows(rows);
    }

    fn select_images(&mut self, images: &Tensor) {
        self.select_images(images);
    }
}

/// Steps between two checks of the stopping condition.
pub fn check_interval(device: Device) -> i64 {
    if device == Device::Cpu { 1 } else { CHECK_INTERVAL }
}
