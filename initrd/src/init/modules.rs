// SPDX-License-Identifier: GPL-2.0

//! Loading the kernel modules of the early directory.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::system::{finit_module, uname};

use crate::cmdline::Options;
use crate::fail::Failure;
use crate::kmsg::Bookmark;
use crate::log::Log;

const DIRECTORY: &str = "/lib/erodax";
const MODULE: &str = "/lib/erodax/erodax.ko";

/// Loads everything in [`DIRECTORY`] by order of names, and the module itself last.
pub(crate) fn load(options: &Options, log: &Log) -> Result<(), Failure> {
    for path in others() {
        log.step(format_args!("loading {}", path.display()));
        match insert(&path, c"") {
            Ok(()) | Err(Errno::EXIST) => {}
            // What needs it will say so.
            Err(errno) => log.warn(format_args!("cannot load {}: {errno}", path.display())),
        }
    }
    if !Path::new(MODULE).exists() {
        return if Path::new("/sys/module/erodax").exists() {
            Ok(())
        } else {
            Err(missing_module())
        };
    }
    load_erodax(options, log)
}

fn others() -> Vec<PathBuf> {
    let listing = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut paths: Vec<_> = listing
        .map(|entry| entry.path())
        .filter(|path| is_other(path))
        .collect();
    paths.sort();
    paths
}

fn is_other(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ko") && path != Path::new(MODULE)
}

fn load_erodax(options: &Options, log: &Log) -> Result<(), Failure> {
    let parameters = parameters(options);
    log.step(format_args!(
        "loading {MODULE} with {}",
        parameters.to_string_lossy()
    ));
    let bookmark = Bookmark::now();
    match insert(Path::new(MODULE), &parameters) {
        Ok(()) => Ok(()),
        // With whatever regions it was given; without an image that shows soon enough.
        Err(Errno::EXIST) => {
            log.step(format_args!("it is loaded already"));
            Ok(())
        }
        Err(errno) => Err(load_failure(errno, options).reasons(bookmark.module_errors())),
    }
}

fn parameters(options: &Options) -> CString {
    let mut text = "region=initrd".to_owned();
    if let Some(fstype) = &options.fstype {
        text.push_str(" fstype=");
        text.push_str(fstype);
    }
    // The command line is text: no NUL can be in it.
    CString::new(text).unwrap_or_default()
}

fn insert(path: &Path, parameters: &CStr) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = File::open(path).map_err(errno)?;
    finit_module(file, parameters, 0)
}

fn missing_module() -> Failure {
    Failure::new(format!("there is no {MODULE} in the initramfs")).fix(format!(
        "put erodax.ko, built for this kernel, into the early directory as {}, and run \
         `erodax pack` again",
        MODULE.trim_start_matches('/')
    ))
}

/// What the error codes of loading the module mean.
fn load_failure(errno: Errno, options: &Options) -> Failure {
    let failure = |what: &str| Failure::new(format!("{what} (loading erodax.ko: {errno})"));
    match errno {
        Errno::NXIO if options.retain_initrd => failure(
            "the kernel has retain_initrd on its command line, but kept no initrd",
        )
        .fix(
            "give the initrd to the boot loader as a file of its own: an initramfs that is built \
             into the kernel cannot be kept",
        ),
        Errno::NXIO => failure("the kernel has freed the initrd, and the image with it")
            .fix("add retain_initrd to the kernel command line"),
        Errno::NOENT => failure("there is no EROFS image in the initrd").fix(
            "build the initrd with `erodax pack --image IMAGE`; `erodax inspect` lists what it \
             holds. An image after a compressed part is not found",
        ),
        Errno::BUSY => failure("another driver has the filesystem type already").fix(
            "leave the stock erofs module out of the initramfs, or add erodax.fstype=erodax to \
             the kernel command line",
        ),
        Errno::NOEXEC => failure("the module does not fit the running kernel").fix(format!(
            "build erodax.ko for {}",
            uname().release().to_string_lossy()
        )),
        Errno::KEYREJECTED | Errno::NOKEY | Errno::PERM => {
            failure("the kernel does not accept the module").fix(
                "sign erodax.ko with a key that the kernel trusts, or boot without Secure Boot, \
                 lockdown= and module.sig_enforce",
            )
        }
        Errno::NOSYS => failure("the kernel cannot load modules")
            .fix("use a kernel with CONFIG_MODULES, such as the distribution's"),
        Errno::NOMEM => failure("there is not enough memory").fix("give the machine more memory"),
        _ => failure("the module refuses to load"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cmdline: &str) -> Options {
        Options::parse(cmdline).unwrap()
    }

    #[test]
    fn the_module_itself_is_not_among_the_others() {
        assert!(is_other(Path::new("/lib/erodax/overlay.ko")));
        assert!(!is_other(Path::new(MODULE)));
        assert!(!is_other(Path::new("/lib/erodax/overlay.ko.xz")));
        assert!(!is_other(Path::new("/lib/erodax/README")));
    }

    #[test]
    fn every_expected_error_has_advice_that_fits() {
        for (errno, what, fix) in [
            (Errno::NXIO, "freed the initrd", "add retain_initrd"),
            (Errno::NOENT, "no EROFS image", "erodax pack --image"),
            (Errno::BUSY, "filesystem type", "erodax.fstype="),
            (Errno::NOEXEC, "running kernel", "build erodax.ko for"),
            (Errno::KEYREJECTED, "does not accept", "sign"),
        ] {
            let text = load_failure(errno, &options("")).to_string();
            let (first, second) = text.split_once("\nto fix it: ").expect(&text);
            assert!(first.contains(what) && second.contains(fix), "{text}");
        }
        let text = load_failure(Errno::NXIO, &options("retain_initrd")).to_string();
        assert!(!text.contains("add retain_initrd"), "{text}");
        let text = load_failure(Errno::INVAL, &options("retain_initrd")).to_string();
        assert!(text.contains("refuses to load"), "{text}");
    }

    #[test]
    fn the_filesystem_type_is_passed_on() {
        assert_eq!(
            parameters(&options("retain_initrd")).as_c_str(),
            c"region=initrd"
        );
        let named = options("erodax.fstype=erodax");
        assert_eq!(
            parameters(&named).as_c_str(),
            c"region=initrd fstype=erodax"
        );
    }
}
