// SPDX-License-Identifier: GPL-2.0

//! Finding and mounting an image among those that the module found in the initrd.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{makedev, mknodat, FileType, Mode, CWD};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::cmdline::{Dax, Options};
use crate::fail::Failure;
use crate::kmsg::Bookmark;
use crate::log::Log;
use crate::mounts::{Filesystem, MountError};

const CLASS: &str = "/sys/class/erodax";
const DEVICE_PREFIX: &str = "erodax";

/// A device of the module: one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    number: u32,
    /// The image's name, of its member in the initrd.
    image: String,
    /// Whether the image starts at a page.
    aligned: bool,
}

impl Device {
    fn name(&self) -> String {
        format!("{DEVICE_PREFIX}{}", self.number)
    }

    fn node(&self) -> PathBuf {
        Path::new("/dev").join(self.name())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.image.is_empty() {
            write!(f, "/dev/{}", self.name())
        } else {
            write!(f, "/dev/{} (image {})", self.name(), self.image)
        }
    }
}

/// Finds the image to boot and makes sure that its device node exists.
pub(crate) fn find(options: &Options, log: &Log) -> Result<Device, Failure> {
    let devices = devices();
    for device in &devices {
        log.step(format_args!("there is {device}"));
    }
    let device = choose(&devices, options.image.as_deref())?;
    if !device.node().exists() {
        log.step(format_args!("making {}", device.node().display()));
        make_node(device)?;
    }
    Ok(device.clone())
}

/// All devices by their numbers.
fn devices() -> Vec<Device> {
    let entries = fs::read_dir(CLASS).into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix(DEVICE_PREFIX)?
                .parse()
                .ok()?;
            Some(Device {
                number,
                image: attribute(&entry.path(), "name"),
                aligned: attribute(&entry.path(), "aligned") == "1",
            })
        })
        .collect();
    devices.sort_by_key(|device| device.number);
    devices
}

fn attribute(device: &Path, name: &str) -> String {
    let text = fs::read_to_string(device.join(name)).unwrap_or_default();
    text.trim_end().to_owned()
}

/// The image called `wanted`, or the first.
fn choose<'a>(devices: &'a [Device], wanted: Option<&str>) -> Result<&'a Device, Failure> {
    if devices.is_empty() {
        return Err(Failure::new("the module is loaded but has no image").fix(
            "load erodax.ko with region=initrd: leave it to erodax-init, and do not build it into \
             the kernel or load it before",
        ));
    }
    let Some(wanted) = wanted else {
        return Ok(&devices[0]);
    };
    devices
        .iter()
        .find(|device| device.image == wanted)
        .ok_or_else(|| {
            let names: Vec<_> = devices.iter().map(|device| device.image.as_str()).collect();
            Failure::new(format!("no image is called {wanted}"))
                .fix(format!("set erodax.image= to one of: {}", names.join(", ")))
        })
}

/// Where devtmpfs did not make the node.
fn make_node(device: &Device) -> Result<(), Failure> {
    let failure = |why: &dyn fmt::Display| {
        Failure::new(format!("cannot make {}: {why}", device.node().display()))
            .fix("use a kernel with CONFIG_DEVTMPFS")
    };
    let numbers = attribute(&Path::new(CLASS).join(device.name()), "dev");
    let (major, minor) = numbers
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| failure(&"the module gives no device number"))?;
    mknodat(
        CWD,
        device.node(),
        FileType::CharacterDevice,
        Mode::RUSR,
        makedev(major, minor),
    )
    .map_err(|errno| failure(&errno))
}

/// Mounts the image, not attached anywhere yet.
pub(crate) fn mount(device: &Device, options: &Options, log: &Log) -> Result<OwnedFd, Failure> {
    let source = device.node().to_string_lossy().into_owned();
    let fstype = options.fstype.as_deref().unwrap_or("erofs");
    let dax = match options.dax {
        Dax::Always => "always",
        Dax::Never => "never",
    };
    log.step(format_args!("mounting {device} as {fstype} with dax={dax}"));
    let filesystem = Filesystem {
        fstype,
        options: &[("source", Some(&source)), ("ro", None), ("dax", Some(dax))],
        attributes: MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let bookmark = Bookmark::now();
    filesystem.mount().map_err(|error| {
        // The module says the same in both places; the log has it with the device's name.
        let in_log = bookmark.module_errors();
        let reasons = if in_log.is_empty() {
            error.messages.clone()
        } else {
            in_log
        };
        mount_failure(device, options.dax, &error).reasons(reasons)
    })
}

/// What the error codes of mounting mean.
fn mount_failure(device: &Device, dax: Dax, error: &MountError) -> Failure {
    let failure = |what: &str| Failure::new(format!("{what} (mounting {device}: {})", error.errno));
    match error.errno {
        Errno::INVAL if dax == Dax::Always && !device.aligned => {
            failure("the image does not start at a page, so it cannot be mapped in place").fix(
                "build the initrd with `erodax pack` (which takes microcode with --microcode), \
                 and let the boot loader load it alone: what comes before it shifts the image. \
                 Or boot with erodax.dax=never, which copies what is read",
            )
        }
        Errno::BADMSG | Errno::UCLEAN => failure("the image is damaged")
            .fix("make it again with mkfs.erofs and run `erodax pack` again"),
        Errno::OPNOTSUPP => failure("the image uses a feature that erodax does not support")
            .fix("make it with fewer options of mkfs.erofs; without -z it is uncompressed"),
        Errno::NODEV => failure("the filesystem type is not registered")
            .fix("give erodax.fstype= only if erodax.ko was loaded with the same fstype="),
        Errno::NOTBLK | Errno::NXIO => failure("the stock erofs driver answers instead of erodax")
            .fix("leave the stock erofs module out, or set erodax.fstype=erodax"),
        _ => failure("the image cannot be mounted")
            .fix("look at it with `erodax inspect`, and make it again if it is damaged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u32, image: &str, aligned: bool) -> Device {
        Device {
            number,
            image: image.to_owned(),
            aligned,
        }
    }

    #[test]
    fn an_image_is_chosen_by_name_or_the_first_is_taken() {
        let devices = [device(0, "root", true), device(1, "usr", true)];
        assert_eq!(choose(&devices, None).unwrap().number, 0);
        assert_eq!(choose(&devices, Some("usr")).unwrap().number, 1);
        let text = choose(&devices, Some("var")).unwrap_err().to_string();
        assert!(text.contains("var") && text.contains("root, usr"), "{text}");
        assert!(choose(&[], None).is_err());
    }

    #[test]
    fn devices_are_shown_with_their_images() {
        assert_eq!(
            device(2, "root", true).to_string(),
            "/dev/erodax2 (image root)"
        );
        assert_eq!(device(10, "", true).to_string(), "/dev/erodax10");
    }

    #[test]
    fn advice_fits_the_error() {
        let advice = |errno, aligned, dax| {
            let error = MountError {
                errno,
                messages: Vec::new(),
            };
            mount_failure(&device(0, "root", aligned), dax, &error).to_string()
        };
        let unaligned = advice(Errno::INVAL, false, Dax::Always);
        for word in ["erodax pack", "--microcode", "erodax.dax=never"] {
            assert!(unaligned.contains(word), "{unaligned}");
        }
        for other in [
            advice(Errno::INVAL, true, Dax::Always),
            advice(Errno::INVAL, false, Dax::Never),
        ] {
            assert!(!other.contains("erodax.dax=never"), "{other}");
        }
        assert!(advice(Errno::BADMSG, true, Dax::Always).contains("damaged"));
        assert!(advice(Errno::OPNOTSUPP, true, Dax::Always).contains("not support"));
    }
}
