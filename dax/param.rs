// SPDX-License-Identifier: GPL-2.0

//! The `region=` parameter: `initrd`, or `ADDR,SIZE[,ADDR,SIZE…]`.
//!
//! Numbers are C integers (decimal, `0x…`, `0…`); sizes may end in K, M or G (powers of
//! 1024), as in the kernel's `memparse`. Pure code without kernel types, so that the host
//! runs its tests.

/// What `region=` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Every EROFS image in the retained initrd.
    Initrd,
    /// Memory given by address.
    Ranges(Ranges<'a>),
}

/// Bytes of physical memory; never empty, and the end does not wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Physical address of the first byte.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) size: u64,
}

impl Range {
    /// A range, unless it is empty or wraps around the address space.
    pub(crate) fn new(address: u64, size: u64) -> Result<Self, ParamError> {
        if size == 0 {
            return Err(ParamError::ZeroSize);
        }
        match address.checked_add(size) {
            Some(_) => Ok(Self { address, size }),
            None => Err(ParamError::Overflow),
        }
    }

    /// Address one past the last byte.
    pub(crate) fn end(self) -> u64 {
        // `new` has checked that this does not wrap.
        self.address.wrapping_add(self.size)
    }

    /// Whether all of `other` lies inside.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.address <= other.address && other.end() <= self.end()
    }

    /// Whether they share bytes.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.address < other.end() && other.address < self.end()
    }

    /// What both and the bytes between them take.
    pub(crate) fn joined(self, other: Self) -> Self {
        let address = self.address.min(other.address);
        // The later of two ends that do not wrap does not wrap.
        let size = self.end().max(other.end()).wrapping_sub(address);
        Self { address, size }
    }

    /// The whole units, a power of two bytes each, that hold it.
    pub(crate) fn padded(self, unit: u64) -> Result<Self, ParamError> {
        let mask = unit.wrapping_sub(1);
        let start = self.address & !mask;
        let end = self.end().checked_add(mask).map(|end| end & !mask);
        let end = end.ok_or(ParamError::Overflow)?;
        Self::new(start, end.wrapping_sub(start))
    }
}

/// Why a `region=` value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParamError {
    /// No value at all.
    Missing,
    /// An address without a size.
    OddCount,
    /// Not a C integer, or one of more than 64 bits.
    BadNumber,
    /// A size of 0.
    ZeroSize,
    /// Address + size (padded to pages) is beyond 64 bits.
    Overflow,
    /// Two pairs share bytes.
    Overlap,
}

impl ParamError {
    /// What is wrong and what to do.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Missing => "no region given: load with region=ADDR,SIZE or region=initrd",
            Self::OddCount => {
                "region= has an address without a size: give pairs, region=ADDR,SIZE[,ADDR,SIZE...]"
            }
            Self::BadNumber => {
                "region= has something that is no number: use C integers such as 0x3f000000,64M"
            }
            Self::ZeroSize => "region= has a size of 0: give the image's size in bytes",
            Self::Overflow => "region= wraps around: address + size is beyond 64 bits",
            Self::Overlap => "region= has pairs that overlap: give each image its own bytes",
        }
    }
}

/// Takes a `region=` value apart and checks every pair.
pub(crate) fn parse(value: &[u8]) -> Result<Request<'_>, ParamError> {
    match value.trim_ascii() {
        b"" => Err(ParamError::Missing),
        b"initrd" => Ok(Request::Initrd),
        pairs => {
            let ranges = Ranges { rest: Some(pairs) };
            ranges.check()?;
            Ok(Request::Ranges(ranges))
        }
    }
}

/// The pairs of a `region=` value, in order.
///
/// # Invariants
///
/// Made by [`parse`] only after every pair was found good, so iteration meets no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranges<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Ranges<'a> {
    fn check(self) -> Result<(), ParamError> {
        let mut one = self;
        while let Some(range) = one.take_pair()? {
            let mut other = one;
            while let Some(later) = other.take_pair()? {
                if range.overlaps(later) {
                    return Err(ParamError::Overlap);
                }
            }
        }
        Ok(())
    }

    fn take_pair(&mut self) -> Result<Option<Range>, ParamError> {
        let Some(address) = self.take_field() else {
            return Ok(None);
        };
        let size = self.take_field().ok_or(ParamError::OddCount)?;
        let address = integer(address).ok_or(ParamError::BadNumber)?;
        let size = size_integer(size).ok_or(ParamError::BadNumber)?;
        Range::new(address, size).map(Some)
    }

    fn take_field(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        let comma = text.iter().position(|&byte| byte == b',');
        let (field, rest) = match comma.and_then(|at| text.split_at_checked(at)) {
            Some((field, rest)) => (field, rest.get(1..)),
            None => (text, None),
        };
        self.rest = rest;
        Some(field.trim_ascii())
    }
}

impl Iterator for Ranges<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        self.take_pair().ok().flatten()
    }
}

/// A C integer: `0x` hexadecimal, a leading `0` octal, else decimal.
fn integer(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text {
        [b'0', b'x' | b'X', hex @ ..] => (hex, 16),
        [b'0', octal @ ..] if !octal.is_empty() => (octal, 8),
        decimal => (decimal, 10),
    };
    // `from_str_radix` also takes a sign, which no address has.
    if !digits.first()?.is_ascii_alphanumeric() {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()
}

/// An integer with an optional K, M or G after it.
fn size_integer(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 1 << 10),
        [digits @ .., b'M' | b'm'] => (digits, 1 << 20),
        [digits @ .., b'G' | b'g'] => (digits, 1 << 30),
        digits => (digits, 1),
    };
    integer(digits)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> Result<Vec<(u64, u64)>, ParamError> {
        match parse(text.as_bytes())? {
            Request::Ranges(ranges) => Ok(ranges.map(|r| (r.address, r.size)).collect()),
            Request::Initrd => panic!("{text}: taken for the initrd"),
        }
    }

    #[test]
    fn pairs_in_every_notation() {
        assert_eq!(ranges("4096,512"), Ok(vec![(4096, 512)]));
        assert_eq!(ranges("0x1000,64K"), Ok(vec![(0x1000, 64 << 10)]));
        assert_eq!(ranges("010,0X10"), Ok(vec![(8, 16)]));
        assert_eq!(
            ranges("0x40000000, 2M ,0x0,1g\n"),
            Ok(vec![(0x4000_0000, 2 << 20), (0, 1 << 30)])
        );
    }

    #[test]
    fn the_initrd_by_name() {
        assert_eq!(parse(b"initrd"), Ok(Request::Initrd));
        assert_eq!(parse(b" initrd\n"), Ok(Request::Initrd));
        assert_eq!(parse(b"initrd,4096"), Err(ParamError::BadNumber));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        for (text, error) in [
            ("", ParamError::Missing),
            ("  \n", ParamError::Missing),
            ("4096", ParamError::OddCount),
            ("4096,512,8192", ParamError::OddCount),
            ("4096,0", ParamError::ZeroSize),
            ("4096,", ParamError::BadNumber),
            (",4096", ParamError::BadNumber),
            ("4096,512,", ParamError::OddCount),
            ("4096,+512", ParamError::BadNumber),
            ("-4096,512", ParamError::BadNumber),
            ("4K,512", ParamError::BadNumber),
            ("0x,512", ParamError::BadNumber),
            ("089,512", ParamError::BadNumber),
            ("4096,K", ParamError::BadNumber),
            ("0x10000000000000000,512", ParamError::BadNumber),
            ("4096,0x3ffffffffffffffG", ParamError::BadNumber),
            ("0xfffffffffffff000,8192", ParamError::Overflow),
            ("4096,8192,8192,4096", ParamError::Overlap),
            ("8192,4096,0,4096,4096,4097", ParamError::Overlap),
        ] {
            assert_eq!(ranges(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert_eq!(
            ranges("4096,4096,8192,4096"),
            Ok(vec![(4096, 4096), (8192, 4096)])
        );
    }

    #[test]
    fn ranges_grow_outward() {
        let range = |address, size| Range::new(address, size).unwrap();
        assert_eq!(range(0x1fff, 2).padded(0x1000), Ok(range(0x1000, 0x2000)));
        assert_eq!(
            range(0x1000, 0x1000).padded(0x1000),
            Ok(range(0x1000, 0x1000))
        );
        let last = range(u64::MAX - 1, 1);
        assert_eq!(last.padded(0x1000), Err(ParamError::Overflow));
        assert_eq!(range(8, 8).joined(range(1, 2)), range(1, 15));
        assert_eq!(range(8, 8).joined(range(9, 2)), range(8, 8));
    }

    #[test]
    fn containment_is_inclusive() {
        let outer = Range::new(0x1000, 0x2000).unwrap();
        assert!(outer.contains(outer));
        assert!(!outer.contains(Range::new(0xfff, 2).unwrap()));
        assert!(!outer.contains(Range::new(0x2fff, 2).unwrap()));
    }
}
