// SPDX-License-Identifier: GPL-2.0

//! What `erodax pack` writes, read back by other programs.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use support::{
    cpio_extract, cpio_list, decompressed, index, inspect, stderr, stdout, succeed, Workshop,
};

#[test]
fn images_lie_aligned_between_microcode_and_early_directory() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    let other = shop.image("other.img", &["-zlz4"]);
    let microcode = shop.microcode();
    let output = succeed(
        shop.pack(&["--align", "64K", "--microcode"])
            .args([
                &microcode,
                Path::new("--image"),
                &image,
                Path::new("--image"),
            ])
            .arg(format!("usr={}", other.display())),
    );
    let initrd = fs::read(shop.output()).unwrap();

    // The microcode is where the kernel looks for it.
    let microcode = fs::read(microcode).unwrap();
    assert_eq!(initrd[..microcode.len()], microcode);
    let listed = cpio_list(&initrd, &[]);
    assert_eq!(
        listed.last().unwrap(),
        "kernel/x86/microcode/GenuineIntel.bin"
    );

    // GNU cpio reads the second archive.
    let second = microcode.len().next_multiple_of(4);
    let names = [
        "erofs.map",
        ".erofs.d/pad0",
        ".erofs.d/root.erofs",
        ".erofs.d/pad1",
        ".erofs.d/usr.erofs",
    ];
    assert_eq!(cpio_list(&initrd[second..], &[]), names);
    let extracted = shop.path("extracted");
    cpio_extract(&initrd[second..], &extracted);
    let read = |path: &Path| fs::read(path).unwrap();
    assert_eq!(read(&extracted.join(".erofs.d/root.erofs")), read(&image));
    assert_eq!(read(&extracted.join(".erofs.d/usr.erofs")), read(&other));

    // The map names the places, and they are aligned.
    let map = fs::read_to_string(extracted.join("erofs.map")).unwrap();
    let mut end = 0;
    for (line, (name, image)) in map.lines().zip([("root", &image), ("usr", &other)]) {
        let bytes = read(image);
        let [mapped_name, offset, size] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let offset: usize = offset.parse().unwrap();
        assert_eq!(mapped_name, name);
        assert_eq!(size.parse(), Ok(bytes.len()));
        assert_eq!(offset % 65536, 0);
        assert_eq!(initrd[offset..offset + bytes.len()], bytes);
        assert!(stdout(&output).contains(&format!("image {name} at offset {offset}, ")));
        end = offset + bytes.len();
    }
    assert_eq!(map.lines().count(), 2);

    // The early directory follows the trailer, and nothing follows it.
    let early = end + 124;
    assert_eq!(initrd[early..early + 4], [0x28, 0xb5, 0x2f, 0xfd]);
    let early = decompressed(&initrd, early, "zstd");
    assert_eq!(
        cpio_list(&early, &[]),
        [
            "init",
            "lib",
            "lib/erodax",
            "lib/erodax/erodax.ko",
            "lib64",
            "dev",
            "dev/console",
            "dev/null"
        ]
    );
}

#[test]
fn an_image_starts_at_the_first_page_by_default() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    succeed(&mut shop.pack(&["--image".as_ref(), image.as_os_str()]));
    let initrd = fs::read(shop.output()).unwrap();
    let image = fs::read(image).unwrap();
    assert_eq!(initrd[4096..4096 + image.len()], image);
    // Header and name, filled up to a multiple of 4, end where the body starts.
    assert_eq!(&initrd[4096 - 22..4096], b".erofs.d/root.erofs\0\0\0");
    assert_eq!(&initrd[4096 - 22 - 110..][..6], b"070701");
}

#[test]
fn members_have_fixed_owners_modes_and_times() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    succeed(
        shop.pack(&["--compress=none", "--image"])
            .arg(image)
            .env("SOURCE_DATE_EPOCH", "1000000000"),
    );
    let initrd = fs::read(shop.output()).unwrap();
    let early = index(&inspect(&shop.output())["archives"][1]["offset"]);
    let fields = |line: &String| {
        let fields: Vec<_> = line.split_whitespace().collect();
        [fields[0], fields[1], fields[2], fields[3]].join(" ")
    };
    let modes: Vec<_> = cpio_list(&initrd, &["-nv"]).iter().map(fields).collect();
    assert_eq!(
        modes,
        ["-r--r--r-- 1 0 0", "---------- 1 0 0", "-r--r--r-- 1 0 0"]
    );
    let early = cpio_list(&initrd[early..], &["-nv"]);
    let modes: Vec<_> = early.iter().map(fields).collect();
    assert_eq!(modes[0], "-rwxr-xr-x 1 0 0");
    assert_eq!(modes[1], "drwxr-xr-x 1 0 0");
    assert_eq!(modes[4], "lrwxrwxrwx 1 0 0");
    assert!(early[4].ends_with("lib64 -> lib"), "{}", early[4]);
    assert!(early[7].contains(" 1,   3 "), "{}", early[7]);
    for line in &early {
        assert!(line.contains("Sep  9  2001"), "{line}");
    }
}

#[test]
fn the_early_directory_comes_back_from_every_compression() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    for (method, decompressor) in [("zstd", "zstd"), ("gzip", "gzip"), ("none", "cat")] {
        succeed(
            shop.pack(&["--force", "--compress", method, "--image"])
                .arg(&image),
        );
        let inspected = inspect(&shop.output());
        let initrd = fs::read(shop.output()).unwrap();
        let early = if method == "none" {
            assert!(inspected["compressed"].is_null());
            initrd[index(&inspected["archives"][1]["offset"])..].to_vec()
        } else {
            assert_eq!(inspected["compressed"]["format"], method);
            decompressed(
                &initrd,
                index(&inspected["compressed"]["offset"]),
                decompressor,
            )
        };
        let extracted = shop.path(method);
        // The device nodes need root.
        let files: Vec<_> = cpio_list(&early, &[]);
        assert!(files.contains(&"dev/null".to_owned()));
        support::filter(
            "cpio",
            &["--quiet", "-idm", "init", "lib*"],
            {
                fs::create_dir(&extracted).unwrap();
                &extracted
            },
            &early,
        );
        succeed(
            Command::new("diff")
                .arg("-r")
                .args([&shop.early(), &extracted]),
        );
        let mode = fs::metadata(extracted.join("init"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(
            fs::read_link(extracted.join("lib64")).unwrap(),
            Path::new("lib")
        );
    }
}

#[test]
fn a_directory_becomes_an_uncompressed_image_with_its_own_times() {
    let shop = Workshop::new();
    let touched = shop.tree().join("etc/hostname");
    succeed(
        Command::new("touch")
            .args(["-d", "@1234567890"])
            .arg(&touched),
    );
    succeed(shop.pack(&["--image"]).arg(shop.tree()));
    let inspected = inspect(&shop.output());
    let facts = &inspected["images"][0];
    assert_eq!(facts["name"], "tree");
    assert_eq!(facts["superblock"]["feature_incompat"], 0);
    assert_eq!(facts["superblock"]["build_time"], 0);

    let extracted = shop.path("extracted");
    cpio_extract(&fs::read(shop.output()).unwrap(), &extracted);
    let image = extracted.join(".erofs.d/tree.erofs");
    succeed(Command::new("fsck.erofs").arg("--extract").arg(&image));
    let dump = succeed(
        Command::new("dump.erofs")
            .arg("--path=/etc/hostname")
            .arg(&image)
            .env("TZ", "UTC"),
    );
    assert!(
        stdout(&dump).contains("2009-02-13 23:31:30"),
        "{}",
        stdout(&dump)
    );
    assert_eq!(shop.outputs(), ["initrd"]);
}

#[test]
fn mkfs_arguments_are_passed_on_and_short_images_padded() {
    let shop = Workshop::new();
    let output = succeed(
        shop.pack(&["--mkfs-arg=-b512", "--mkfs-arg", "-Lroot", "--image"])
            .arg(shop.tree()),
    );
    let inspected = inspect(&shop.output());
    let facts = &inspected["images"][0];
    assert_eq!(facts["superblock"]["block_size"], 512);
    assert_eq!(facts["superblock"]["label"], "root");
    let size = index(&facts["size"]);
    let own = index(&facts["superblock"]["blocks"]) * 512;
    assert_eq!(size, own.next_multiple_of(4096));
    assert_ne!(size, own, "the test needs an image that is not whole pages");
    let text = format!("{own} bytes, padded by {} bytes to whole pages", size - own);
    assert!(stdout(&output).contains(&text), "{}", stdout(&output));
    let initrd = fs::read(shop.output()).unwrap();
    let offset = index(&facts["offset"]);
    assert!(initrd[offset + own..offset + size].iter().all(|&b| b == 0));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    let microcode = shop.microcode();
    let pack = |umask: &str| {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "umask $0; \"$@\" >/dev/null",
                umask,
                env!("CARGO_BIN_EXE_erodax"),
                "pack",
            ])
            .args(["--force", "--microcode"])
            .arg(&microcode)
            .arg("--image")
            .arg(&image)
            .arg("--image")
            .arg(shop.tree())
            .arg("--early")
            .arg(shop.early())
            .arg("-o")
            .arg(shop.output())
            .env_remove("SOURCE_DATE_EPOCH");
        succeed(&mut command);
        fs::read(shop.output()).unwrap()
    };
    let first = pack("022");
    // Times of the system and of the early directory must not matter.
    sleep(Duration::from_millis(1100));
    succeed(
        Command::new("find")
            .arg(shop.early())
            .args(["-exec", "touch", "{}", "+"]),
    );
    let second = pack("077");
    assert_eq!(first.len(), second.len());
    assert!(first == second, "the initrds differ");
}

#[test]
fn an_existing_output_is_replaced_when_forced() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    fs::write(shop.output(), "old").unwrap();
    let link = shop.path("out/link");
    std::os::unix::fs::symlink("initrd", &link).unwrap();
    let mut command = support::erodax();
    command
        .args(["pack", "--force", "--early"])
        .arg(shop.early());
    succeed(command.arg("--image").arg(image).arg("-o").arg(&link));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(inspect(&shop.output())["images"][0]["offset"], 4096);
    assert_eq!(shop.outputs(), ["initrd", "link"]);
}

#[test]
fn the_output_has_the_permissions_of_any_new_file() {
    let shop = Workshop::new();
    let plain = shop.path("out/plain");
    fs::write(&plain, "").unwrap();
    succeed(&mut shop.pack::<&str>(&[]));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&shop.output()), mode(&plain));
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    fs::set_permissions(shop.early().join("init"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = |args: &[&Path]| stderr(&succeed(&mut shop.pack(args)));
    let text = warnings(&[Path::new("--image"), &image]);
    assert!(text.contains("init is not executable"), "{text}");
    fs::remove_file(shop.early().join("init")).unwrap();
    let text = warnings(&[Path::new("--force")]);
    assert!(text.contains("has no init"), "{text}");
    assert!(text.contains("no image is packed"), "{text}");
}

#[test]
fn nothing_is_printed_to_a_log_file_but_the_report() {
    let shop = Workshop::new();
    let output = succeed(shop.pack(&["--image"]).arg(shop.tree()));
    assert_eq!(stderr(&output), "", "the progress bar is for terminals");
    assert_eq!(stdout(&output).lines().count(), 3);
}
