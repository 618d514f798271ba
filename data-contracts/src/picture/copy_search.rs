//! Searches a dataset for copies of its own pictures, whatever their scale, crop, format and brightness.
//!
//! 1. [`CopySearch::suspects`]: pictures whose hash nearly agrees with that of a window of the picture, whose blocks are
//!    found in it, and whose thumbnails correlate after alignment. It needs what [`Picture`] keeps, 6.5 kB.
//! 2. [`Comparison`]: larger thumbnails of the two pictures correlate. Two exposures of one patient in the same
//!    position pass the first step now and then, and fail here.

use super::alignment::{Placement, aligned};
use super::blocks::{Blocks, Field};
use super::border::content;
use super::hash::{HASHED_SIZE, WINDOWS, Window, hash, window_hashes};
use super::hash_index::{HashIndex, Scratch};
use super::statistics::Statistics;
use super::structure::{Scale, structure};
use super::thumbnail::{Extent, Thumbnail, rect, thumbnails};
use crate::boxes::BoxXyxy;
use crate::radiograph::Radiograph;
use crate::space::Original;

/// Bits of two hashes that may differ.
const DISTANCE_MAX: u32 = 9;
/// Correlation of the blocks below which a pair is left.
const BLOCKS_MIN: f32 = 0.6;
/// Shift of a block that is tried: a window's edges are up to 2.5 % from those of a crop.
const SHIFT: isize = 2;
/// Correlation of thumbnails from which a pair is suspected.
pub const SUSPECT_MIN: f32 = 0.7;
/// Correlation of larger thumbnails from which a suspected pair is a copy.
pub const COPY_MIN: f32 = 0.75;
const COARSE: Scale = Scale { size: HASHED_SIZE, blur: 1.5, noise: 2.0 };
const FINE: Scale = Scale { size: 128, blur: 2.0, noise: 2.0 };
/// Columns and rows of the larger thumbnails.
const DETAIL: usize = 192;

/// What is kept of a picture, with or without its border.
#[derive(Debug, Clone)]
pub struct Picture {
    extent: Extent,
    thumbnail: Thumbnail,
    blocks: Blocks,
    hash: u64,
}

/// A pair of pictures that may be copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    /// Numbers of the images.
    pub images: [usize; 2],
    /// Correlation of their thumbnails.
    pub similarity: f32,
    /// The parts of the pictures that were compared.
    pub extents: [Extent; 2],
    /// Where the second picture lies in the first one.
    pub placement: Placement,
}

/// Statistics of a radiograph and what is kept of it to find copies: two pictures when it has a border, none when it is
/// uniform.
pub fn measured(radiograph: &Radiograph) -> (Statistics, Vec<Picture>) {
    let inside = content(radiograph);
    let thumbnails = thumbnails(radiograph, inside, HASHED_SIZE);
    let statistics = Statistics::of(radiograph, inside, &thumbnails[0].1);
    let Placement { x, y } = Placement::WHOLE;
    let picture = |(extent, thumbnail): (Extent, Thumbnail)| {
        let fine = structure(&thumbnail, x, y, COARSE);
        let has_structure = fine.iter().any(|v| *v != 0.0);
        let (blocks, hash) = (Blocks::new(&fine, COARSE.size), hash(&thumbnail));
        has_structure.then_some(Picture { extent, thumbnail, blocks, hash })
    };
    (statistics, thumbnails.into_iter().filter_map(picture).collect())
}

/// The pictures of a dataset, ready to be searched.
#[derive(Debug)]
pub struct CopySearch {
    pictures: Vec<(usize, Picture)>,
    index: HashIndex,
}

impl CopySearch {
    /// `pictures`: number of the image, and what [`measured`] kept of it.
    pub fn new(pictures: Vec<(usize, Picture)>) -> Self {
        let index = HashIndex::new(pictures.iter().map(|(_, p)| p.hash).collect());
        Self { pictures, index }
    }

    /// Number of pictures, each to be searched by [`Self::suspects`].
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Images that may be copies of a picture, or of which it may be a part.
    pub fn suspects(&self, number: usize, scratch: &mut Scratch) -> Vec<Suspect> {
        let (image, picture) = &self.pictures[number];
        let mut fields: Vec<Option<Field>> = (0..WINDOWS).map(|_| None).collect();
        let mut found: Vec<Suspect> = Vec::new();
        for hit in self.index.near(&window_hashes(&picture.thumbnail), DISTANCE_MAX, scratch) {
            let (other_image, other) = &self.pictures[hit.entry as usize];
            if other_image == image {
                continue;
            }
            let Window { x, y } = Window::of(usize::from(hit.window));
            let field = fields[usize::from(hit.window)]
                .get_or_insert_with(|| Field::new(&structure(&picture.thumbnail, x, y, COARSE), COARSE.size));
            if other.blocks.found_in(field, SHIFT).0 < BLOCKS_MIN {
                continue;
            }
            let (similarity, placement) = aligned(&picture.thumbnail, &other.thumbnail, Placement { x, y }, COARSE);
            if similarity >= SUSPECT_MIN {
                let extents = [picture.extent, other.extent];
                found.push(Suspect { images: [*image, *other_image], similarity, extents, placement });
            }
        }
        found
    }
}

/// Two radiographs of a suspected pair, compared by larger thumbnails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Correlation of the thumbnails.
    pub similarity: f32,
    /// Where the second picture, without its border where it was compared so, lies in the first one. It may reach beyond
    /// it.
    pub region: BoxXyxy<Original>,
}

impl Comparison {
    /// Compares the radiographs of a suspected pair.
    pub fn of(first: &Radiograph, second: &Radiograph, suspect: &Suspect) -> Self {
        let [extent_a, extent_b] = suspect.extents;
        let (rect, other) = (rect(first, extent_a), rect(second, extent_b));
        let (a, b) = (Thumbnail::of(first, rect, DETAIL), Thumbnail::of(second, other, DETAIL));
        let (similarity, Placement { x, y }) = aligned(&a, &b, suspect.placement, FINE);
        let at = |share: f64, start: u32, length: u32| (f64::from(start) + share * f64::from(length)) as f32;
        let (left, top, size) = (rect.left, rect.top, rect.size);
        let region = BoxXyxy::new(
            at(x[0], left, size.width),
            at(y[0], top, size.height),
            at(x[1], left, size.width),
            at(y[1], top, size.height),
        );
        Self { similarity, region }
    }

    /// Whether the two are copies of one exposure.
    pub fn is_copy(&self) -> bool {
        self.similarity >= COPY_MIN
    }
}
