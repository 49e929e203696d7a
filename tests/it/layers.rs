//! The import rule: a layer imports only what stands before it, and surfaces import neither each other nor
//! the store and the cipher.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each layer, and the layers that it may import.
const RULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("archive", &[]),
    ("clock", &["domain"]),
    ("crypto", &["domain"]),
    ("authz", &["domain"]),
    ("store", &["domain"]),
    ("tables", &["domain", "crypto", "store"]),
    ("authn", &["domain", "crypto", "store", "tables"]),
    ("audit", &["domain", "clock", "crypto", "store", "tables"]),
    (
        "backup",
        &["domain", "archive", "crypto", "store", "tables"],
    ),
    ("config", &["domain"]),
    (
        "engine",
        &[
            "domain", "archive", "clock", "crypto", "authz", "store", "tables", "authn", "audit",
            "backup",
        ],
    ),
    (
        "doctor",
        &[
            "domain", "clock", "crypto", "store", "tables", "audit", "engine",
        ],
    ),
    ("http", &["domain", "authn", "audit", "engine"]),
    ("jwks", &["domain", "engine"]),
    ("bench", &[]),
    ("cli", &["archive", "audit", "config", "bench"]),
    ("sinks", &["domain", "audit", "engine"]),
    ("schedule", &[]),
    (
        "app",
        &[
            "domain", "archive", "clock", "crypto", "authz", "store", "tables", "authn", "audit",
            "backup", "config", "engine", "doctor", "http", "jwks", "bench", "cli", "schedule",
            "sinks",
        ],
    ),
];

/// Test code that looks at its layer from behind: the one place where each stored form is frozen, and a vault that the
/// doctor is to find whole.
const FROM_BEHIND: &[(&str, &str)] = &[
    ("tables/tests/samples.rs", "audit"),
    ("engine/retention/tests.rs", "doctor"),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn first_word(text: &str) -> String {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    text.trim_start().chars().take_while(word).collect()
}

/// The layers that a file names behind `crate::`, in a `use` or in a path, in braces or not.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut layers = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            layers.insert(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut part = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                c if depth == 0 => part.push(c),
                _ => {}
            }
        }
        layers.extend(
            part.split(',')
                .map(first_word)
                .filter(|word| !word.is_empty()),
        );
    }
    layers
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let seen = imports(
        "use crate::store::port;\nuse crate::{domain::{id, name}, http,\n  engine::Engine};\n// crate::cli\nfn f(x: crate::audit::A) {}",
    );
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["audit", "domain", "engine", "http", "store"]
    );
}

#[test]
fn layers_import_only_what_stands_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rules: BTreeMap<_, _> = RULES.iter().copied().collect();
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    let mut layers_seen = BTreeSet::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let layer = relative
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        if matches!(layer.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = rules.get(layer.as_str()) else {
            wrong.push(format!(
                "{}: no rule for the layer `{layer}`",
                relative.display()
            ));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != layer
                && rules.contains_key(import.as_str())
                && !allowed.contains(&import.as_str())
                && !FROM_BEHIND
                    .iter()
                    .any(|(test, behind)| relative == Path::new(test) && import == *behind)
            {
                wrong.push(format!(
                    "{}: `{layer}` imports `{import}`",
                    relative.display()
                ));
            }
        }
        layers_seen.insert(layer);
    }
    assert_eq!(layers_seen.len(), rules.len(), "a rule without a layer");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One file touches the cipher, one the key derivation, and one the signatures.
#[test]
fn ciphertext_is_made_in_one_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    for (needle, home) in [
        ("aes_gcm", "crypto/aead.rs"),
        ("hkdf::", "crypto/kdf.rs"),
        ("aws_lc_rs::signature", "crypto/sign.rs"),
    ] {
        for file in &files {
            let relative = file.strip_prefix(&src).unwrap().to_str().unwrap();
            let text = fs::read_to_string(file).unwrap();
            let uses = text
                .lines()
                .any(|line| line.contains(needle) && !line.trim_start().starts_with("//"));
            assert!(
                !uses || relative.starts_with(home),
                "{relative} uses `{needle}`"
            );
        }
    }
}
