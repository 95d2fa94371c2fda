// SPDX-License-Identifier: GPL-2.0

//! The same attacks on the kernel's own driver, which has the images on a RAM disk.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
};

use anyhow::{Context, Result};
use erodax_agent::guest::{module, mount::Mount};
use rustix::io::Errno;

use super::{
    ask::{ask, shown},
    ground::{bytes_of, check, MARKER},
    Answers, Attack, Row, Stock,
};
use crate::{compare::mistakes::Answer, erodax::GOOD};

const DISK: &str = "/dev/ram0";
/// Bytes behind the image that are filled.
const BEHIND: usize = 1 << 20;

/// Every attack of a row that stock EROFS survives.
pub(super) fn run((name, attacks): Row) -> Result<()> {
    bytes_of(GOOD)?;
    let _disks = module::load("brd")?;
    let _stock = module::load("erofs")?;
    let mut wrong = Vec::new();
    for attack in attacks {
        if let Err(error) = against_stock(attack) {
            wrong.push(format!("{name}: {}: {error:#}", attack.what));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn against_stock(attack: &Attack) -> Result<()> {
    let expected = match &attack.stock {
        Stock::Alike => &attack.answers,
        Stock::Otherwise(answers) => answers,
    };
    put(&attack.bytes()?)?;
    let mounted = Mount::new("erofs", DISK, "", "/mnt/stock");
    let mounted = mounted.map_err(|error| error.errno);
    let root = mounted.as_ref().map(Mount::path).map_err(|errno| *errno);
    println!("{}: mount {:?}", attack.what, root.map(|_| ()));
    if let (Ok(root), Answers::Mounted(questions)) = (root, &attack.answers) {
        for (path, question, _) in *questions {
            let answer = ask(&root.join(path), *question)?;
            println!("    {question:?} of {path}: {}", shown(&answer));
        }
    }
    check(attack, expected, root, as_erodax)
}

/// Of data that it does not find, whatever the reason, stock EROFS says EIO (docs/differences.md).
fn as_erodax(answer: Answer<Vec<u8>>) -> Answer<Vec<u8>> {
    answer.map_err(|errno| match errno {
        Errno::IO => Errno::UCLEAN,
        other => other,
    })
}

fn put(image: &[u8]) -> Result<()> {
    let mut disk = File::options().write(true).open(DISK)?;
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(image)
        .context("an image larger than the disk")?;
    let behind: Vec<u8> = MARKER.iter().copied().cycle().take(BEHIND).collect();
    disk.write_all(&behind)?;
    Ok(disk.sync_all()?)
}
