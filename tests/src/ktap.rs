// SPDX-License-Identifier: GPL-2.0

//! What KUnit writes to the kernel log: KTAP, as Documentation/dev-tools/ktap.rst has it.

use anyhow::{bail, ensure, Context, Result};

/// What came out of one suite.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SuiteResults {
    pub(crate) name: String,
    /// The cases that passed.
    pub(crate) passed: Vec<String>,
    /// The cases that did not, or were skipped.
    pub(crate) other: Vec<String>,
}

/// The suites in these lines, each complete: as many cases as its plan has, then its own result.
///
/// # Errors
/// When a suite lacks cases or its result, or one contradicts the other.
pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<SuiteResults>> {
    let mut suites = Vec::new();
    let mut open: Option<(SuiteResults, usize)> = None;
    for line in lines {
        let (is_nested, text) = match line.strip_prefix("    ") {
            Some(text) => (true, text),
            None => (false, line),
        };
        if let Some(name) = text.strip_prefix("# Subtest: ").filter(|_| is_nested) {
            ensure!(open.is_none(), "{name} begins before the end of {open:?}");
            let (passed, other) = Default::default();
            let name = name.to_owned();
            open = Some((
                SuiteResults {
                    name,
                    passed,
                    other,
                },
                0,
            ));
        } else if let (Some((_, plan)), Some(count)) = (&mut open, text.strip_prefix("1..")) {
            *plan = count.parse().with_context(|| format!("plan {text:?}"))?;
        } else if let Some((is_ok, name)) = result(text) {
            match (&mut open, is_nested) {
                (Some((suite, _)), true) if is_ok => suite.passed.push(name),
                (Some((suite, _)), true) => suite.other.push(name),
                (Some(_), false) => suites.extend(
                    open.take()
                        .map(|suite| closed(suite, is_ok, &name))
                        .transpose()?,
                ),
                (None, _) => bail!("a result of no suite: {line:?}"),
            }
        }
    }
    match open {
        None => Ok(suites),
        Some((suite, _)) => bail!("no end of {suite:?}"),
    }
}

/// `ok 1 NAME`, `not ok 2 NAME`, `ok 3 NAME # SKIP why`: whether it passed, and the name.
fn result(text: &str) -> Option<(bool, String)> {
    let (is_ok, rest) = match text.strip_prefix("not ") {
        Some(rest) => (false, rest),
        None => (true, text),
    };
    let (number, rest) = rest.strip_prefix("ok ")?.split_once(' ')?;
    number.parse::<usize>().ok()?;
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    Some((is_ok && !directive.starts_with("SKIP"), name.to_owned()))
}

fn closed((suite, plan): (SuiteResults, usize), is_ok: bool, name: &str) -> Result<SuiteResults> {
    ensure!(suite.name == name, "{name} ends, which is not {suite:?}");
    let count = suite.passed.len() + suite.other.len();
    ensure!(count == plan, "{plan} cases are planned of {suite:?}");
    ensure!(!is_ok || !suite.passed.is_empty(), "{suite:?} passes");
    Ok(suite)
}

#[cfg(test)]
mod tests {
    use super::{parse, SuiteResults};

    const LOG: &str = "KTAP version 1
1..2
    KTAP version 1
    # Subtest: first
    # module: erodax
    1..3
    ok 1 a
    # b: EXPECTATION FAILED at src/b.rs:7
    not ok 2 b
    ok 3 c # SKIP not here
# first: pass:1 fail:1 skip:1 total:3
# Totals: pass:1 fail:1 skip:1 total:3
not ok 1 first
erodax: another message
    KTAP version 1
    # Subtest: second
    1..1
    ok 1 d
ok 2 second";

    #[test]
    fn suites_and_their_cases_are_found() {
        let suite = |name: &str, passed: &[&str], other: &[&str]| SuiteResults {
            name: name.into(),
            passed: passed.iter().map(|&name| name.to_owned()).collect(),
            other: other.iter().map(|&name| name.to_owned()).collect(),
        };
        let expected = [
            suite("first", &["a"], &["b", "c"]),
            suite("second", &["d"], &[]),
        ];
        assert_eq!(parse(LOG.lines()).unwrap(), expected);
    }

    #[test]
    fn what_is_incomplete_is_an_error() {
        let without = |part: &str| {
            let lines = LOG.lines().filter(|line| !line.contains(part));
            parse(lines).unwrap_err().to_string()
        };
        assert!(without("not ok 1 first").contains("begins before"));
        assert!(without("ok 2 second").contains("no end"));
        assert!(without("ok 1 a").contains("3 cases are planned"));
        assert!(without("Subtest: second").contains("of no suite"));
    }
}
