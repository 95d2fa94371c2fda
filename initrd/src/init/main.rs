// SPDX-License-Identifier: GPL-2.0

//! `erodax-init`: the /init of an initrd that carries EROFS images in place.
//!
//! It loads the module, mounts an image where it lies in memory, puts a writable overlay over
//! it and hands over to its init. When something is missing it says what, and how to fix it.
//!
//! On the kernel command line it understands
//!
//! | parameter | meaning |
//! |---|---|
//! | `erodax.image=NAME` | which image; without it the first one |
//! | `erodax.dax=never` | mount without `-o dax`: data is copied through the page cache |
//! | `erodax.overlay=off` | boot the image read-only, without an overlay |
//! | `erodax.fstype=NAME` | name that the module registers the filesystem by, instead of `erofs` |
//! | `erodax.debug` | say every step |
//! | `init=PATH` | what to start in the image; words after `--` are its arguments |

#![forbid(unsafe_code)]

mod cleanup;
mod cmdline;
mod fail;
mod image;
mod kmsg;
mod log;
mod modules;
mod mounts;
mod root;

use std::process::ExitCode;

use cmdline::Options;
use fail::{Failure, SHELL_ARG};
use log::Log;
use root::NewRoot;

fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        return fail::not_pid_1(
            std::env::args_os()
                .nth(1)
                .is_some_and(|arg| arg == SHELL_ARG),
        );
    }
    let early = mounts::mount_early();
    let mut log = Log::open();
    let failure = match early.and_then(|()| boot(&mut log)) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    fail::stop(&failure, &log)
}

/// What a successful boot returns: it ends in another program.
enum Never {}

fn boot(log: &mut Log) -> Result<Never, Failure> {
    let options = Options::read()?;
    log.set_debug(options.debug);
    for name in &options.unknown {
        log.warn(format_args!(
            "unknown parameter {name} on the kernel command line"
        ));
    }
    modules::load(&options, log)?;
    let device = image::find(&options, log)?;
    let image = image::mount(&device, &options, log)?;
    let new_root = NewRoot::assemble(image, &options, log)?;
    let init = new_root.find_init(options.init.as_deref())?;
    log.info(format_args!("starting {init} of {device}"));
    new_root.enter(log)?;
    Err(root::exec(&init, log))
}
