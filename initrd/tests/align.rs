// SPDX-License-Identifier: GPL-2.0

//! Images with aligned files: what they hold is the same, for other programs too.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use erodax_format::change::Change;
use erodax_format::dir;
use erodax_format::flat::Extent;
use erodax_format::inode::Inode;
use erodax_format::superblock::SuperBlock;
use support::{cpio_extract, erodax, fail, inspect, stderr, stdout, succeed, Workshop};

const HUGE: u64 = 2 << 20;

/// Bytes that tell where they are, and in which file.
fn content(len: usize, file: u64) -> Vec<u8> {
    let numbers = (0..).map(|at: u64| (at << 16) | file);
    let bytes = numbers.flat_map(u64::to_le_bytes);
    bytes.take(len).collect()
}

/// A workshop whose tree has large files among small ones.
fn shop() -> Workshop {
    let shop = Workshop::new();
    let tree = shop.tree();
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::write(tree.join("usr/lib/big"), content(5 << 20, 100)).unwrap();
    fs::write(tree.join("usr/lib/odd"), content((3 << 20) + 1234, 101)).unwrap();
    fs::hard_link(tree.join("usr/lib/odd"), tree.join("again")).unwrap();
    symlink("usr/lib", tree.join("lib")).unwrap();
    symlink("/lib/big", tree.join("usr/large")).unwrap();
    for number in 0..40 {
        let file = u64::try_from(number).unwrap();
        let bytes = content(700 * number * number, file);
        fs::write(tree.join(format!("usr/{number}")), bytes).unwrap();
    }
    shop
}

/// `erodax align` of an image, with more arguments, to `out/aligned`.
fn align(shop: &Workshop, image: &Path, args: &[&str]) -> (Command, PathBuf) {
    let output = shop.path("out/aligned");
    let mut command = erodax();
    command
        .arg("align")
        .args(args)
        .arg(image)
        .arg("-o")
        .arg(&output);
    (command, output)
}

/// An image in memory.
struct Loaded {
    bytes: Vec<u8>,
    sb: SuperBlock,
}

impl Loaded {
    fn new(image: &Path) -> Self {
        let bytes = fs::read(image).unwrap();
        let sb = SuperBlock::read(&bytes[..]).unwrap();
        Self { bytes, sb }
    }

    fn find(&self, path: &str) -> Inode {
        let read = |nid| Inode::read(&self.bytes[..], &self.sb, nid).unwrap();
        path.split('/')
            .fold(read(self.sb.root_nid()), |parent, name| {
                let found = dir::lookup(&self.bytes[..], &self.sb, &parent, name.as_bytes());
                read(found.unwrap().expect(path).nid)
            })
    }

    /// Where a file's data begins.
    fn lies_at(&self, path: &str) -> u64 {
        match self.find(path).extent_at(&self.bytes[..], &self.sb, 0) {
            Ok(Extent::Data { offset, .. }) => offset,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let inode = self.find(path);
        let mut content = vec![0; usize::try_from(inode.size).unwrap()];
        let read = inode.read_data(&self.bytes[..], &self.sb, 0, &mut content);
        assert_eq!(read, Ok(content.len()));
        content
    }
}

fn lies_at(image: &Path, path: &str) -> u64 {
    Loaded::new(image).lies_at(path)
}

/// fsck.erofs, the newest there is, finds the tree's files in an image.
fn check(shop: &Workshop, image: &Path) {
    let fsck = newer("fsck.erofs");
    let extracted = tempfile::tempdir_in(shop.path("in")).unwrap();
    let target = format!("--extract={}", extracted.path().display());
    succeed(Command::new(fsck).args([&target, "--overwrite"]).arg(image));
    succeed(
        Command::new("diff")
            .args(["-r", "--no-dereference"])
            .args([shop.tree().as_path(), extracted.path()]),
    );
}

/// A program of erofs-utils 1.9 or newer.
fn newer(name: &str) -> PathBuf {
    let mkfs = std::env::var_os("ERODAX_MKFS_NEW");
    let mkfs = mkfs.expect("ERODAX_MKFS_NEW is to be set: `make test-host` sets it");
    PathBuf::from(mkfs).with_file_name(name)
}

/// An image of the tree that mkfs.erofs 1.9 makes.
fn newer_image(shop: &Workshop, name: &str, options: &[&str]) -> PathBuf {
    let path = shop.path("in").join(name);
    let mut command = Command::new(newer("mkfs.erofs"));
    succeed(
        command
            .args(["--quiet", "-T0"])
            .args(options)
            .arg(&path)
            .arg(shop.tree()),
    );
    path
}

#[test]
fn chosen_files_begin_at_huge_pages() {
    let shop = shop();
    for options in [
        &[][..],
        &["-E^inline_data"],
        &["-Enosbcrc"],
        &["-Eforce-inode-extended"],
        &["-Eforce-inode-compact"],
    ] {
        let image = shop.image("root.erofs", options);
        let args = [
            "--force",
            "--align-file=/lib/odd",
            "--align-file",
            "usr/large",
        ];
        let (mut command, aligned) = align(&shop, &image, &args);
        let text = stdout(&succeed(&mut command));
        for path in ["usr/lib/big", "usr/lib/odd", "again"] {
            let offset = lies_at(&aligned, path);
            assert_eq!(offset % HUGE, 0, "{path} with {options:?}");
            assert!(text.contains(&format!(" at offset {offset} ")), "{text}");
            assert_ne!(lies_at(&image, path) % HUGE, 0, "the test needs others");
        }
        check(&shop, &aligned);
        let facts = |path: &Path| inspect(path)["images"][0]["superblock"].clone();
        let (mut before, after) = (facts(&image), facts(&aligned));
        before["blocks"] = after["blocks"].clone();
        assert_eq!(before, after);
        let size = fs::metadata(&aligned).unwrap().len();
        assert_eq!(after["blocks"], size / 4096);
    }
}

#[test]
fn newer_images() {
    let shop = shop();
    let with_tails_in_metabox: [&[&str]; 2] = [&["-m4096"], &["-m4096", "-E48bit"]];
    let others: [&[&str]; 3] = [&["-E48bit"], &["-m4096", "-E^inline_data"], &["--MZ"]];
    for options in with_tails_in_metabox.into_iter().chain(others) {
        let image = newer_image(&shop, "newer.erofs", options);
        let (mut command, aligned) = align(&shop, &image, &["--force", "--align-larger-than=3M"]);
        succeed(&mut command);
        let loaded = Loaded::new(&aligned);
        for path in ["usr/lib/big", "usr/lib/odd", "usr/7", "usr/39"] {
            let expected = fs::read(shop.tree().join(path)).unwrap();
            assert!(loaded.read(path) == expected, "{path} with {options:?}");
        }
        for path in ["usr/lib/big", "usr/lib/odd"] {
            assert_eq!(loaded.lies_at(path) % HUGE, 0, "{path} with {options:?}");
        }
        // fsck.erofs 1.9.4 reads no tails in a metabox.
        if !with_tails_in_metabox.contains(&options) {
            check(&shop, &aligned);
        }
    }
}

#[test]
fn without_inline_data_nothing_is_lost() {
    let shop = shop();
    let image = shop.image("root.erofs", &["-E^inline_data"]);
    let (mut command, aligned) = align(&shop, &image, &["--align-larger-than=2M"]);
    let text = stdout(&succeed(&mut command));
    let [before, after] = [&image, &aligned].map(|path| fs::metadata(path).unwrap().len());
    // The files are all of the image but for some blocks.
    assert!(after <= before + HUGE, "{text}");
    assert!(
        text.contains(&format!("  {before} bytes before, {after} now, ")),
        "{text}"
    );
}

#[test]
fn much_unused_room_is_warned_of() {
    let shop = shop();
    for number in 0..40 {
        fs::remove_file(shop.tree().join(format!("usr/{number}"))).unwrap();
    }
    // Inodes with tails, nearer to each other than the file is large.
    for number in 0..360 {
        let directory = shop.tree().join(format!("usr/z{}", number / 30));
        fs::create_dir_all(&directory).unwrap();
        let bytes = content(50_000, 200 + number);
        fs::write(directory.join(number.to_string()), bytes).unwrap();
    }
    fs::write(shop.tree().join("usr/lib/larger"), content(9 << 20, 102)).unwrap();
    let warnings = |options| {
        let image = shop.image("root.erofs", options);
        let args = ["--force", "--align-file=usr/lib/larger"];
        let (mut command, aligned) = align(&shop, &image, &args);
        let text = stderr(&succeed(&mut command));
        check(&shop, &aligned);
        text
    };
    let text = warnings(&[]);
    let words = [
        "warning: ",
        " MiB of the image are unused",
        "-E^inline_data",
    ];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert_eq!(warnings(&["-E^inline_data"]), "");
}

#[test]
fn aligned_images_stay() {
    let shop = shop();
    let image = shop.image("root.erofs", &[]);
    let (mut command, aligned) = align(&shop, &image, &["--align-larger-than=2M"]);
    succeed(&mut command);
    let first = fs::read(&aligned).unwrap();
    let again = shop.path("in/again.erofs");
    fs::rename(&aligned, &again).unwrap();
    let (mut command, aligned) = align(&shop, &again, &["--align-larger-than=2M"]);
    succeed(&mut command);
    assert!(fs::read(&aligned).unwrap() == first);
}

#[test]
fn old_places_are_zeros() {
    let shop = shop();
    // Inodes are between the files' data, so that those go behind them.
    let image = shop.image("root.erofs", &[]);
    let (mut command, aligned) = align(&shop, &image, &["--align-file=usr/lib/big"]);
    let text = stdout(&succeed(&mut command));
    let bytes = fs::read(&aligned).unwrap();
    let big = fs::read(shop.tree().join("usr/lib/big")).unwrap();
    let block = &big[4096..8192];
    let copies = bytes.chunks(4096).filter(|found| *found == block).count();
    assert_eq!(copies, 1, "{text}");
}

#[test]
fn packed_images_are_aligned_in_the_initrd() {
    let shop = shop();
    let other = shop.image("other.erofs", &[]);
    let output = succeed(
        shop.pack(&[
            "--align=2M",
            "--align-larger-than=3M",
            "--align-file=/data",
            "--image",
        ])
        .arg(shop.tree())
        .arg("--image")
        .arg(&other),
    );
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    assert_eq!(text.matches("/usr/lib/big at offset ").count(), 2, "{text}");
    let initrd = fs::read(shop.output()).unwrap();
    let extracted = shop.path("extracted");
    cpio_extract(&initrd, &extracted);
    for (index, name) in ["tree", "other"].iter().enumerate() {
        let image = extracted.join(format!(".erofs.d/{name}.erofs"));
        assert_eq!(lies_at(&image, "usr/lib/big") % HUGE, 0);
        assert_eq!(lies_at(&image, "data") % HUGE, 0);
        check(&shop, &image);
        let offset = inspect(&shop.output())["images"][index]["offset"].as_u64();
        assert_eq!(offset.unwrap() % HUGE, 0);
    }
    assert_eq!(shop.outputs(), ["initrd"]);

    let mut command = shop.pack(&["--force", "--align-larger-than=3M", "--image"]);
    let text = stderr(&succeed(command.arg(&other)));
    assert!(
        text.contains("warning: ") && text.contains("--align 2M"),
        "{text}"
    );
}

/// Checks that the message has all the words, and that nothing was written.
#[track_caller]
fn refused(shop: &Workshop, image: &Path, args: &[&str], words: &[&str]) {
    let (mut command, _) = align(shop, image, args);
    let message = fail(&mut command);
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
    assert!(shop.outputs().is_empty(), "something was left behind");
}

#[test]
fn wrong_paths() {
    let shop = shop();
    symlink("loop", shop.tree().join("loop")).unwrap();
    fs::write(shop.tree().join("empty"), "").unwrap();
    let image = shop.image("root.erofs", &[]);
    for path in [
        "/no-such",
        "usr/lib/big/more",
        "loop",
        "usr/lib/../../../no",
    ] {
        let arg = format!("--align-file={path}");
        refused(
            &shop,
            &image,
            &[&arg],
            &["no image has", path, "when the image is mounted"],
        );
    }
    for path in ["/", "usr/lib", "lib"] {
        let arg = format!("--align-file={path}");
        refused(
            &shop,
            &image,
            &[&arg],
            &["cannot align", path, "not a regular file"],
        );
    }
    for path in ["empty", "etc/hostname"] {
        let arg = format!("--align-file={path}");
        refused(
            &shop,
            &image,
            &[&arg],
            &["cannot align", path, "no blocks of its own"],
        );
    }
    refused(
        &shop,
        &image,
        &[],
        &["--align-file PATH", "--align-larger-than SIZE"],
    );
}

#[test]
fn data_that_cannot_be_moved() {
    let shop = shop();
    let big = ["--align-file=usr/lib/big"];
    let image = shop.image("lz4.erofs", &["-zlz4"]);
    refused(
        &shop,
        &image,
        &big,
        &["compressed", "without -z", "--compress-hints"],
    );
    let image = shop.image("chunks.erofs", &["--chunksize=65536"]);
    refused(&shop, &image, &big, &["chunks", "without --chunksize"]);
    let image = shop.image("small.erofs", &["-b1024"]);
    refused(&shop, &image, &big, &["1024 bytes", "-b4096"]);
    let image = newer_image(&shop, "metabox.erofs", &["-m4096:lz4", "-zlz4"]);
    refused(
        &shop,
        &image,
        &big,
        &["cannot align files of", "compressed", "without -z and -m"],
    );

    // What only a size names is left as it is, with a word about it.
    let image = shop.image("lz4.erofs", &["-zlz4"]);
    let (mut command, aligned) = align(&shop, &image, &["--align-larger-than=4M"]);
    let text = stderr(&succeed(&mut command));
    assert!(
        text.contains("warning: /usr/lib/big is not aligned: it is compressed"),
        "{text}"
    );
    check(&shop, &aligned);
}

/// Says that an image has a further device of one block, which follows `room` blocks behind its own in
/// the same file; gives the block where it is. The table is where a file has its data.
fn add_device(image: &Path, table: &str, room: u64) -> u64 {
    const DEVICE_TABLE: u32 = 1 << 3;
    let loaded = Loaded::new(image);
    let slot = loaded.lies_at(table);
    let Loaded { mut bytes, sb } = loaded;
    let place = sb.blocks() + room;
    let mut put = |at: u64, new: &[u8]| {
        let at = usize::try_from(at).unwrap();
        bytes[at..at + new.len()].copy_from_slice(new);
    };
    let uniaddr = u32::try_from(place).unwrap();
    put(slot, &[0; 128]);
    put(slot + 64, &1_u32.to_le_bytes());
    put(slot + 68, &uniaddr.to_le_bytes());
    // feature_incompat, extra_devices and devt_slotoff.
    put(
        1024 + 80,
        &(sb.feature_incompat() | DEVICE_TABLE).to_le_bytes(),
    );
    put(1024 + 86, &1_u16.to_le_bytes());
    put(1024 + 88, &u16::try_from(slot / 128).unwrap().to_le_bytes());
    bytes.resize(usize::try_from(place * 4096).unwrap(), 0);
    bytes.extend([0xD5; 4096]);
    seal(&mut bytes);
    fs::write(image, bytes).unwrap();
    place
}

/// Says that the data of a file begins at another block.
fn move_file(image: &Path, path: &str, block: u64) {
    let loaded = Loaded::new(image);
    let inode = loaded.find(path);
    let Loaded { mut bytes, sb } = loaded;
    for change in inode.start_block_changes(&bytes[..], &sb, block).unwrap() {
        apply(&mut bytes, &change);
    }
    seal(&mut bytes);
    fs::write(image, bytes).unwrap();
}

fn apply(bytes: &mut [u8], change: &Change) {
    let at = usize::try_from(change.offset).unwrap();
    bytes[at..at + change.bytes().len()].copy_from_slice(change.bytes());
}

fn seal(bytes: &mut [u8]) {
    let change = SuperBlock::checksum_change(&*bytes).unwrap();
    apply(bytes, &change.unwrap());
}

#[test]
fn further_devices() {
    let shop = shop();
    let image = shop.image("devices.erofs", &["-E^inline_data"]);
    let place = add_device(&image, "data", 600);
    let (mut command, aligned) = align(&shop, &image, &["--align-larger-than=3M"]);
    succeed(&mut command);
    let loaded = Loaded::new(&aligned);
    assert!(loaded.sb.blocks() <= place);
    for path in ["usr/lib/big", "usr/lib/odd"] {
        assert_eq!(loaded.lies_at(path) % HUGE, 0);
        let expected = fs::read(shop.tree().join(path)).unwrap();
        assert!(loaded.read(path) == expected, "{path}");
    }
    // The device is where it was.
    let at = usize::try_from(place * 4096).unwrap();
    assert_eq!(loaded.bytes[at..], [0xD5; 4096]);
    fs::remove_file(&aligned).unwrap();

    // What the table is in stays, too.
    let words = ["cannot align /data", "the same blocks"];
    refused(&shop, &image, &["--align-file=/data"], &words);
    // A file whose address means the device.
    move_file(&image, "usr/30", place);
    let words = ["cannot align /usr/30", "another device"];
    refused(&shop, &image, &["--align-file=/usr/30"], &words);

    // No room for a file that cannot be aligned among the others.
    let image = shop.image("small.erofs", &[]);
    add_device(&image, "data", 0);
    let words = ["small.erofs", "device table", "archives, blobs or layers"];
    refused(&shop, &image, &["--align-larger-than=1K"], &words);
}

#[test]
fn shared_blocks() {
    let shop = shop();
    let image = shop.image("shared.erofs", &["-E^inline_data"]);
    // The second block of one file is the first of another one, too.
    let block = lies_at(&image, "usr/lib/big") / 4096 + 1;
    move_file(&image, "data", block);
    for path in ["usr/lib/big", "data"] {
        let arg = format!("--align-file={path}");
        refused(
            &shop,
            &image,
            &[&arg],
            &["cannot align", path, "the same blocks"],
        );
    }
    let (mut command, aligned) = align(&shop, &image, &["--align-larger-than=2M"]);
    let text = stderr(&succeed(&mut command));
    assert!(text.contains("/usr/lib/big is not aligned"), "{text}");
    let aligned = Loaded::new(&aligned);
    assert_eq!(aligned.lies_at("usr/lib/odd") % HUGE, 0);
    let shared = Loaded::new(&image);
    for path in ["usr/lib/big", "data", "usr/lib/odd", "usr/30"] {
        assert!(aligned.read(path) == shared.read(path), "{path}");
    }
}

#[test]
fn damaged_images() {
    let shop = shop();
    let image = shop.image("root.erofs", &["-E^inline_data"]);
    // An address past the end, in the inode that has the file.
    let file = File::options().write(true).open(&image).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len / 2).unwrap();
    refused(
        &shop,
        &image,
        &["--align-larger-than=2M"],
        &["root.erofs", "damaged"],
    );
}
