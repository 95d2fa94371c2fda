// SPDX-License-Identifier: GPL-2.0

//! Bad input of `erodax pack`: each is refused with a message that helps, and leaves nothing.

mod support;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{erodax, fail, stderr, succeed, Workshop};

/// Checks that the message has all the words, and that nothing was written.
#[track_caller]
fn refused(shop: &Workshop, command: &mut Command, words: &[&str]) {
    let before = shop.outputs();
    let message = fail(command);
    assert!(message.starts_with("erodax: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
    assert_eq!(shop.outputs(), before, "something was left behind");
}

fn shop_with_image() -> (Workshop, PathBuf) {
    let shop = Workshop::new();
    let image = shop.image("root.erofs", &[]);
    (shop, image)
}

#[test]
fn missing_inputs() {
    let (shop, image) = shop_with_image();
    let words = ["no-such", "No such file", "check the path"];
    refused(&shop, &mut shop.pack(&["--image", "/no-such"]), &words);
    refused(&shop, &mut shop.pack(&["--image", "root=/no-such"]), &words);
    refused(
        &shop,
        shop.pack(&["--microcode", "/no-such", "--image"])
            .arg(&image),
        &words,
    );
    let mut command = erodax();
    command
        .args(["pack", "--early", "/no-such", "--image"])
        .arg(&image);
    refused(&shop, command.arg("-o").arg(shop.output()), &words);
    let mut command = erodax();
    command
        .args(["pack", "--early"])
        .arg(&image)
        .arg("-o")
        .arg(shop.output());
    refused(&shop, &mut command, &["root.erofs", "not a directory"]);
    refused(
        &shop,
        &mut shop.pack(&["--image", "null=/dev/null"]),
        &["/dev/null", "neither"],
    );
}

#[test]
fn an_image_over_the_limit() {
    let (shop, image) = shop_with_image();
    fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(0xFFFF_F001)
        .unwrap();
    let words = [
        "root.erofs",
        "4294963201",
        "4294963200",
        "4 GiB - 4 KiB",
        "split",
    ];
    refused(&shop, shop.pack(&["--image"]).arg(&image), &words);
}

#[test]
fn what_is_no_usable_image() {
    let (shop, image) = shop_with_image();
    let text = shop.path("in/text");
    fs::write(&text, b"not an image ".repeat(1000)).unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&text),
        &["text is not an EROFS image", "mkfs.erofs"],
    );
    let empty = shop.path("in/empty");
    fs::write(&empty, "").unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&empty),
        &["not an EROFS image"],
    );

    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&image),
        &["damaged", "shorter"],
    );

    let image = shop.image("sum.erofs", &[]);
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(b"label", 1024 + 64).unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&image),
        &["damaged", "checksum"],
    );
}

#[test]
fn an_output_that_exists() {
    let (shop, image) = shop_with_image();
    fs::write(shop.output(), "precious").unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&image),
        &["out/initrd exists already", "--force"],
    );
    assert_eq!(fs::read_to_string(shop.output()).unwrap(), "precious");
}

#[test]
fn an_output_that_is_no_file() {
    let (shop, _) = shop_with_image();
    let with_output = |path: &Path| {
        let mut command = erodax();
        command
            .args(["pack", "--force", "--early"])
            .arg(shop.early())
            .arg("-o")
            .arg(path);
        command
    };
    refused(
        &shop,
        &mut with_output(&shop.path("out")),
        &["not a regular file"],
    );
    refused(
        &shop,
        &mut with_output(Path::new("/dev/null")),
        &["/dev/null is not a regular file"],
    );
    let missing = shop.path("out/missing/initrd");
    refused(
        &shop,
        &mut with_output(&missing),
        &["No such file", "create the directory"],
    );
    let inside = shop.early().join("lib/initrd");
    refused(
        &shop,
        &mut with_output(&inside),
        &["being packed", "elsewhere"],
    );
    assert!(!inside.exists());
    let inside = shop.tree().join("initrd");
    refused(
        &shop,
        with_output(&inside).arg("--image").arg(shop.tree()),
        &["being packed"],
    );
}

#[test]
fn names_of_images() {
    let (shop, image) = shop_with_image();
    let image = image.to_str().unwrap();
    let twice = ["--image", image, "--image", image];
    refused(
        &shop,
        &mut shop.pack(&twice),
        &["two images are named root", "NAME=PATH"],
    );
    for name in ["", "a b", ".hidden", "ä"] {
        let named = format!("{name}={image}");
        refused(
            &shop,
            &mut shop.pack(&["--image", &named]),
            &["cannot be an image's name", "NAME="],
        );
    }
}

#[test]
fn reserved_names() {
    let (shop, image) = shop_with_image();
    let reserved = shop.early().join(".erofs.d");
    fs::create_dir(&reserved).unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&image),
        &["early holds .erofs.d", "unpack"],
    );
    fs::remove_dir(reserved).unwrap();

    fs::write(shop.early().join("erofs.map"), "").unwrap();
    refused(
        &shop,
        shop.pack(&["--image"]).arg(&image),
        &["early holds erofs.map"],
    );
    fs::remove_file(shop.early().join("erofs.map")).unwrap();

    fs::create_dir_all(shop.path("in/evil/.erofs.d")).unwrap();
    let microcode = shop.cpio("in/evil", "in/evil.cpio");
    refused(
        &shop,
        shop.pack(&["--microcode"]).arg(microcode),
        &["evil.cpio holds .erofs.d"],
    );
}

#[test]
fn microcode_that_is_no_early_archive() {
    let shop = Workshop::new();
    let archive = fs::read(shop.microcode()).unwrap();
    let with = |bytes: &[u8], words: &[&str]| {
        let path = shop.path("in/bad.cpio");
        fs::write(&path, bytes).unwrap();
        refused(&shop, shop.pack(&["--microcode"]).arg(path), words);
    };
    with(
        b"\x1f\x8b\x08 compressed",
        &["bad.cpio is not an uncompressed newc archive", "cpio -o"],
    );
    with(&archive[..200], &["past the end"]);
    let with_tail = [&archive, &b"\x28\xb5\x2f\xfd"[..]].concat();
    with(&with_tail, &["something else follows at offset"]);
    with(b"", &["no newc header"]);
}

#[test]
fn arguments_out_of_range() {
    let (shop, image) = shop_with_image();
    for align in ["0", "2K", "4095", "12K", "2G"] {
        let mut command = shop.pack(&["--align", align, "--image"]);
        refused(&shop, command.arg(&image), &["alignment", "power of two"]);
    }
    let mut command = shop.pack(&["--image"]);
    command.arg(&image).env("SOURCE_DATE_EPOCH", "yesterday");
    refused(&shop, &mut command, &["SOURCE_DATE_EPOCH", "yesterday"]);
    let usage = shop.pack(&["--align", "page"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(stderr(&usage).contains("K, M or G"), "{}", stderr(&usage));
}

#[test]
fn mkfs_that_is_missing_or_fails() {
    let shop = Workshop::new();
    let mut command = shop.pack(&["--image"]);
    command.arg(shop.tree()).env("PATH", shop.path("out"));
    refused(
        &shop,
        &mut command,
        &["mkfs.erofs was not found", "erofs-utils"],
    );
    let mut command = shop.pack(&["--mkfs-arg=--no-such-option", "--image"]);
    let words = [
        "mkfs.erofs failed",
        "exit status: 1",
        "unrecognized option",
        "1.8",
    ];
    refused(&shop, command.arg(shop.tree()), &words);
}

/// A tree that does not fit where only `KIB` KiB can be written.
const KIB: u32 = 256;

fn fill(shop: &Workshop) {
    let mut random = 1_u32;
    let mut noise = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random.to_be_bytes()[0]
    };
    let bytes: Vec<u8> = (0..KIB * 1024).map(|_| noise()).collect();
    fs::write(shop.tree().join("noise"), &bytes).unwrap();
    fs::write(shop.early().join("noise"), bytes).unwrap();
}

/// Writes fail beyond the limit, like on a full disk, wherever the tests run.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f $0; exec \"$@\"", &(KIB * 2).to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn writes_that_fail_while_an_image_is_copied() {
    let shop = Workshop::new();
    fill(&shop);
    let image = shop.image("root.erofs", &[]);
    let mut command = shop.pack(&["--image"]);
    command.arg(&image);
    refused(
        &shop,
        &mut limited(&command),
        &["cannot write", "out/initrd", "too large"],
    );
    command.arg("--force");
    fs::write(shop.output(), "precious").unwrap();
    refused(&shop, &mut limited(&command), &["cannot write"]);
    assert_eq!(fs::read_to_string(shop.output()).unwrap(), "precious");
    // Without the limit the same succeeds.
    succeed(&mut command);
}

#[test]
fn writes_that_fail_while_the_early_directory_is_packed() {
    let shop = Workshop::new();
    fill(&shop);
    refused(
        &shop,
        &mut limited(&shop.pack::<&str>(&[])),
        &["cannot write"],
    );
}

#[test]
fn writes_that_fail_in_mkfs() {
    let shop = Workshop::new();
    fill(&shop);
    let mut command = shop.pack(&["--image"]);
    refused(
        &shop,
        &mut limited(command.arg(shop.tree())),
        &["mkfs.erofs failed"],
    );
}

/// A disk that is really full, where the tests may mount one.
#[test]
fn a_full_disk() {
    let shop = Workshop::new();
    fill(&shop);
    let image = shop.image("root.erofs", &[]);
    let script = format!(
        "mount -t tmpfs -o size={KIB}k tmpfs \"$0\" && echo mounted && \"$@\"; echo status $?; ls -A \"$0\""
    );
    let run = |pack: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=unchanged"]);
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let script = format!("mount --make-rprivate / 2>/dev/null; {script}; umount \"$0\"");
        command.args(["sh", "-c", &script]).arg(shop.path("out"));
        command.arg(pack.get_program()).args(pack.get_args());
        command.output().unwrap()
    };
    let output = run(shop.pack(&["--image"]).arg(&image));
    if !support::stdout(&output).starts_with("mounted") {
        eprintln!("no tmpfs can be mounted here: {}", stderr(&output));
        return;
    }
    assert_eq!(support::stdout(&output), "mounted\nstatus 1\n");
    let message = stderr(&output);
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains("free some space"), "{message}");

    let output = run(shop.pack(&["--image"]).arg(shop.tree()));
    assert_eq!(support::stdout(&output), "mounted\nstatus 1\n");
    assert!(
        stderr(&output).contains("mkfs.erofs failed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_interruption() {
    let shop = Workshop::new();
    // Stands for a long mkfs.erofs.
    let bin = shop.path("in/bin");
    fs::create_dir(&bin).unwrap();
    let mkfs = bin.join("mkfs.erofs");
    fs::write(&mkfs, "#!/bin/sh\ntouch \"$STARTED\"\nexec sleep 60\n").unwrap();
    fs::set_permissions(&mkfs, fs::Permissions::from_mode(0o755)).unwrap();
    let started = shop.path("in/started");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = shop
        .pack(&["--image"])
        .arg(shop.tree())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("STARTED", &started)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !started.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "mkfs.erofs was not started"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(shop.outputs().len(), 1, "there is a temporary file by now");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let begin = Instant::now();
    let status = child.wait().unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "the signal was ignored"
    );
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(message.contains("interrupted"), "{message}");
    assert_eq!(shop.outputs(), Vec::<String>::new());
}
