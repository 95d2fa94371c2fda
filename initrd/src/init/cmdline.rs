// SPDX-License-Identifier: GPL-2.0

//! The kernel command line, split by the kernel's own rules (its lib/cmdline.c `next_arg()` and
//! kernel/params.c `parse_args()`).

use std::fs;

use crate::fail::Failure;

/// Our parameters begin with this.
const PREFIX: &str = "erodax.";

/// Whether data must be mapped directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dax {
    /// `-o dax`: the mount fails if it cannot be.
    Always,
    /// `-o dax=never`: everything is copied.
    Never,
}

/// What the command line asks of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) image: Option<String>,
    pub(crate) dax: Dax,
    pub(crate) overlay: bool,
    pub(crate) fstype: Option<String>,
    pub(crate) debug: bool,
    pub(crate) init: Option<String>,
    /// Whether the kernel was told to keep the initrd's memory.
    pub(crate) retain_initrd: bool,
    /// Parameters that look like ours but are not.
    pub(crate) unknown: Vec<String>,
}

impl Options {
    /// Reads the command line of the running kernel.
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = fs::read("/proc/cmdline")
            .map_err(|error| Failure::new(format!("cannot read /proc/cmdline: {error}")))?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Takes what is ours, and what matters to us, from a command line.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut options = Self {
            image: None,
            dax: Dax::Always,
            overlay: true,
            fstype: None,
            debug: false,
            init: None,
            retain_initrd: false,
            unknown: Vec::new(),
        };
        for (name, value) in parameters(text) {
            match name.as_str() {
                "init" => options.init = value,
                // Only the bare word counts for the kernel.
                "retain_initrd" => options.retain_initrd |= value.is_none(),
                _ => {
                    if let Some(ours) = name.strip_prefix(PREFIX) {
                        options.set(ours, value)?;
                    }
                }
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), Failure> {
        match name {
            "image" => self.image = value,
            "fstype" => self.fstype = value,
            "dax" => {
                self.dax = choice(
                    name,
                    value,
                    &[("always", Dax::Always), ("never", Dax::Never)],
                )?
            }
            "overlay" => self.overlay = choice(name, value, &[("on", true), ("off", false)])?,
            "debug" => self.debug = true,
            _ => self.unknown.push(format!("{PREFIX}{name}")),
        }
        Ok(())
    }
}

fn choice<T: Copy>(name: &str, value: Option<String>, choices: &[(&str, T)]) -> Result<T, Failure> {
    let value = value.unwrap_or_default();
    match choices.iter().find(|(text, _)| *text == value) {
        Some((_, choice)) => Ok(*choice),
        None => {
            let texts: Vec<_> = choices.iter().map(|(text, _)| *text).collect();
            Err(
                Failure::new(format!("{PREFIX}{name}={value} is not understood"))
                    .fix(format!("write {PREFIX}{name}={}", texts.join(" or "))),
            )
        }
    }
}

/// Names and values up to `--`. In a name `-` and `_` are the same; `_` is returned.
fn parameters(text: &str) -> impl Iterator<Item = (String, Option<String>)> + '_ {
    words(text)
        .into_iter()
        .take_while(|word| *word != "--")
        .map(split_word)
}

/// Splits at white space outside of double quotes.
fn words(text: &str) -> Vec<&str> {
    let mut in_quote = false;
    text.split(|c: char| {
        in_quote ^= c == '"';
        !in_quote && c.is_ascii_whitespace()
    })
    .filter(|word| !word.is_empty())
    .collect()
}

/// Splits at the first `=`. Quotes may stand around the whole word or around the value.
fn split_word(word: &str) -> (String, Option<String>) {
    let (word, quoted) = match word.strip_prefix('"') {
        Some(rest) => (rest.strip_suffix('"').unwrap_or(rest), true),
        None => (word, false),
    };
    let (name, value) = match word.split_once('=') {
        None => (word, None),
        Some((name, value)) => (name, Some(unquote(value, quoted))),
    };
    (name.replace('-', "_"), value.map(str::to_owned))
}

fn unquote(value: &str, word_was_quoted: bool) -> &str {
    match value.strip_prefix('"') {
        Some(rest) if word_was_quoted => rest,
        Some(rest) => rest.strip_suffix('"').unwrap_or(rest),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        parameters(text).collect()
    }

    fn pair(name: &str, value: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn words_are_split_like_the_kernel_splits_them() {
        assert_eq!(
            pairs(" quiet\tro \n"),
            [("quiet".into(), None), ("ro".into(), None)]
        );
        assert_eq!(pairs("a=b=c d="), [pair("a", "b=c"), pair("d", "")]);
        assert_eq!(
            pairs(r#"a="x y" b"#),
            [pair("a", "x y"), ("b".into(), None)]
        );
        assert_eq!(
            pairs(r#""a=x y" "b""#),
            [pair("a", "x y"), ("b".into(), None)]
        );
        assert_eq!(
            pairs(r#"a="x -- y" c=1"#),
            [pair("a", "x -- y"), pair("c", "1")]
        );
        assert_eq!(pairs(r#"a="never ends b=1"#), [pair("a", "never ends b=1")]);
        assert_eq!(pairs("my-name=a-b"), [pair("my_name", "a-b")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn nothing_after_the_dashes_is_the_kernels() {
        assert_eq!(pairs("a=1 -- b=2 retain_initrd"), [pair("a", "1")]);
        assert!(!Options::parse("-- retain_initrd").unwrap().retain_initrd);
    }

    #[test]
    fn defaults() {
        let options = Options::parse("console=ttyS0 root=/dev/sda1").unwrap();
        assert_eq!(options, Options::parse("").unwrap());
        assert_eq!(options.dax, Dax::Always);
        assert!(options.overlay && !options.debug && !options.retain_initrd);
        assert_eq!(
            (options.image, options.init, options.fstype),
            (None, None, None)
        );
    }

    #[test]
    fn all_parameters() {
        let options = Options::parse(
            "retain-initrd erodax.image=usr erodax.dax=never erodax.overlay=off erodax.debug \
             erodax.fstype=erodax init=/bin/a init=/bin/b",
        )
        .unwrap();
        assert_eq!(options.image.as_deref(), Some("usr"));
        assert_eq!(options.dax, Dax::Never);
        assert_eq!(options.fstype.as_deref(), Some("erodax"));
        assert_eq!(options.init.as_deref(), Some("/bin/b"));
        assert!(!options.overlay && options.debug && options.retain_initrd);
        assert!(options.unknown.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let failure = Options::parse("erodax.dax=sometimes")
            .unwrap_err()
            .to_string();
        assert!(failure.contains("erodax.dax=sometimes"), "{failure}");
        assert!(failure.contains("erodax.dax=always or never"), "{failure}");
        assert!(Options::parse("erodax.overlay").is_err());
        let options = Options::parse("erodax.imgae=x erodaximage=y retain_initrd=1").unwrap();
        assert_eq!(options.unknown, ["erodax.imgae"]);
        assert!(!options.retain_initrd);
    }
}
