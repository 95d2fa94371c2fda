// SPDX-License-Identifier: GPL-2.0

//! The images: mutants of small ones that mkfs.erofs has made.

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_format::superblock::SuperBlock;
use erodax_mutation::{mutate::Original, places::SUPER_BLOCK, seal::seal};
use fastrand::Rng;

/// The size of every image, so that each is as large as the disk of the kernel's own EROFS.
pub const SIZE: usize = 96 << 10;

/// The size of erodax's device, which is made in larger steps. Zeros follow the image there.
pub const PMEM_SIZE: usize = 16 << 20;

/// What mutants are made of.
pub struct Seeds(Vec<(String, Original)>);

/// An image to serve.
pub struct Mutant {
    /// The image that it was made of.
    pub origin: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Goes on where the mutations have stopped.
    pub rng: Rng,
}

impl Seeds {
    /// Reads all images of a directory.
    ///
    /// # Errors
    /// When there is none, or one does not fit.
    pub fn read(directory: &Path) -> Result<Self> {
        let context = || format!("cannot read {}", directory.display());
        let mut files: Vec<_> = fs::read_dir(directory)
            .and_then(Iterator::collect)
            .with_context(context)?;
        files.sort_by_key(fs::DirEntry::file_name);
        let mut seeds = Vec::new();
        for file in files {
            let name = file.file_name().to_string_lossy().into_owned();
            let image = fill(fs::read(file.path()).with_context(context)?);
            let image = image.with_context(|| name.clone())?;
            seeds.push((name, Original::new(image)));
        }
        ensure!(!seeds.is_empty(), "{} is empty", directory.display());
        Ok(Self(seeds))
    }

    /// Makes the mutant of a seed; the same one each time.
    pub fn mutant(&self, seed: u64) -> Mutant {
        let mut rng = Rng::with_seed(seed);
        let (origin, original) = &self.0[rng.usize(..self.0.len())];
        Mutant {
            origin: origin.clone(),
            bytes: original.mutant(&mut rng),
            rng,
        }
    }
}

/// Makes an image as large as all are, and its superblock say so.
fn fill(mut image: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(
        image.len() <= SIZE,
        "{} bytes are more than {SIZE}",
        image.len()
    );
    image.resize(SIZE, 0);
    let sb = SuperBlock::read(&image[..]).ok().context("no superblock")?;
    let blocks = u64::try_from(SIZE)? / u64::from(sb.block_size());
    SUPER_BLOCK.set(&mut image, "blocks_lo", blocks);
    seal(&mut image);
    let sb = SuperBlock::read(&image[..]).ok().context("no superblock")?;
    ensure!(sb.blocks() == blocks, "{} blocks", sb.blocks());
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock and nothing else.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 8192];
        SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
        SUPER_BLOCK.set(&mut image, "feature_compat", 1);
        SUPER_BLOCK.set(&mut image, "blkszbits", 12);
        SUPER_BLOCK.set(&mut image, "blocks_lo", 2);
        seal(&mut image);
        image
    }

    #[test]
    fn each_seed_has_a_mutant_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), image()).unwrap();
        }
        let seeds = Seeds::read(directory.path()).unwrap();
        let again = Seeds::read(directory.path()).unwrap();
        let mutants: Vec<_> = (0..100).map(|seed| seeds.mutant(seed)).collect();
        for (seed, mutant) in (0..).zip(&mutants) {
            assert!(again.mutant(seed).bytes == mutant.bytes);
            assert_eq!(mutant.bytes.len(), SIZE);
        }
        let unlike = mutants
            .windows(2)
            .filter(|two| two[0].bytes != two[1].bytes);
        assert!(unlike.count() > 90);
        assert!(mutants.iter().any(|mutant| mutant.origin == "a"));
        assert!(mutants.iter().any(|mutant| mutant.origin == "b"));
    }

    #[test]
    fn images_fill_their_device() {
        let filled = fill(image()).unwrap();
        let sb = SuperBlock::read(&filled[..]).unwrap();
        assert_eq!(sb.size(), u64::try_from(SIZE).unwrap());
        assert!(fill(vec![0; SIZE]).is_err());
        assert!(fill(vec![0; SIZE + 1]).is_err());
    }

    #[test]
    fn there_must_be_images() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Seeds::read(directory.path()).is_err());
        assert!(Seeds::read(&directory.path().join("missing")).is_err());
    }
}
