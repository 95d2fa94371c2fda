// SPDX-License-Identifier: GPL-2.0

//! The attacks as docs/attacks.md lists them.

use rustix::io::Errno;

use super::{
    ask::{Ask, Expected},
    Answers, Attack, Stock, ROWS,
};

const DOCUMENT: &str = include_str!("../../../../docs/attacks.md");

fn lines() -> impl Iterator<Item = String> {
    ROWS.iter().flat_map(|(name, attacks)| {
        let line = move |attack: &Attack| {
            let (ours, theirs) = (answers(&attack.answers), stock(&attack.stock));
            format!("| {name} | {} | {ours} | {theirs} |", attack.what)
        };
        attacks.iter().map(line)
    })
}

fn answers(answers: &Answers) -> String {
    let questions = match answers {
        Answers::Refused(errno) => return format!("mount {}", code(*errno)),
        Answers::Mounted(questions) => *questions,
    };
    let Some((attacked, ..)) = questions.first() else {
        return "mounted; see `attacks_in_motion`".to_owned();
    };
    let shown = questions.iter().map(|(path, question, expected)| {
        let other = match path == attacked {
            true => String::new(),
            false => format!(" (`{path}`)"),
        };
        format!("{}{other} {}", call(*question), result(*expected))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn stock(stock: &Stock) -> String {
    match stock {
        Stock::Alike => "the same".to_owned(),
        Stock::Otherwise(otherwise) => answers(otherwise),
    }
}

fn call(question: Ask) -> String {
    match question {
        Ask::Stat => "lstat".to_owned(),
        Ask::List => "getdents".to_owned(),
        Ask::Read => "read".to_owned(),
        Ask::ReadAt(at) => format!("pread at {at:#x}"),
        Ask::Touch(at) => format!("mapped at {at:#x}"),
        Ask::Target => "readlink".to_owned(),
        Ask::Names => "listxattr".to_owned(),
        Ask::Value(_) => "getxattr".to_owned(),
        Ask::Extents => "FIEMAP".to_owned(),
    }
}

fn result(expected: Expected) -> String {
    match expected {
        Expected::Error(errno) => code(errno).to_owned(),
        Expected::Any => "answers".to_owned(),
        Expected::Same | Expected::Bytes(_) => "right".to_owned(),
        Expected::Zeros => "zeros".to_owned(),
        Expected::Without(name) => format!("without `{name}`"),
    }
}

fn code(errno: Errno) -> &'static str {
    match errno {
        Errno::UCLEAN => "`EUCLEAN`",
        Errno::IO => "`EIO`",
        Errno::INVAL => "`EINVAL`",
        Errno::FAULT => "`SIGBUS`",
        Errno::OPNOTSUPP => "`EOPNOTSUPP`",
        Errno::LOOP => "`ELOOP`",
        Errno::NOENT => "`ENOENT`",
        Errno::NODATA => "`ENODATA`",
        Errno::NAMETOOLONG => "`ENAMETOOLONG`",
        other => panic!("{other:?} needs a name"),
    }
}

#[test]
fn is_in_the_documents() {
    let missing = lines().filter(|line| !DOCUMENT.contains(line.as_str()));
    let missing: Vec<_> = missing.collect();
    assert!(
        missing.is_empty(),
        "docs/attacks.md lacks these lines:\n{}",
        missing.join("\n")
    );
}

#[test]
fn documents_have_nothing_else() {
    let lines: Vec<_> = lines().collect();
    // Behind that, tests of other kinds have a table of their own.
    let table = DOCUMENT.split("What takes more").next().unwrap_or_default();
    let rows = table.lines().filter(|line| {
        let first = line.split('|').nth(1).map(str::trim);
        ROWS.iter().any(|(name, _)| first == Some(*name))
    });
    for row in rows {
        assert!(lines.iter().any(|line| line == row), "{row}");
    }
}
