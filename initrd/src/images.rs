// SPDX-License-Identifier: GPL-2.0

//! The archive that carries the images.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::align::{AlignFiles, AlignReport, Missing};
use crate::copy::Copier;
use crate::error::{Error, Result};
use crate::layout::{Body, Layout, MAP_NAME};
use crate::newc_writer::{prelude_len, Member, NewcWriter, S_IFREG};
use crate::output::Target;
use crate::pack::PackedImage;
use crate::progress::Progress;
use crate::source::{is_directory, resolve_names, ImageArg, Mkfs, Source};

/// Images that have been checked, but not placed.
pub(crate) struct Opened {
    names: Vec<String>,
    sources: Vec<Source>,
    /// What was done to each image to align its files.
    aligned: Vec<AlignReport>,
}

/// Images and where they go.
pub(crate) struct Images {
    opened: Opened,
    /// Without images there is no archive.
    layout: Option<Layout>,
}

impl Images {
    /// Opens ready-made images and makes the others.
    pub(crate) fn open(args: &[ImageArg], mkfs: &Mkfs<'_>) -> Result<Opened> {
        let names = resolve_names(args)?;
        // Ready-made images are checked before the long work of making others.
        let ready = args
            .iter()
            .map(|image| {
                if is_directory(&image.path)? {
                    mkfs.target.must_be_outside(&image.path)?;
                    return Ok(None);
                }
                Source::open(&image.path).map(Some)
            })
            .collect::<Result<Vec<_>>>()?;
        let sources = ready
            .into_iter()
            .zip(args)
            .map(|(source, image)| source.map_or_else(|| mkfs.make(&image.path), Ok))
            .collect::<Result<Vec<_>>>()?;
        let aligned = vec![AlignReport::default(); sources.len()];
        Ok(Opened {
            names,
            sources,
            aligned,
        })
    }

    /// What is allowed but probably not meant.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Opened { names, sources, .. } = &self.opened;
        if sources.is_empty() {
            return vec!["no image is packed: give --image to have one".to_owned()];
        }
        let unsupported = names.iter().zip(sources).filter_map(|(name, source)| {
            let reason = source.unsupported?;
            Some(format!("erodax cannot mount image {name}: {reason}"))
        });
        unsupported.collect()
    }

    /// Bytes of images and padding.
    pub(crate) fn bytes(&self) -> u64 {
        let slots = self.layout.iter().flat_map(|layout| &layout.slots);
        slots.map(|slot| slot.pad_len + slot.len).sum()
    }

    /// Where the images are.
    pub(crate) fn report(&self) -> Vec<PackedImage> {
        let slots = self.layout.iter().flat_map(|layout| &layout.slots);
        let Opened {
            names,
            sources,
            aligned,
        } = &self.opened;
        names
            .iter()
            .zip(sources)
            .zip(aligned)
            .zip(slots)
            .map(|(((name, source), aligned), slot)| PackedImage {
                name: name.clone(),
                offset: slot.offset,
                size: source.len,
                padding: slot.len - source.len,
                aligned: aligned.clone(),
            })
            .collect()
    }

    /// Writes the archive at `position`; gives the position after it.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        position: u64,
        mtime: u32,
        copier: &mut Copier<'_>,
    ) -> Result<u64> {
        let Some(layout) = &self.layout else {
            return Ok(position);
        };
        let mut writer = NewcWriter::new(out, position);
        self.write_members(&mut writer, layout, mtime, copier)?;
        writer.finish().map_err(Error::write(copier.output()))?;
        Ok(layout.end)
    }

    fn write_members<W: Write>(
        &self,
        writer: &mut NewcWriter<W>,
        layout: &Layout,
        mtime: u32,
        copier: &mut Copier<'_>,
    ) -> Result<()> {
        let file = |permissions: u32, size: u64| Member {
            mode: S_IFREG | permissions,
            mtime,
            size: u32::try_from(size).expect("bodies and alignments are limited"),
            ..Member::default()
        };
        let map = layout.map.as_bytes();
        copier.member(writer, MAP_NAME.as_bytes(), &file(0o444, 0), map)?;
        for (slot, source) in layout.slots.iter().zip(&self.opened.sources) {
            let name = slot.pad_name.as_bytes();
            let pad = file(0, slot.pad_len);
            copier.member_from(writer, name, &pad, Path::new("zeros"), io::repeat(0))?;

            let name = slot.name.as_bytes();
            let start = writer.position() + prelude_len(name);
            assert_eq!(start, slot.offset, "the archive is not as planned");
            let image = file(0o444, slot.len);
            let padding = io::repeat(0).take(slot.len - source.len);
            let body = (&source.file).take(source.len).chain(padding);
            copier.member_from(writer, name, &image, &source.path, body)?;
        }
        Ok(())
    }
}

impl Opened {
    /// Aligns files in those images that have them.
    pub(crate) fn align(
        mut self,
        wanted: &AlignFiles,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if wanted.is_empty() {
            return Ok(self);
        }
        let mut missing = Missing::of(wanted);
        let aligned = |source: Source| source.aligned(wanted, &mut missing, target, progress);
        let sources = self.sources.into_iter().map(aligned);
        (self.sources, self.aligned) = sources.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        missing.check()?;
        Ok(self)
    }

    /// Places the images in an archive that starts at `start`.
    pub(crate) fn place(self, start: u64, alignment: u64) -> Images {
        let bodies: Vec<_> = self
            .names
            .iter()
            .zip(&self.sources)
            .map(|(name, source)| Body {
                name,
                len: source.body_len(),
            })
            .collect();
        let layout = (!bodies.is_empty()).then(|| Layout::plan(start, &bodies, alignment));
        Images {
            opened: self,
            layout,
        }
    }
}
