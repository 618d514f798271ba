//! A study's pixels at hand: in memory, or in the store of prepared images, from which each use reads them.

use std::sync::Arc;

use d2r_contracts::space::Letterbox;

use crate::datasets::prepared::{PreparedKey, PreparedStore};
use crate::error::Result;
use crate::reporter::batches::study::{Region, ScoredRegion, StudyVisual, VisualSpec};

/// Bytes of a region's two statistics, after its crop.
const STATISTICS_BYTES: usize = 8;

/// The images and regions of a study.
#[derive(Debug, Clone)]
pub enum VisualHandle {
    Kept(Arc<StudyVisual>),
    Stored(Arc<StoredVisual>),
}

/// Where the pixels of a study are, and all else about them.
#[derive(Debug)]
pub struct StoredVisual {
    pub store: PreparedStore,
    pub key: PreparedKey,
    /// Of each view.
    pub letterboxes: Vec<Letterbox>,
    pub regions: Vec<ScoredRegion>,
    pub spec: VisualSpec,
}

impl VisualHandle {
    /// The images and regions.
    ///
    /// # Errors
    /// [`crate::Error::Temporary`] when prepared images were removed or damaged since the start.
    pub fn get(&self) -> Result<Arc<StudyVisual>> {
        match self {
            Self::Kept(visual) => Ok(Arc::clone(visual)),
            Self::Stored(stored) => stored.read().map(Arc::new).ok_or_else(|| stored.store.gone(&stored.key)),
        }
    }

    /// Number of regions.
    pub fn regions(&self) -> usize {
        match self {
            Self::Kept(visual) => visual.regions.len(),
            Self::Stored(stored) => stored.regions.len(),
        }
    }
}

impl From<StudyVisual> for VisualHandle {
    fn from(visual: StudyVisual) -> Self {
        Self::Kept(Arc::new(visual))
    }
}

impl StoredVisual {
    /// The pixels from the store; `None` when they are not there or damaged.
    pub fn read(&self) -> Option<StudyVisual> {
        let bytes = self.store.get(&self.key)?;
        let crop = self.spec.region_size as usize * self.spec.region_size as usize;
        let of_region = crop + STATISTICS_BYTES;
        let (pixels, regions) = bytes.split_at_checked(bytes.len().checked_sub(of_region * self.regions.len())?)?;
        if pixels.len() != self.pixels() {
            return None;
        }
        let region = |(scored, bytes): (&ScoredRegion, &[u8])| {
            let (crop, statistics) = bytes.split_at(crop);
            let number = |at: usize| f32::from_le_bytes([0, 1, 2, 3].map(|i| statistics[at + i]));
            let (class_id, scored_box) = (scored.class_id, scored.scored_box);
            Region { crop: crop.to_vec(), statistics: [number(0), number(4)], class_id, scored_box }
        };
        let regions = self.regions.iter().zip(regions.chunks_exact(of_region)).map(region).collect();
        Some(StudyVisual { pixels: pixels.to_vec(), letterboxes: self.letterboxes.clone(), regions })
    }

    /// Number of pixels of all views.
    pub fn pixels(&self) -> usize {
        self.letterboxes.iter().map(|letterbox| letterbox.model.pixels() as usize).sum()
    }

    /// Keeps the pixels of this study.
    ///
    /// # Errors
    /// Those of [`PreparedStore::put`].
    pub fn write(&self, visual: &StudyVisual) -> Result<()> {
        let mut bytes = visual.pixels.clone();
        for region in &visual.regions {
            bytes.extend_from_slice(&region.crop);
            bytes.extend(region.statistics.into_iter().flat_map(f32::to_le_bytes));
        }
        self.store.put(&self.key, &bytes)
    }
}
