// SPDX-License-Identifier: GPL-2.0

//! Where a file's code says that something unsafe is sound: `unsafe` blocks, `unsafe impl`, and
//! `unsafe(…)` in macros. Functions that are unsafe to call say the opposite, and are not counted.

use std::collections::BTreeMap;

use anyhow::{anyhow, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// How many places there are in each function, named `Type::function`; or in each `Trait for Type`.
pub type Places = BTreeMap<String, usize>;

/// The places in a file, those in macros included.
pub fn of(source: &str) -> Result<Places> {
    let tokens: TokenStream = source.parse().map_err(|error| anyhow!("{error}"))?;
    let mut places = Places::new();
    Scope::default().walk(tokens, &mut places);
    Ok(places)
}

/// What surrounds some tokens.
#[derive(Clone, Default)]
struct Scope {
    /// The type of the `impl`.
    of: Option<String>,
    function: Option<String>,
}

impl Scope {
    fn name(&self) -> String {
        let function = self.function.as_deref().unwrap_or("(outside)");
        match &self.of {
            Some(of) => format!("{of}::{function}"),
            None => function.to_owned(),
        }
    }

    fn walk(&self, tokens: TokenStream, places: &mut Places) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // What the next braces belong to.
        let mut next = self.clone();
        for (index, token) in tokens.iter().enumerate() {
            let rest = &tokens[index + 1..];
            match token {
                TokenTree::Ident(word) if word == "unsafe" => {
                    if let Some(name) = self.claimed(rest) {
                        *places.entry(name).or_default() += 1;
                    }
                }
                // Not in what a function takes and returns.
                TokenTree::Ident(word) if word == "impl" && next.function == self.function => {
                    if let Some(of) = header(rest).and_then(|words| words.last().cloned()) {
                        next.of = Some(of);
                    }
                }
                TokenTree::Ident(word) if word == "fn" => {
                    if let Some(TokenTree::Ident(name)) = rest.first() {
                        next.function = Some(name.to_string());
                    }
                }
                TokenTree::Group(group) => {
                    next.walk(group.stream(), places);
                    if group.delimiter() == Delimiter::Brace {
                        next = self.clone();
                    }
                }
                // The end of what has no body.
                TokenTree::Punct(mark) if mark.as_char() == ';' => next = self.clone(),
                _ => {}
            }
        }
    }

    /// The name of what an `unsafe` before these tokens vouches for, if it does for anything.
    fn claimed(&self, rest: &[TokenTree]) -> Option<String> {
        match rest.first()? {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => None,
            TokenTree::Group(_) => Some(self.name()),
            TokenTree::Ident(word) if word == "impl" => {
                header(&rest[1..]).map(|words| words.join(" for "))
            }
            _ => None,
        }
    }
}

/// The trait, if any, and the type behind an `impl`, without what is in angle brackets; None for an
/// `impl Trait` in a type, which no braces follow.
fn header(rest: &[TokenTree]) -> Option<Vec<String>> {
    let mut words: Vec<String> = vec![String::new()];
    let mut depth = 0_usize;
    let mut before = ' ';
    for token in rest {
        match token {
            TokenTree::Group(group) if depth == 0 => {
                let has_body = group.delimiter() == Delimiter::Brace;
                return (has_body && !words.last()?.is_empty()).then_some(words);
            }
            TokenTree::Punct(mark) => {
                match mark.as_char() {
                    '<' => depth += 1,
                    // Not that of an arrow.
                    '>' if before != '-' => depth = depth.checked_sub(1)?,
                    ';' | ',' | '=' | ')' if depth == 0 => return None,
                    _ => {}
                }
                before = mark.as_char();
            }
            TokenTree::Ident(word) if depth == 0 => match word.to_string().as_str() {
                "for" => words.push(String::new()),
                "where" | "const" => {}
                // The last part of a path.
                word => *words.last_mut()? = word.to_owned(),
            },
            _ => {}
        }
    }
    None
}

#[test]
fn places_are_found_by_what_they_are_in() {
    let source = r#"
        /// unsafe { not code }
        unsafe impl<T: Fn() -> u8> Send for Cell<T> {}
        impl<T> Drop for Cell<T> {
            fn drop(&mut self) {
                let text = "unsafe { text }";
                unsafe { one() };
                if unsafe { two() } { unsafe { three() } }
            }
        }
        impl Cell<u8> {
            unsafe fn callers(&self, f: impl Fn(u8) -> u8) { unsafe { four() } }
            unsafe extern "C" fn none() {}
        }
        fn of() -> impl Iterator<Item = u8> { unsafe { five() } }
        macro_rules! made { () => { fn inside() { unsafe { six() } } }; }
        lock! { unsafe(uninit) static LOCK: Mutex<()> = (); }
    "#;
    let expected = [
        ("(outside)", 1),
        ("Cell::callers", 1),
        ("Cell::drop", 3),
        ("Send for Cell", 1),
        ("inside", 1),
        ("of", 1),
    ];
    let expected: Places = expected
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    assert_eq!(of(source).unwrap(), expected);
}
