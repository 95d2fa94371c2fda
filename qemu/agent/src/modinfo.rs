// SPDX-License-Identifier: GPL-2.0

//! What a kernel module says of itself in its `.modinfo` section.

/// Names of the modules that the module with this (uncompressed) content needs loaded first.
///
/// modpost writes exactly one NUL-terminated `depends=` string into `.modinfo`, with the names
/// separated by commas; there is no need to walk the ELF headers to find it.
pub fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn names_are_split_at_commas() {
        assert_eq!(
            depends(b"\x7fELF\0name=x\0depends=netfs,lz4_compress\0vermagic=7"),
            ["netfs", "lz4_compress"]
        );
    }

    #[test]
    fn a_module_without_needs() {
        assert!(depends(b"\x7fELF\0depends=\0vermagic=7").is_empty());
        assert!(depends(b"\x7fELF").is_empty());
    }
}
