// SPDX-License-Identifier: GPL-2.0

//! `erodax-seeds DIR`: makes the images that fuzzing starts from, `DIR/images`, the archives,
//! `DIR/archives`, and the LZ4 blocks, `DIR/blocks`. They are small, and each has a feature of the
//! format that the others lack. Those in `DIR/small` have fewer files, so that a kernel walks many
//! of them in a minute.

mod records;
mod small;
mod tree;

use anyhow::{anyhow, bail, ensure, Context, Result};
use erodax_mutation::question;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tree::Shape;

/// What an image is made of.
#[derive(Clone, Copy)]
enum Source {
    /// A tar archive, which has files of all kinds, owners and xattrs.
    Tar,
    /// An archive that stays where it is: the image has its metadata only.
    TarIndex,
    /// A directory, which mkfs.erofs wants for chunks and compression.
    Directory,
}

/// An image's name, and what mkfs.erofs makes it of with which options.
type Row = (&'static str, Source, &'static [&'static str]);

/// The images.
const IMAGES: &[Row] = &[
    ("default", Source::Tar, &[]),
    ("b512", Source::Tar, &["-b512"]),
    ("b1024", Source::Tar, &["-b1024"]),
    ("b2048", Source::Tar, &["-b2048"]),
    ("plain", Source::Tar, &["-b512", "-E^inline_data"]),
    ("no-checksum", Source::Tar, &["-b512", "-Enosbcrc"]),
    (
        "extended",
        Source::Tar,
        &["-b512", "-Eforce-inode-extended"],
    ),
    ("no-filter", Source::Tar, &["-b512", "-E^xattr-name-filter"]),
    ("shared-xattrs", Source::Tar, &["-b512", "-x1"]),
    (
        "prefixes",
        Source::Tar,
        &[
            "-b512",
            "--xattr-prefix=user.long.",
            "--xattr-prefix=trusted.o",
        ],
    ),
    ("tar-index", Source::TarIndex, &["--tar=i"]),
    (
        "block-map",
        Source::Directory,
        &["-b512", "--chunksize=512", "-Eforce-inode-blockmap"],
    ),
    (
        "chunk-indexes",
        Source::Directory,
        &["-b512", "--chunksize=1024", "-Eforce-chunk-indexes"],
    ),
    ("lz4", Source::Directory, &["-b512", "-zlz4"]),
    (
        "legacy",
        Source::Directory,
        &["-b512", "-zlz4", "-Elegacy-compress"],
    ),
    (
        "big-pclusters",
        Source::Directory,
        &["-b512", "-zlz4hc", "-C8192"],
    ),
    (
        "tails",
        Source::Directory,
        &["-b1024", "-zlz4", "-Eztailpacking"],
    ),
    (
        "dedupe",
        Source::Directory,
        &["-b512", "-zlz4hc", "-C4096", "-Ededupe"],
    ),
    (
        "algorithms",
        Source::Directory,
        &["-zlz4:lzma:deflate:zstd"],
    ),
    (
        "fragments",
        Source::Directory,
        &["-zlz4", "-Eall-fragments", "--xattr-prefix=user.long."],
    ),
];

/// Those that take mkfs.erofs 1.9 or newer.
const NEWER: &[Row] = &[
    ("48bit", Source::Tar, &["-b512", "-E48bit"]),
    ("metabox", Source::Tar, &["-b512", "-m512"]),
    (
        "metabox-xattrs",
        Source::Tar,
        &["-b512", "-m512", "-x1", "--xattr-prefix=user.long."],
    ),
    (
        "metabox-chunks",
        Source::Directory,
        &["-m4096", "--chunksize=4096"],
    ),
    ("dot-omitted", Source::Tar, &["-b512", "-Edot-omitted"]),
    ("metadata-zone", Source::Tar, &["-b512", "--MZ"]),
    ("extents", Source::Directory, &["-b512", "-zlz4", "-E48bit"]),
    (
        "extents-fragments",
        Source::Directory,
        &["-b512", "-zlz4hc", "-C8192", "-E48bit", "-Efragments"],
    ),
    (
        "metabox-lz4",
        Source::Directory,
        &["-b512", "-zlz4", "-m512:lz4hc"],
    ),
    (
        "directories",
        Source::Directory,
        &["-zlz4", "--zD", "-Efragments"],
    ),
    (
        "digest",
        Source::Tar,
        &["-b512", "--xattr-inode-digest=trusted.digest"],
    ),
];

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        bail!("usage: erodax-seeds DIR");
    };
    let [images, archives, blocks, small] =
        ["images", "archives", "blocks", "small"].map(|name| dir.join(name));
    for dir in [&images, &archives, &blocks, &small] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let old = OsStr::new("mkfs.erofs");
    make_images(old, &[IMAGES], &tree::FULL, &images)?;
    make_images(old, &[IMAGES, small::IMAGES], &tree::SMALL, &small)?;
    match std::env::var_os("ERODAX_MKFS_NEW") {
        Some(new) => {
            make_images(&new, &[NEWER], &tree::FULL, &images)?;
            make_images(&new, &[NEWER, small::NEWER], &tree::SMALL, &small)?;
            make_records(&images)?;
        }
        None => eprintln!("no seeds that take mkfs.erofs 1.9: ERODAX_MKFS_NEW is not set"),
    }
    make_blocks(&blocks)?;
    make_archives(&images, &archives)
}

/// Encoded extents with records of every size: mkfs.erofs chooses one by the addresses.
fn make_records(images: &Path) -> Result<()> {
    let made = fs::read(images.join("extents-fragments.erofs"))?;
    let made = &made[..made.len() - question::SIZE];
    for size in records::SIZES {
        let mut bytes = records::resized(made, size)?;
        bytes.resize(bytes.len() + question::SIZE, 0);
        fs::write(images.join(format!("records-{size}.erofs")), bytes)?;
    }
    Ok(())
}

/// Blocks by the vendored encoder, each to be decoded to half of what it has.
fn make_blocks(target: &Path) -> Result<()> {
    for (name, content) in [
        ("mixed", tree::mixed(24 << 10)),
        ("pattern", tree::content(5000)),
        ("zeros", vec![0; 3000]),
        ("short", b"short".to_vec()),
    ] {
        let mut block = vec![0; lz4_flex::block::get_maximum_output_size(content.len())];
        let len = lz4_flex::block::compress_into(&content, &mut block)
            .map_err(|error| anyhow!("LZ4: {error}"))?;
        block.truncate(len);
        block.extend(u32::try_from(content.len() / 2)?.to_le_bytes());
        fs::write(target.join(format!("{name}.lz4")), block)?;
    }
    Ok(())
}

fn make_images(program: &OsStr, rows: &[&[Row]], shape: &Shape, target: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (archive, files) = (work.path().join("tree.tar"), work.path().join("tree"));
    fs::write(&archive, tree::tar(shape)?)?;
    tree::write(shape, &files)?;
    for (name, source, options) in rows.iter().copied().flatten() {
        let image = target.join(format!("{name}.erofs"));
        let mut mkfs = Command::new(program);
        mkfs.args([
            "--quiet",
            "-T1700000000",
            "-U00112233-4455-6677-8899-aabbccddeeff",
        ]);
        mkfs.args(*options)
            .args(matches!(source, Source::Tar).then_some("--tar=f"));
        mkfs.arg(&image).arg(match source {
            Source::Tar | Source::TarIndex => &archive,
            Source::Directory => &files,
        });
        run(&mut mkfs).with_context(|| format!("cannot make the image {name}"))?;
        let mut bytes = fs::read(&image)?;
        if matches!(source, Source::TarIndex) {
            // Read as one flat image, the archive follows its index.
            bytes.extend(fs::read(&archive)?);
        }
        // Room for a question, so that asking it changes nothing of the image.
        bytes.resize(bytes.len() + question::SIZE, 0);
        fs::write(&image, bytes)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// An archive of small files, and one with an image, with and without padding in front.
fn make_archives(images: &Path, target: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    tree::write(&tree::FULL, work.path())?;
    let plain = cpio(work.path(), &["file5", "dir", "dir/name0", "link"])?;
    fs::copy(images.join("b512.erofs"), work.path().join("root.erofs"))?;
    let packed = cpio(work.path(), &["dir", "root.erofs"])?;
    fs::write(target.join("plain.cpio"), &plain)?;
    fs::write(
        target.join("packed.cpio"),
        [&plain[..], &[0; 64], &packed].concat(),
    )?;
    Ok(())
}

/// A newc archive of some files in a directory.
fn cpio(dir: &Path, names: &[&str]) -> Result<Vec<u8>> {
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cpio")?;
    // Far less than a pipe holds.
    let mut input = cpio.stdin.take().context("cpio without input")?;
    input.write_all(names.join("\n").as_bytes())?;
    drop(input);
    let output = cpio.wait_with_output()?;
    ensure!(output.status.success(), "cpio failed");
    Ok(output.stdout)
}
