// SPDX-License-Identifier: GPL-2.0

//! The kernel's functions by their addresses.

use std::fs;

use anyhow::{ensure, Context, Result};

/// What /proc/kallsyms says.
pub(super) struct Symbols {
    /// Start and name, sorted.
    functions: Vec<(u64, String)>,
}

impl Symbols {
    pub(super) fn load() -> Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("no /proc/kallsyms")?;
        let symbols = Self::parse(&text);
        ensure!(
            !symbols.functions.is_empty(),
            "/proc/kallsyms has no functions"
        );
        Ok(symbols)
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut functions: Vec<_> = text.lines().filter_map(parse_line).collect();
        functions.sort();
        Self { functions }
    }

    /// The function that an address is in; a name of a module's has `[MODULE]` behind it.
    pub(super) fn name(&self, address: u64) -> &str {
        let after = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        after
            .checked_sub(1)
            .and_then(|at| self.functions.get(at))
            .map_or("unknown", |(_, name)| name)
    }
}

/// `ADDRESS TYPE NAME`, and `[MODULE]` for a module's. Only code is wanted, of which the address
/// is zero where it is hidden.
fn parse_line(line: &str) -> Option<(u64, String)> {
    let mut fields = line.split_ascii_whitespace();
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    let is_code = matches!(fields.next()?, "t" | "T" | "w" | "W");
    let name = fields.next()?;
    let name = match fields.next() {
        Some(module) => format!("{name} {module}"),
        None => name.to_owned(),
    };
    (is_code && address != 0).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    #[test]
    fn an_address_is_in_the_function_before_it() {
        let symbols = Symbols::parse(
            "ffffffff81000010 t second\nffffffff81000000 T first\nffffffff81000018 d data\n\
             0000000000000000 t hidden\nffffffffc0000000 t own\t[erodax]\n",
        );
        assert_eq!(symbols.name(0xffff_ffff_8100_000f), "first");
        assert_eq!(symbols.name(0xffff_ffff_8100_0010), "second");
        assert_eq!(symbols.name(0xffff_ffff_8100_0020), "second");
        assert_eq!(symbols.name(0xffff_ffff_c000_0001), "own [erodax]");
        assert_eq!(symbols.name(1), "unknown");
    }
}
