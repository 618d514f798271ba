//! Changes of an input without coverage: the same for the same number, so that a failing test names its input.

/// A generator of numbers (SplitMix64; Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// `seed` with one to five changes: a byte set, a bit flipped, a stretch removed, repeated, or overwritten by one of its own.
pub fn mutated(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(5) {
        if bytes.is_empty() {
            bytes.push(numbers.below(256) as u8);
            continue;
        }
        let at = numbers.below(bytes.len());
        let end = (at + 1 + numbers.below(16)).min(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = numbers.below(256) as u8,
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'"', b',', b'\n', b'9'][numbers.below(8)],
            3 => drop(bytes.drain(at..end)),
            4 => {
                let stretch = bytes[at..end].to_vec();
                (0..=numbers.below(3)).for_each(|_| drop(bytes.splice(at..at, stretch.iter().copied())));
            }
            _ => {
                let from = numbers.below(bytes.len() + at - end + 1).min(bytes.len() - (end - at));
                let stretch = bytes[from..from + (end - at)].to_vec();
                bytes[at..end].copy_from_slice(&stretch);
            }
        }
    }
    bytes
}
