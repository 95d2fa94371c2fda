// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write and read them.

/// Reads `4096`, `64K`, `2M` or `1G`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let (digits, unit) = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30)]
        .into_iter()
        .find_map(|(letter, unit)| Some((upper.strip_suffix(letter)?, unit)))
        .unwrap_or((&upper, 1));
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "give a number of bytes, or one with K, M or G".to_owned())
}

/// Writes a size for people: `4 KiB`, `47.7 MiB`.
pub(crate) fn display(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x400 => return format!("{bytes} bytes"),
        0x400..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    match (bytes / unit, bytes % unit * 10 / unit) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenths) => format!("{whole}.{tenths} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("4096", 4096),
            ("4K", 4096),
            ("2m", 2 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes));
        }
        for bad in ["", "K", "-1", "4KB", "1.5M", "99999999999G", "4é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_written() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (4096, "4 KiB"),
            (1536, "1.5 KiB"),
            (50 << 20, "50 MiB"),
            ((1 << 40) + 1, "1024 GiB"),
        ] {
            assert_eq!(display(bytes), text);
        }
    }
}
