//! Reading radiographs for the detector: decoded once, kept as the model takes them, or for multi-scale training as all
//! its sizes can be made from.

use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::preprocess::{InputSpec, letterbox_of, resize, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Letterbox};
use d2r_contracts::tables::ImageRow;

use crate::config::detector::ShortEdges;
use crate::datasets::prepared::{PreparedKey, PreparedStore};
use crate::datasets::source::{FileTimes, SourceError, open_ingested};
use crate::error::{Error, Result};

/// Where and how radiographs are read.
#[derive(Debug, Clone)]
pub struct RadiographSource {
    /// The dataset's root folder.
    pub root: PathBuf,
    pub decode: ImageDecodeOptions,
    pub input: InputSpec,
    /// Where prepared images are kept, if they are.
    pub prepared: Option<PreparedStore>,
    /// Multi-scale training: the radiographs are kept as they are, or shrunk to the largest of these sizes, and every step
    /// resizes them. Without, they are kept as the model's input.
    pub short_edges: Option<ShortEdges>,
}

impl RadiographSource {
    /// Pixels of a radiograph as it is kept, at most, where it is larger than the model's input.
    pub fn pixels_max(&self) -> u64 {
        let shortest = self.short_edges.map_or(self.input.size, |edges| edges.most);
        u64::from(shortest) * u64::from(self.input.longest_edge())
    }

    /// The map from a radiograph's pixels to those that are kept.
    fn kept(&self, size: ImageSize) -> Letterbox {
        let Some(edges) = self.short_edges else { return letterbox_of(size, &self.input) };
        let largest = Letterbox::short_edge(size, edges.most, self.input.longest_edge());
        if largest.model.pixels() < size.pixels() {
            return largest;
        }
        Letterbox::short_edge(size, size.width.min(size.height), size.width.max(size.height))
    }

    /// The map from a radiograph's pixels to a model's input with this shortest edge.
    pub fn with_short_edge(&self, size: ImageSize, edge: u32) -> Letterbox {
        Letterbox::short_edge(size, edge, self.input.longest_edge())
    }

    /// The name under which an image is kept, and its map; `None` for an image whose digest or size is not known.
    fn key(&self, image: &ImageRow) -> Option<(PreparedKey, Letterbox)> {
        let size = ImageSize { width: image.width?.try_into().ok()?, height: image.height?.try_into().ok()? };
        let input = match self.short_edges {
            None => serde_json::to_string(&(self.input.size, self.input.fit)).ok()?,
            Some(edges) => format!("short edges to {}, longest {}", edges.most, self.input.longest_edge()),
        };
        let decode = if self.decode.allow_phi { "any" } else { "de-identified" };
        let parts = [("file", image.sha256.as_deref()?), ("detector input", &input), ("decode", decode)];
        Some((PreparedKey::of(&parts), self.kept(size)))
    }

    /// The map of an image, whose pixels are prepared where there is a store, and its pixels where they are `wanted` or not
    /// kept.
    pub(super) fn prepare(&self, image: &ImageRow, wanted: bool) -> Result<Prepared, LoadError> {
        let kept =
            self.prepared.as_ref().and_then(|store| self.key(image).map(|(key, letterbox)| (store, key, letterbox)));
        let Some((store, key, letterbox)) = kept else {
            return Ok(self.read(image)?);
        };
        if wanted && let Some(radiograph) = store.get(&key).and_then(|pixels| with_pixels(letterbox.model, pixels)) {
            return Ok(Prepared { letterbox, radiograph: Some(radiograph), times: FileTimes::default() });
        }
        if !wanted && store.contains(&key) {
            return Ok(Prepared { letterbox, radiograph: None, times: FileTimes::default() });
        }
        let read = self.read(image)?;
        if let Some(radiograph) = &read.radiograph {
            store.put(&key, &radiograph.pixels)?;
        }
        Ok(Prepared { radiograph: read.radiograph.filter(|_| wanted), ..read })
    }

    /// A radiograph that is not in memory.
    ///
    /// # Errors
    /// [`Error::BadData`] when the file has changed or gone since it was first read.
    pub(super) fn radiograph(&self, image: &ImageRow) -> Result<Radiograph> {
        let place = || Path::new(&self.root).join(&image.path).display().to_string();
        match self.prepare(image, true) {
            Ok(Prepared { radiograph, .. }) => {
                radiograph.ok_or_else(|| Error::Internal(format!("{} was read without pixels", place())))
            }
            Err(LoadError::Image(e)) => Err(Error::bad_data(place(), e)),
            Err(LoadError::Store(e)) => Err(e),
        }
    }

    /// One radiograph from its file.
    ///
    /// # Errors
    /// [`SourceError`], which becomes a row of `failures`.
    fn read(&self, image: &ImageRow) -> Result<Prepared, SourceError> {
        let opened = open_ingested(&self.root, image, &self.decode)?;
        let start = Instant::now();
        let letterbox = self.kept(opened.radiograph.size());
        let radiograph = if self.short_edges.is_some() {
            resize(&opened.radiograph, letterbox.model)
        } else {
            let ImageSize { width, height } = letterbox.model;
            Radiograph { width, height, pixels: to_model_input(&opened.radiograph, &self.input).pixels }
        };
        let FileTimes { read_ms, decode_ms } = opened.times;
        let times = FileTimes { read_ms, decode_ms: decode_ms + start.elapsed().as_secs_f64() * 1e3 };
        Ok(Prepared { letterbox, radiograph: Some(radiograph), times })
    }
}

fn with_pixels(size: ImageSize, pixels: Vec<u8>) -> Option<Radiograph> {
    Radiograph::new(size.width, size.height, pixels)
}

/// An image as it is kept.
pub(super) struct Prepared {
    pub letterbox: Letterbox,
    pub radiograph: Option<Radiograph>,
    pub times: FileTimes,
}

/// Why an image is not at hand: it cannot be used, or the prepared one cannot be kept.
pub(super) enum LoadError {
    Image(SourceError),
    Store(Error),
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        Self::Image(error)
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
