//! Reads the pixels of studies: from the store of prepared images, or from the images' files, after which they are kept in the
//! store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::preprocess::letterbox_of;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::{ImageRow, LesionRow};

use crate::context::Context;
use crate::datasets::prepared::{self, PreparedKey, PreparedStore};
use crate::datasets::source::{SourceError, read_radiograph};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::reporter::batches::study::{ScoredRegion, StudyVisual, VisualSpec, scored_regions, study_visual};
use crate::reporter::batches::visual_handle::{StoredVisual, VisualHandle};

/// Why a study is not at hand: an image cannot be used, or the prepared one cannot be kept.
#[derive(Debug)]
pub enum ReadError {
    Image(SourceError),
    Store(Error),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self::Image(error)
    }
}

/// A reader of the studies of one dataset.
#[derive(Debug)]
pub struct VisualReader {
    root: PathBuf,
    store: PreparedStore,
    /// Bytes of pixels in memory, and how many may be there.
    kept: AtomicUsize,
    kept_bytes: usize,
    decode: ImageDecodeOptions,
    spec: VisualSpec,
}

impl VisualReader {
    /// A reader that keeps at most `kept_bytes` of pixels in memory; those of further studies are read from the store at
    /// each use.
    ///
    /// # Errors
    /// When the lake does not know the dataset.
    pub fn new(ctx: &Context, lake: &Lake, dataset: &str, spec: VisualSpec, kept_bytes: usize) -> Result<Self> {
        Ok(Self {
            root: lake.dataset_root(dataset)?,
            store: PreparedStore::at(lake.root().join(prepared::FOLDER)),
            kept: AtomicUsize::new(0),
            kept_bytes,
            decode: ctx.decode_options(),
            spec,
        })
    }

    /// The pixels of a study, the index of each region's row in `lesions`, and the width of the first view in pixels. A study
    /// that is prepared is not decoded. `images`: its views, at least one; `lesions`: the boxes of the first.
    ///
    /// # Errors
    /// [`ReadError`] for an image that cannot be used, and where what was prepared cannot be kept.
    pub fn visual(
        &self,
        images: &[ImageRow],
        lesions: &[LesionRow],
    ) -> Result<(VisualHandle, Vec<usize>, f32), ReadError> {
        let spec = &self.spec;
        let stored = self.stored(images, lesions);
        if let Some((stored, kept, width)) = &stored
            && self.store.contains(&stored.key)
        {
            let handle = || VisualHandle::Stored(Arc::clone(stored));
            if !self.has_memory(stored) {
                return Ok((handle(), kept.clone(), *width));
            }
            if let Some(visual) = stored.read() {
                return Ok((self.keep(visual, handle), kept.clone(), *width));
            }
        }
        let read = |image| read_radiograph(&self.root, image, &self.decode);
        let views = images.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (visual, kept) = study_visual(&views[0], lesions, spec);
        let (visual, width) = (visual.with_views(views[1..].iter(), spec), views[0].width as f32);
        match stored {
            Some((stored, ..)) => {
                stored.write(&visual).map_err(ReadError::Store)?;
                Ok((self.keep(visual, || VisualHandle::Stored(stored)), kept, width))
            }
            None => Ok((visual.into(), kept, width)),
        }
    }

    fn has_memory(&self, stored: &StoredVisual) -> bool {
        self.kept.load(Ordering::Relaxed) + stored.pixels() <= self.kept_bytes
    }

    /// In memory while there is room.
    fn keep(&self, visual: StudyVisual, else_stored: impl FnOnce() -> VisualHandle) -> VisualHandle {
        let bytes = visual.bytes();
        if self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.kept_bytes {
            return visual.into();
        }
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
        else_stored()
    }

    /// Where the pixels of a study are kept; `None` where digests or sizes of its images are not known.
    fn stored(&self, images: &[ImageRow], lesions: &[LesionRow]) -> Option<(Arc<StoredVisual>, Vec<usize>, f32)> {
        let spec = self.spec;
        let size_of = |image: &ImageRow| {
            Some(ImageSize { width: image.width?.try_into().ok()?, height: image.height?.try_into().ok()? })
        };
        let sizes = images.iter().map(size_of).collect::<Option<Vec<_>>>()?;
        let size = *sizes.first()?;
        let (kept, regions): (Vec<usize>, Vec<ScoredRegion>) = scored_regions(size, lesions, &spec).into_iter().unzip();
        let files = images.iter().map(|image| image.sha256.as_deref()).collect::<Option<Vec<_>>>()?.join(" ");
        let boxes: String = regions.iter().map(|r| format!("{:?}", r.region.to_array())).collect();
        let image =
            serde_json::to_string(&(spec.image.size, spec.image.fit, spec.region_size, spec.region_margin)).ok()?;
        let decode = if self.decode.allow_phi { "any" } else { "de-identified" };
        let parts = [("files", files.as_str()), ("study input", &image), ("boxes", &boxes), ("decode", decode)];
        let letterboxes = sizes.into_iter().map(|size| letterbox_of(size, &spec.image)).collect();
        let key = PreparedKey::of(&parts);
        let stored = StoredVisual { store: self.store.clone(), key, letterboxes, regions, spec };
        Some((Arc::new(stored), kept, size.width as f32))
    }
}
