//! Finds hashes that nearly agree without comparing all pairs: each hash is cut into four bands of 16 bits, and only
//! entries that share a band are compared. A band also counts as shared when it differs in some of its three bits
//! nearest to the other sign.

use super::hash::WindowHash;

/// Bands of a hash.
const BANDS: usize = 4;
const BAND_BITS: usize = 64 / BANDS;
/// Bits of a band that may differ: those with the smallest margins.
const PROBED: usize = 3;

/// Entries by their bands.
#[derive(Debug)]
pub struct HashIndex {
    hashes: Vec<u64>,
    bands: Vec<Band>,
}

/// Entries sorted by one band; those with key `k` are `entries[starts[k]..starts[k + 1]]`.
#[derive(Debug)]
struct Band {
    starts: Vec<u32>,
    entries: Vec<u32>,
}

/// An entry near a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Position in the list that the index was made from.
    pub entry: u32,
    /// Number of the query's window that is nearest.
    pub window: u8,
    /// Bits that differ.
    pub distance: u8,
}

/// Memory of a thread's queries.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each entry: the query that last met it, its nearest window and its distance.
    met: Vec<(u32, u8, u8)>,
    query: u32,
    touched: Vec<u32>,
}

impl HashIndex {
    /// An index of at most `u32::MAX` hashes.
    pub fn new(hashes: Vec<u64>) -> Self {
        let bands = (0..BANDS).map(|band| Band::new(&hashes, band)).collect();
        Self { hashes, bands }
    }

    /// Entries within `distance_max` bits of one of the windows or of its complement (an inverted copy), each once.
    pub fn near(&self, windows: &[WindowHash], distance_max: u32, scratch: &mut Scratch) -> Vec<Hit> {
        scratch.met.resize(self.hashes.len(), (0, 0, 0));
        scratch.query += 1;
        scratch.touched.clear();
        for (number, window) in windows.iter().enumerate() {
            for (b, band) in self.bands.iter().enumerate() {
                let key = band_of(window.bits, b);
                for flips in probes(&window.margins[b * BAND_BITS..(b + 1) * BAND_BITS]) {
                    for (bits, key) in [(window.bits, key ^ flips), (!window.bits, !key ^ flips)] {
                        for &entry in band.with(key) {
                            let distance = (self.hashes[entry as usize] ^ bits).count_ones();
                            if distance <= distance_max {
                                scratch.meet(entry, number as u8, distance as u8);
                            }
                        }
                    }
                }
            }
        }
        let hit = |&entry: &u32| {
            let (_, window, distance) = scratch.met[entry as usize];
            Hit { entry, window, distance }
        };
        scratch.touched.iter().map(hit).collect()
    }
}

impl Scratch {
    fn meet(&mut self, entry: u32, window: u8, distance: u8) {
        let met = &mut self.met[entry as usize];
        if met.0 != self.query {
            *met = (self.query, window, distance);
            self.touched.push(entry);
        } else if distance < met.2 {
            (met.1, met.2) = (window, distance);
        }
    }
}

impl Band {
    fn new(hashes: &[u64], band: usize) -> Self {
        let mut starts = vec![0u32; (1 << BAND_BITS) + 1];
        for hash in hashes {
            starts[usize::from(band_of(*hash, band)) + 1] += 1;
        }
        for key in 0..1 << BAND_BITS {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut entries = vec![0u32; hashes.len()];
        for (entry, hash) in hashes.iter().enumerate() {
            let at = &mut next[usize::from(band_of(*hash, band))];
            entries[*at as usize] = entry as u32;
            *at += 1;
        }
        Self { starts, entries }
    }

    fn with(&self, key: u16) -> &[u32] {
        let key = usize::from(key);
        &self.entries[self.starts[key] as usize..self.starts[key + 1] as usize]
    }
}

fn band_of(hash: u64, band: usize) -> u16 {
    (hash >> (band * BAND_BITS)) as u16
}

/// All subsets of the band's bits with the smallest margins.
fn probes(margins: &[f32]) -> [u16; 1 << PROBED] {
    let mut weakest = [usize::MAX; PROBED];
    for i in 0..PROBED {
        let left = (0..margins.len()).filter(|bit| !weakest.contains(bit));
        weakest[i] = left.min_by(|a, b| margins[*a].total_cmp(&margins[*b])).unwrap_or(0);
    }
    std::array::from_fn(|subset| (0..PROBED).filter(|i| subset >> i & 1 == 1).map(|i| 1 << weakest[i]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bits: u64) -> WindowHash {
        WindowHash { bits, margins: std::array::from_fn(|i| i as f32) }
    }

    #[test]
    fn near_hashes_and_complements_are_found_once_with_their_nearest_window() {
        let base = 0x0123_4567_89ab_cdef;
        let index = HashIndex::new(vec![base, base ^ 0b111, !base, base.rotate_left(7), base ^ 1 << 40]);
        let mut scratch = Scratch::default();
        let mut found = index.near(&[window(base ^ 1 << 63), window(base)], 3, &mut scratch);
        found.sort_by_key(|hit| hit.entry);
        let hit = |entry, distance| Hit { entry, window: 1, distance };
        assert_eq!(found, [hit(0, 0), hit(1, 3), hit(2, 0), hit(4, 1)]);
        assert_eq!(index.near(&[window(base)], 0, &mut scratch).len(), 2, "the memory of a query is not kept");
        assert!(HashIndex::new(Vec::new()).near(&[window(base)], 9, &mut scratch).is_empty());
    }

    #[test]
    fn a_band_may_differ_in_its_weakest_bits() {
        let base = 0x0123_4567_89ab_cdef;
        // In each band the three lowest bits have the smallest margins.
        let weak = 0x0007_0007_0007_0007;
        let strong = 0x8000_8000_8000_8000;
        let index = HashIndex::new(vec![base ^ weak, base ^ strong]);
        let found = index.near(&[window(base)], 12, &mut Scratch::default());
        assert_eq!(found.iter().map(|hit| hit.entry).collect::<Vec<_>>(), [0]);
    }
}
