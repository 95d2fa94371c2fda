// SPDX-License-Identifier: GPL-2.0

//! The order in which pages and names are visited.

/// The numbers below `count` in an order that looks random and is the same each time.
pub fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    for last in (1..count).rev() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let below = u64::try_from(last + 1).unwrap_or(u64::MAX);
        let other = usize::try_from(state % below).unwrap_or(last);
        numbers.swap(last, other);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn every_number_once_and_few_in_their_places() {
        let mut numbers = shuffled(1000);
        assert_eq!(numbers, shuffled(1000));
        let same = numbers.iter().enumerate().filter(|(at, n)| at == *n);
        assert!(same.count() < 20);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1000));
        assert!(shuffled(0).is_empty());
    }
}
