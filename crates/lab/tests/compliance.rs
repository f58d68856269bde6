//! Every test that COMPLIANCE.md and docs/compliance/ name is there.
//!
//! A name stands in backticks, behind its file: `` `ipv6.rs: one_test, another; e2e/path.rs: a_third` ``. A file alone means all of it. Names
//! without a file (of five words or more, as only tests have) may be in any.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// The functions of a source file.
fn functions(text: &str) -> Vec<&str> {
    text.match_indices("fn ").filter_map(|(at, _)| text[at + 3..].split(['(', '<']).next()).collect()
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// What a document says in backticks.
fn spans(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = Vec::new();
    files(&root.join("crates"), "rs", &mut sources);
    let sources: HashMap<String, String> = sources
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("beneath").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a source file"))
        })
        .collect();
    let functions: HashMap<&str, Vec<&str>> = sources.iter().map(|(name, text)| (&name[..], functions(text))).collect();
    // Of files with one name the one that is meant by default; else there may be but one.
    let find = |file: &str| {
        let usual = [format!("crates/stack/tests/{file}"), format!("crates/lab/tests/{file}"), file.to_owned()];
        let usual = usual.iter().find_map(|name| functions.get_key_value(&name[..]));
        let ending = format!("/{file}");
        let mut others = functions.iter().filter(|(name, _)| name.ends_with(&ending));
        usual.or_else(|| others.next().filter(|_| others.next().is_none()))
    };

    let settings = &sources["crates/stack/src/settings.rs"];
    let mut documents = vec![root.join("COMPLIANCE.md")];
    files(&root.join("docs/compliance"), "md", &mut documents);
    let (mut wrong, mut named) = (Vec::new(), 0);
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for span in spans(&text) {
            for part in span.split("; ") {
                let (file, names) = match part.split_once(": ") {
                    Some((file, names)) if file.ends_with(".rs") => (Some(file), names),
                    _ if part.ends_with(".rs") && part.contains('/') => (Some(part), ""),
                    _ => (None, part),
                };
                let there = file.map(find);
                if let (Some(file), Some(None)) = (file, &there) {
                    wrong.push(format!("{}: no file {file}, or several", document.display()));
                    continue;
                }
                for name in names.split(", ").map(|name| name.trim_end_matches(',')).filter(|name| is_name(name)) {
                    let known = match there.flatten() {
                        Some((_, functions)) => functions.contains(&name),
                        None if name.matches('_').count() < 4 || settings.contains(&format!("pub {name}:")) => continue,
                        None => functions.values().any(|all| all.contains(&name)),
                    };
                    named += 1;
                    if !known {
                        wrong.push(format!("{}: no {name} in {}", document.display(), file.unwrap_or("any file")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(named > 400, "only {named} names were found");
}
