//! A study's pixels at hand: in memory, or in the store of prepared images, from which each use reads them.

use std::sync::Arc;

use d2r_contracts::space::Letterbox;

use crate::datasets::prepared::{PreparedKey, PreparedStore};
use crate::error::Result;
use crate::reporter::batches::study::{Region, ScoredRegion, StudyVisual, VisualSpec};

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
    pub letterbox: Letterbox,
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
        let (pixels, crops) = bytes.split_at_checked(bytes.len().checked_sub(crop * self.regions.len())?)?;
        let side = self.spec.image.size as usize;
        if pixels.len() != side * side * self.spec.views.max(1) {
            return None;
        }
        let region = |(scored, crop): (&ScoredRegion, &[u8])| Region {
            crop: crop.to_vec(),
            class_id: scored.class_id,
            scored_box: scored.scored_box,
        };
        let regions = self.regions.iter().zip(crops.chunks(crop.max(1))).map(region).collect();
        Some(StudyVisual { pixels: pixels.to_vec(), letterbox: self.letterbox, regions })
    }

    /// Keeps the pixels of this study.
    ///
    /// # Errors
    /// Those of [`PreparedStore::put`].
    pub fn write(&self, visual: &StudyVisual) -> Result<()> {
        let mut bytes = visual.pixels.clone();
        visual.regions.iter().for_each(|region| bytes.extend_from_slice(&region.crop));
        self.store.put(&self.key, &bytes)
    }
}
