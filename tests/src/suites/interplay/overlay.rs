// SPDX-License-Identifier: GPL-2.0

//! An image as the lower layer of an overlay, as `erodax-init` boots from it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{lchown, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::{name_to_handle, open_by_handle},
    mapping::{MapFlags, Mapping, ProtFlags, PAGE},
    memory::Memory,
    module,
    mount::Mount,
};
use rustix::{
    fs::{lgetxattr, statx, AtFlags, StatxAttributes, StatxFlags, CWD},
    io::Errno,
};

use super::OPTIONS;
use crate::{
    erodax::{expectation, with_each},
    suites::{
        files::{check_contents, check_owner_and_size},
        xattrs::values,
        zoo,
    },
};

/// Attributes by which an overlay remembers what it did.
const REDIRECT: &str = "trusted.overlay.redirect";
const METACOPY: &str = "trusted.overlay.metacopy";

/// What an overlay can be told of names and metadata.
const WAYS: [&str; 3] = [
    "redirect_dir=off,metacopy=off",
    "redirect_dir=on,metacopy=off",
    "redirect_dir=on,metacopy=on,index=on,nfs_export=off",
];

/// An overlay with its layers.
struct Layers {
    merged: Mount,
    upper: PathBuf,
    lower: PathBuf,
}

impl Layers {
    /// A path in the overlay.
    fn path(&self, path: &str) -> PathBuf {
        self.merged.path().join(path)
    }

    /// What the image has there.
    fn below(&self, path: &str) -> PathBuf {
        self.lower.join(path)
    }

    /// What was copied there.
    fn above(&self, path: &str) -> PathBuf {
        self.upper.join(path)
    }
}

/// Mounts the overlay twice on the same layers, for `change` and then for `check`, under each of
/// the image's options. Everything can be unmounted afterwards.
fn with_overlay(
    options: &str,
    change: impl Fn(&Layers) -> Result<()>,
    check: impl Fn(&Layers) -> Result<()>,
) -> Result<()> {
    let overlay = module::load("overlay")?;
    for lower in OPTIONS {
        with_each(&[zoo::INLINE.name], lower, |root, _| {
            let writable = Mount::new("tmpfs", "none", "", "/mnt/writable")?;
            let [upper, work] = ["upper", "work"].map(|name| writable.path().join(name));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            let layers = format!(
                "lowerdir={},upperdir={},workdir={},{options}",
                root.display(),
                upper.display(),
                work.display(),
            );
            let body = |body: &dyn Fn(&Layers) -> Result<()>| -> Result<()> {
                let layers = Layers {
                    merged: Mount::new("overlay", "overlay", &layers, "/mnt/merged")?,
                    upper: upper.clone(),
                    lower: root.to_owned(),
                };
                body(&layers)?;
                layers.merged.unmount().context("umount of the overlay")
            };
            body(&change).context("at first")?;
            body(&check).context("mounted again")?;
            writable.unmount().context("umount of the upper layer")
        })
        .with_context(|| options.to_owned())?;
    }
    drop(overlay);
    Ok(())
}

/// Everything of the image, through the overlay.
fn shows_all(layers: &Layers) -> Result<()> {
    let entries = expectation(zoo::INLINE.name)?;
    check_contents(layers.merged.path(), &entries)?;
    for entry in &entries {
        let path = entry.path();
        let (through, below) = (layers.merged.path().join(path), layers.lower.join(path));
        check_owner_and_size(&through, entry).with_context(|| path.display().to_string())?;
        let is_same = entry.xattrs.is_empty() || values(&through)? == values(&below)?;
        ensure!(is_same, "{}: other attributes", path.display());
    }
    Ok(())
}

pub(super) fn shows_everything() -> Result<()> {
    with_overlay(WAYS[0], |_| Ok(()), shows_all)?;
    with_overlay(WAYS[2], |_| Ok(()), shows_all)
}

/// A file that is written to is copied with everything that it has.
pub(super) fn copies_up() -> Result<()> {
    const FILES: [&str; 4] = ["big", "xattrs/every-kind", "xattrs/many", "xattrs/acl"];
    const MORE: &[u8] = b"and more";
    let change = |layers: &Layers| -> Result<()> {
        for file in FILES {
            let before = values(&layers.path(file))?;
            let mut open = OpenOptions::new().append(true).open(layers.path(file))?;
            open.write_all(MORE)?;
            ensure!(values(&layers.path(file))? == before, "{file}: attributes");
        }
        Ok(())
    };
    let check = |layers: &Layers| -> Result<()> {
        for file in FILES {
            let below = fs::read(layers.below(file))?;
            for path in [layers.path(file), layers.above(file)] {
                let expected = [&below, MORE].concat();
                ensure!(fs::read(&path)? == expected, "{}", path.display());
            }
            let (now, then) = (layers.path(file), layers.below(file));
            ensure!(values(&now)? == values(&then)?, "{file}: attributes");
            let (now, then) = (now.metadata()?, then.metadata()?);
            ensure!(now.mode() == then.mode() && now.uid() == then.uid());
        }
        Ok(())
    };
    WAYS.into_iter()
        .try_for_each(|way| with_overlay(way, change, check))
}

/// With an index, the names of a file stay names of one file.
pub(super) fn copies_up_links() -> Result<()> {
    const NAMES: [&str; 3] = ["hard/first", "hard/second", "names/linked"];
    let change =
        |layers: &Layers| -> Result<()> { Ok(fs::write(layers.path(NAMES[0]), "written once")?) };
    let check = |layers: &Layers| -> Result<()> {
        for name in NAMES {
            let text = fs::read_to_string(layers.path(name))?;
            ensure!(text == "written once", "{name}: {} bytes", text.len());
        }
        Ok(())
    };
    with_overlay("index=on", change, check)
}

/// Without redirection a directory of the image cannot be renamed, but files can.
pub(super) fn renames_directories() -> Result<()> {
    let change = |layers: &Layers| -> Result<()> {
        let answer = fs::rename(layers.path("sizes"), layers.path("renamed"));
        let code = answer.as_ref().err().and_then(Errno::from_io_error);
        ensure!(code == Some(Errno::XDEV), "{answer:?}");
        Ok(fs::rename(layers.path("big"), layers.path("bigger"))?)
    };
    let check = |layers: &Layers| -> Result<()> {
        ensure!(!layers.path("big").exists());
        ensure!(fs::read(layers.path("bigger"))? == fs::read(layers.below("big"))?);
        Ok(())
    };
    with_overlay("redirect_dir=off,metacopy=off", change, check)
}

/// With it, the directory is renamed and nothing in it is copied.
pub(super) fn redirects_directories() -> Result<()> {
    let change = |layers: &Layers| -> Result<()> {
        Ok(fs::rename(
            layers.path("sizes"),
            layers.path("empty/moved"),
        )?)
    };
    let check = |layers: &Layers| -> Result<()> {
        ensure!(!layers.path("sizes").exists(), "it is where it was");
        let mut files = 0;
        for file in fs::read_dir(layers.below("sizes"))? {
            let file = file?;
            let moved = layers.path("empty/moved").join(file.file_name());
            ensure!(
                fs::read(&moved)? == fs::read(file.path())?,
                "{}",
                moved.display()
            );
            files += 1;
        }
        ensure!(files > 20, "{files} files");
        let above = layers.above("empty/moved");
        ensure!(
            fs::read_dir(&above)?.next().is_none(),
            "something was copied"
        );
        ensure!(xattr(&above, REDIRECT)? == b"/sizes");
        Ok(())
    };
    for way in &WAYS[1..] {
        with_overlay(way, change, check)?;
    }
    Ok(())
}

fn xattr(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path, name, &mut value[..]).with_context(|| name.to_owned())?;
    value.truncate(length);
    Ok(value)
}

/// A change of the owner copies no data; a write does.
pub(super) fn copies_metadata() -> Result<()> {
    const OWNER: u32 = 1234;
    let change = |layers: &Layers| -> Result<()> {
        lchown(layers.path("big"), Some(OWNER), None)?;
        lchown(layers.path("xattrs/many"), Some(OWNER), None)?;
        OpenOptions::new()
            .append(true)
            .open(layers.path("xattrs/many"))?
            .write_all(b"!")?;
        Ok(())
    };
    let check = |layers: &Layers| -> Result<()> {
        for file in ["big", "xattrs/many"] {
            ensure!(layers.path(file).metadata()?.uid() == OWNER, "{file}");
            let (now, then) = (values(&layers.path(file))?, values(&layers.below(file))?);
            ensure!(now == then, "{file}: attributes");
        }
        let above = layers.above("big");
        ensure!(above.metadata()?.blocks() == 0, "data was copied");
        xattr(&above, METACOPY)?;
        ensure!(fs::read(layers.path("big"))? == fs::read(layers.below("big"))?);
        let written = fs::read(layers.path("xattrs/many"))?;
        let below = fs::read(layers.below("xattrs/many"))?;
        ensure!(written == [below.as_slice(), b"!"].concat());
        ensure!(layers.above("xattrs/many").metadata()?.blocks() > 0);
        Ok(())
    };
    with_overlay(WAYS[2], change, check)
}

/// What is removed stays away, and what is made in its place shows nothing of it.
pub(super) fn removes() -> Result<()> {
    let change = |layers: &Layers| -> Result<()> {
        fs::remove_file(layers.path("big"))?;
        fs::remove_dir_all(layers.path("many"))?;
        fs::create_dir(layers.path("many"))?;
        fs::write(layers.path("many/new"), "new")?;
        Ok(())
    };
    let check = |layers: &Layers| -> Result<()> {
        ensure!(!layers.path("big").exists(), "a file is back");
        let names: std::io::Result<Vec<_>> = fs::read_dir(layers.path("many"))?
            .map(|entry| Ok(entry?.file_name()))
            .collect();
        let names = names?;
        ensure!(names == ["new"], "{names:?}");
        Ok(())
    };
    with_overlay(WAYS[1], change, check)
}

/// An overlay that is exported finds the image's files by the handles that the image gives.
pub(super) fn opens_by_handle() -> Result<()> {
    const FILES: [&str; 4] = ["big", "hard/third", "names/a b", "xattrs/acl"];
    let check = |layers: &Layers| -> Result<()> {
        let within = File::open(layers.merged.path())?;
        for file in FILES {
            let handle = name_to_handle(&layers.path(file)).context("name_to_handle_at")?;
            let mut opened = File::from(open_by_handle(&within, &handle)?);
            let same = opened.metadata()?.ino() == layers.path(file).metadata()?.ino();
            ensure!(same, "{file}: another file");
            let mut content = Vec::new();
            opened.read_to_end(&mut content)?;
            ensure!(
                content == fs::read(layers.path(file))?,
                "{file}: its content"
            );
        }
        Ok(())
    };
    let change = |layers: &Layers| -> Result<()> {
        check(layers)?;
        lchown(layers.path("hard/third"), Some(7), None)?;
        check(layers)
    };
    with_overlay("index=on,nfs_export=on,metacopy=off", change, check)
}

/// A program that maps a file of the overlay gets the image's own pages.
pub(super) fn maps() -> Result<()> {
    const ALLOWED_KIB: u64 = 64;
    let check = |layers: &Layers| -> Result<()> {
        let whole = fs::read(layers.below("big"))?;
        let before = Memory::now()?.cached;
        let file = File::open(layers.path("big"))?;
        for flags in [MapFlags::PRIVATE, MapFlags::SHARED] {
            let map = Mapping::new(&file, 0, whole.len(), ProtFlags::READ, flags)?;
            ensure!(map.bytes()[..whole.len()] == whole, "{flags:?}");
        }
        let mut map = Mapping::new(
            &file,
            0,
            whole.len(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?;
        map.bytes_mut()[PAGE] = !whole[PAGE];
        ensure!(
            fs::read(layers.path("big"))? == whole,
            "the file has changed"
        );
        let grown = Memory::now()?.cached.saturating_sub(before);
        let below = statx(
            CWD,
            layers.below("big"),
            AtFlags::empty(),
            StatxFlags::empty(),
        )?;
        let is_direct = below.stx_attributes.contains(StatxAttributes::DAX);
        ensure!(!is_direct || grown < ALLOWED_KIB, "{grown} KiB are cached");
        Ok(())
    };
    with_overlay(WAYS[0], check, check)
}
