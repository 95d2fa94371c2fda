// SPDX-License-Identifier: GPL-2.0

//! What `erodax inspect` says of sound and damaged files.

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{erodax, fail, index, inspect, stdout, succeed, Workshop};

fn inspect_text(path: &Path) -> String {
    stdout(&succeed(erodax().arg("inspect").arg(path)))
}

fn packed(shop: &Workshop, args: &[&str]) -> PathBuf {
    let options = ["-U01020304-0506-0708-090a-0b0c0d0e0f10", "-Lpayload"];
    let image = shop.image("root.erofs", &options);
    succeed(shop.pack(args).arg("--image").arg(image));
    shop.output()
}

#[test]
fn an_initrd() {
    let shop = Workshop::new();
    let initrd = packed(&shop, &["--align=2M"]);
    let facts = inspect(&initrd);
    let size = fs::metadata(&initrd).unwrap().len();
    assert_eq!(facts["size"], size);
    assert_eq!(facts["problems"], serde_json::json!([]));

    let members = facts["archives"][0]["members"].as_array().unwrap();
    let names: Vec<_> = members
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["erofs.map", ".erofs.d/pad0", ".erofs.d/root.erofs"]);
    assert_eq!(members[2]["offset"], 2 << 20);
    assert_eq!(members[2]["mode"], 0o100_444);

    let image = &facts["images"][0];
    assert_eq!(image["name"], "root");
    assert_eq!(image["offset"], 2 << 20);
    assert_eq!(image["alignment"], 2 << 20);
    assert_eq!(image["page_aligned"], true);
    let superblock = &image["superblock"];
    assert_eq!(superblock["uuid"], "01020304-0506-0708-090a-0b0c0d0e0f10");
    assert_eq!(superblock["label"], "payload");
    assert_eq!(superblock["block_size"], 4096);
    assert_eq!(index(&superblock["blocks"]) * 4096, index(&image["size"]));
    // The root, etc, etc/hostname and data.
    assert_eq!(superblock["inodes"], 4);
    assert_eq!(superblock["checksum"], true);
    assert_eq!(superblock["features"][0], "sb_chksum");

    let part = &facts["compressed"];
    assert_eq!(part["format"], "zstd");
    assert_eq!(
        part["offset"].as_u64().unwrap() + part["size"].as_u64().unwrap(),
        size
    );

    let text = inspect_text(&initrd);
    for line in [
        "2097152          12288  .erofs.d/root.erofs".replace("12288", &image["size"].to_string()),
        format!("compressed part at offset {}: zstd", part["offset"]),
        "EROFS image root at offset 2097152".to_owned(),
        "alignment   2 MiB".to_owned(),
        "checksum    ok".to_owned(),
        "page-aligned: can be mapped in place".to_owned(),
    ] {
        assert!(text.contains(&line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn a_plain_image() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &["-zlz4hc", "-Enosbcrc"]);
    let facts = inspect(&image);
    assert_eq!(facts["archives"], serde_json::json!([]));
    assert_eq!(facts["images"][0]["offset"], 0);
    assert_eq!(facts["images"][0]["superblock"]["checksum"], false);
    let features = facts["images"][0]["superblock"]["features"].to_string();
    assert!(features.contains("lz4_0padding"), "{features}");
    let text = inspect_text(&image);
    assert!(text.contains("EROFS image at offset 0"), "{text}");
    assert!(text.contains("checksum    none"), "{text}");
}

#[test]
fn an_initrd_shifted_by_another() {
    let shop = Workshop::new();
    let initrd = packed(&shop, &[]);
    let microcode = fs::read(shop.microcode()).unwrap();
    // As a boot loader puts them together: GNU cpio pads to 512 bytes.
    let joined = shop.path("out/joined");
    fs::write(
        &joined,
        [microcode.clone(), fs::read(initrd).unwrap()].concat(),
    )
    .unwrap();
    let facts = inspect(&joined);
    let image = &facts["images"][0];
    assert_eq!(index(&image["offset"]), microcode.len() + 4096);
    let alignment = 1_usize << microcode.len().trailing_zeros();
    assert!(
        alignment < 4096,
        "the test needs an archive that is not whole pages"
    );
    assert_eq!(index(&image["alignment"]), alignment);
    assert_eq!(image["page_aligned"], false);
    assert_eq!(facts["archives"].as_array().unwrap().len(), 2);
    let text = inspect_text(&joined);
    assert!(text.contains("not page-aligned"), "{text}");
    assert!(text.contains("--microcode"), "{text}");
}

#[test]
fn compressed_parts_of_every_kind() {
    let shop = Workshop::new();
    let archive = fs::read(shop.microcode()).unwrap();
    for (program, args, format) in [
        ("gzip", &["-c"][..], "gzip"),
        ("xz", &["-c", "--check=crc32"], "xz"),
        ("zstd", &["-c"], "zstd"),
    ] {
        let packed = support::filter(program, args, Path::new("/"), &archive);
        let path = shop.path("out").join(format);
        fs::write(&path, [&archive[..], &packed].concat()).unwrap();
        let facts = inspect(&path);
        assert_eq!(facts["compressed"]["format"], format);
        assert_eq!(index(&facts["compressed"]["offset"]), archive.len());
        assert_eq!(facts["images"], serde_json::json!([]));
        // A conventional initrd may be nothing else.
        fs::write(&path, &packed).unwrap();
        assert_eq!(inspect(&path)["compressed"]["offset"], 0);
    }
}

/// Status 1, a message on standard error, and all of the words in it.
#[track_caller]
fn bad(path: &Path, words: &[&str]) {
    for args in [&["inspect"][..], &["inspect", "--json"]] {
        let message = fail(erodax().args(args).arg(path));
        assert!(message.starts_with("erodax: "), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in: {message}");
        }
    }
}

#[test]
fn files_that_are_neither() {
    let shop = Workshop::new();
    bad(Path::new("/no-such"), &["/no-such", "No such file"]);
    bad(&shop.tree(), &["neither", "directory"]);
    let path = shop.path("in/file");
    for (bytes, reason) in [
        (&b""[..], "empty"),
        (&[0; 5000], "all zeros"),
        (b"some text, long enough to hold a header", "at offset 0"),
        (b"070701", "past the end"),
    ] {
        fs::write(&path, bytes).unwrap();
        bad(&path, &["neither an EROFS image nor an initrd", reason]);
    }
}

#[test]
fn damaged_files() {
    let shop = Workshop::new();
    let initrd = packed(&shop, &[]);
    let bytes = fs::read(&initrd).unwrap();
    let file = fs::File::options().write(true).open(&initrd).unwrap();

    // Cut in the middle of the image.
    file.set_len(8192).unwrap();
    bad(&initrd, &["past the end", "kernel stops unpacking"]);

    // A flipped bit in the superblock's label.
    fs::write(&initrd, &bytes).unwrap();
    file.write_all_at(b"x", 4096 + 1024 + 64).unwrap();
    bad(&initrd, &["image root cannot be mounted", "checksum"]);

    // An image appended raw, which the kernel cannot skip.
    let raw = fs::read(shop.path("in/root.erofs")).unwrap();
    fs::write(&initrd, [fs::read(shop.microcode()).unwrap(), raw].concat()).unwrap();
    bad(
        &initrd,
        &[
            "neither an archive nor compressed data",
            "kernel stops unpacking",
        ],
    );

    // What can be described is described nevertheless.
    let output = erodax()
        .args(["inspect", "--json"])
        .arg(&initrd)
        .output()
        .unwrap();
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["archives"].as_array().unwrap().len(), 1);
    assert_eq!(facts["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn a_reader_that_goes_away() {
    let shop = Workshop::new();
    let initrd = packed(&shop, &[]);
    let script = "\"$0\" inspect \"$1\" | true; echo ${PIPESTATUS[0]}";
    let mut command = Command::new("bash");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_erodax")])
        .arg(initrd);
    let output = succeed(&mut command);
    assert_eq!(
        (stdout(&output).as_str(), support::stderr(&output).as_str()),
        ("0\n", "")
    );
}
