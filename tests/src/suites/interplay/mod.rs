// SPDX-License-Identifier: GPL-2.0

//! What other parts of the kernel do with the files: overlays, mounts with other owners, locks,
//! leases and notifications.

mod idmapped;
mod locks;
mod notified;
mod overlay;

use std::path::Path;

use anyhow::Result;

use crate::{
    erodax::with_each,
    suites::{zoo, BIGGER},
    Machine, Suite, Test,
};

/// A list of tests by module.
macro_rules! tests_of {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        &[$($(Test::new(
            concat!(stringify!($module), "_", stringify!($name)),
            $module::$name,
        )),*),*]
    };
}

pub(super) static SUITE: Suite = Suite {
    name: "interplay",
    machine: Machine {
        modules: &["overlay"],
        images: &[zoo::INLINE],
        ..BIGGER
    },
    tests: tests_of! {
        overlay {
            shows_everything,
            copies_up,
            copies_up_links,
            renames_directories,
            redirects_directories,
            copies_metadata,
            removes,
            opens_by_handle,
            maps,
        }
        idmapped {
            owners,
            permissions,
            lists_of_permissions,
        }
        locks {
            leases,
            whole_file,
            swap_is_refused,
        }
        notified {
            by_inotify,
            by_fanotify,
            of_the_whole_filesystem,
            asked_for_permission,
        }
    },
};

/// In place, and through the page cache.
const OPTIONS: [&str; 2] = ["dax", "dax=never"];

/// The root of the image, under each of [`OPTIONS`].
fn each(mut body: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    OPTIONS
        .into_iter()
        .try_for_each(|options| with_each(&[zoo::INLINE.name], options, |root, _| body(root)))
}
