// SPDX-License-Identifier: GPL-2.0

//! The directories that images are made of by `erodax pack`.

use std::{fs, path::PathBuf};

use anyhow::Result;
use erodax_qemu::{
    cache::{cached, Key},
    Environment,
};
use erodax_tests::image::HELLO;
use rustix::fs::{mknodat, FileType, Mode, CWD};

/// A few files and what no archive can hold: a socket.
pub(super) fn directory(environment: &Environment) -> Result<PathBuf> {
    let key = Key::new("small directory 1").text(HELLO);
    cached(&environment.cache(), "small", &key, |directory| {
        fs::create_dir(directory)?;
        fs::write(directory.join("hello"), HELLO)?;
        fs::write(directory.join("page"), [7; 4096])?;
        let socket = directory.join("socket");
        Ok(mknodat(
            CWD,
            &socket,
            FileType::Socket,
            Mode::from_raw_mode(0o644),
            0,
        )?)
    })
}
