//! Chance that can be had again.

/// SplitMix64: the same throws for the same seed.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.roll(choices.len() as u64);
        &choices[usize::try_from(index).unwrap()]
    }
}
