//! A film that is planned: its id, its lesions, and, on demand, its pixels as drawn, as PNG, JPEG or DICOM. Every
//! call draws anew; the same plan gives the same bytes.

use std::io::Cursor;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::drawing::film;
use crate::error::{Error, Result};
use crate::layouts::vindr::dicom::{DicomFilm, Storage, encode};
use crate::lesions::PlacedLesion;
use crate::study::{PhantomStudy, Sex};

/// A lesion of a planned film.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedLesion {
    /// Unique in the dataset: the image id, `-t` and a number.
    pub box_id: String,
    /// What is drawn, and where.
    pub placed: PlacedLesion,
}

/// A film to be written.
#[derive(Debug, Clone)]
pub struct PlannedFilm {
    /// Unique in the dataset.
    pub image_id: String,
    /// What is drawn in it, in the order of the plan.
    pub lesions: Vec<PlannedLesion>,
    plan: PhantomStudy,
}

impl PlannedFilm {
    /// The film of a plan.
    pub fn new(image_id: String, plan: PhantomStudy) -> Self {
        let lesions = plan
            .findings
            .iter()
            .enumerate()
            .map(|(number, placed)| PlannedLesion { box_id: format!("{image_id}-t{number}"), placed: placed.clone() });
        Self { lesions: lesions.collect(), image_id, plan }
    }

    /// `PA`, `AP` or `LATERAL`.
    pub fn view_position(&self) -> &'static str {
        self.plan.view.as_str()
    }

    /// The patient, age, visit and projection.
    pub fn plan(&self) -> &PhantomStudy {
        &self.plan
    }

    /// A lesion's box in a frame of `side` x `side` pixels, which some datasets' boxes refer to.
    pub fn box_in_frame(&self, lesion: &PlannedLesion, side: f32) -> BoxXyxy<Original> {
        let (x, y) = (side / self.plan.width as f32, side / self.plan.height as f32);
        let b = &lesion.placed.box_;
        BoxXyxy::new(b.x_min * x, b.y_min * y, b.x_max * x, b.y_max * y)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u32, u32) {
        (self.plan.width, self.plan.height)
    }

    /// Draws the film: 8 bits, bright is dense.
    pub fn pixels(&self) -> Vec<u8> {
        film::render(&self.plan).radiograph().pixels
    }

    /// Draws the film as a JPEG file.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be encoded.
    pub fn jpeg(&self, quality: u8) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut bytes = Cursor::new(Vec::new());
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode(&self.pixels(), width, height, ExtendedColorType::L8)
            .map_err(|e| Error::Internal(format!("{}: JPEG: {e}", self.image_id)))?;
        Ok(bytes.into_inner())
    }

    /// Draws the film as a PNG file.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let mut bytes = Cursor::new(Vec::new());
        PngEncoder::new(&mut bytes)
            .write_image(&self.pixels(), width, height, ExtendedColorType::L8)
            .map_err(|e| Error::Internal(format!("{}: PNG: {e}", self.image_id)))?;
        Ok(bytes.into_inner())
    }

    /// Draws the film as a DICOM file.
    ///
    /// # Errors
    /// Those of [`encode`].
    pub fn dicom(&self, storage: Storage) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let drawn = film::render(&self.plan);
        encode(&DicomFilm {
            image_id: &self.image_id,
            subject_id: &self.image_id,
            view_position: self.view_position(),
            width,
            height,
            samples: &drawn.samples,
            patient_sex: match self.plan.sex {
                Sex::Female => "F",
                Sex::Male => "M",
            },
            patient_age: self.plan.age_decade,
            storage,
        })
    }
}
