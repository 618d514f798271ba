//! How the elements of a data set are written (PS3.5 7.1): with or without VRs, in which byte order. Meta information
//! says so; where it is wrong or absent, the first elements tell.

use super::data_set::{Header, PIXEL_DATA, element_end, read_header};

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Value representations are written out (Explicit VR).
    pub has_vr: bool,
    /// Most significant byte first.
    pub is_big_endian: bool,
}

/// Elements at the start of a data set that are compared.
const ELEMENTS_COMPARED: usize = 12;
/// Elements that must fit for an encoding to be certain.
pub(super) const CERTAIN: usize = 3;

/// Radiographs begin with group 0008, items of their sequences with one of these.
const FIRST_GROUPS: std::ops::RangeInclusive<u32> = 0x0004..=0x0040;

impl Encoding {
    pub(super) const IMPLICIT: Self = Self { has_vr: false, is_big_endian: false };
    pub(super) const EXPLICIT: Self = Self { has_vr: true, is_big_endian: false };
    pub(super) const BIG_ENDIAN: Self = Self { has_vr: true, is_big_endian: true };

    pub(super) fn name(self) -> &'static str {
        match (self.has_vr, self.is_big_endian) {
            (false, _) => "implicit VR little endian",
            (true, false) => "explicit VR little endian",
            (true, true) => "explicit VR big endian",
        }
    }

    /// The encoding in which the first elements of a data set follow each other: this one, unless another one certainly
    /// fits more of them.
    pub(super) fn found_in(self, body: &[u8]) -> Self {
        let (mut best, mut most) = (self, self.elements_that_fit(body));
        for other in [Self::EXPLICIT, Self::IMPLICIT, Self::BIG_ENDIAN] {
            let fit = other.elements_that_fit(body);
            if fit > most && fit >= CERTAIN {
                (best, most) = (other, fit);
            }
        }
        best
    }

    /// How many elements from the start of `body` on follow each other: ascending tags, VRs that exist, values that end
    /// within it; [`ELEMENTS_COMPARED`] at most.
    pub(super) fn elements_that_fit(self, body: &[u8]) -> usize {
        let (mut at, mut last) = (0, None);
        for count in 0..ELEMENTS_COMPARED {
            let header = body.get(at..).and_then(|rest| read_header(rest, self));
            let Some((header, end)) = header.and_then(|h| Some((h, element_end(body, at, &h, self)?))) else {
                return count;
            };
            if !self.fits(&header, last) {
                return count;
            }
            if end == body.len() || header.tag == PIXEL_DATA {
                // A data set that ends where it should.
                return count + 2;
            }
            (at, last) = (end, Some(header.tag));
        }
        ELEMENTS_COMPARED
    }

    fn fits(self, header: &Header, last: Option<u32>) -> bool {
        let in_order = match last {
            Some(last) => header.tag > last && header.tag >> 16 != 0xFFFE,
            None => FIRST_GROUPS.contains(&(header.tag >> 16)),
        };
        in_order && (header.has_known_vr || !self.has_vr)
    }
}
