//! What the README states as fact and a test can look up: the roles, the commands, the settings.

use std::{collections::BTreeSet, path::Path};

use leasehold::{
    authz::Action,
    domain::scope::{Role, Scope},
};

use crate::support::{TempDir, leasehold};

const README: &str = include_str!("../../README.md");

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

/// What stands in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_table_of_roles_is_what_the_roles_may_do() {
    let table = between(README, "<!-- scopes -->\n", "<!-- /scopes -->");
    let mut rows = table.lines().map(cells);
    let head = rows.next().unwrap();
    let columns: Vec<Vec<Role>> = head[1..]
        .iter()
        .map(|cell| {
            let names = code(cell).into_iter();
            names.map(|name| Role::parse(name).unwrap()).collect()
        })
        .collect();
    let roles: usize = columns.iter().map(Vec::len).sum();
    assert_eq!(roles, Role::ALL.len());
    let mut told = BTreeSet::new();
    for row in rows.skip(1) {
        let scopes = code(row[0]).into_iter().filter_map(Scope::parse);
        for scope in scopes {
            assert!(told.insert(scope.as_str()), "{} twice", scope.as_str());
            for (roles, cell) in columns.iter().zip(&row[1..]) {
                for role in roles {
                    assert_eq!(
                        *cell == "yes",
                        role.scopes().contains(scope),
                        "{} of {}",
                        scope.as_str(),
                        role.as_str()
                    );
                }
            }
        }
    }
    let all: BTreeSet<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    assert_eq!(told, all);
}

#[test]
fn the_scopes_that_open_nothing_yet_are_told() {
    let idle = Scope::ALL.iter().filter(|scope| {
        let mut actions = Action::ALL.iter();
        !actions.any(|action| action.scope() == **scope)
    });
    let idle: Vec<_> = idle.map(|scope| scope.as_str()).collect();
    assert_eq!(idle, ["credential:test", "webhook:read", "webhook:write"]);
    let text = README.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("`credential:test` and the `webhook:` scopes open nothing yet."));
}

/// The commands that a `--help` lists.
fn commands(of: &[&str]) -> BTreeSet<String> {
    let output = leasehold().args(of).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let Some((_, rest)) = help.split_once("Commands:\n") else {
        return BTreeSet::new();
    };
    rest.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn the_overview_has_every_command() {
    let overview = between(README, "```text\nleasehold dev", "```");
    let overview = format!("leasehold dev{overview}");
    let mut told = BTreeSet::new();
    for line in overview.lines() {
        // What a command is for stands apart.
        let (names, _) = line.split_once("  ").unwrap_or((line, ""));
        let names: Vec<_> = names.split(" | ").map(str::trim).collect();
        let first: Vec<_> = names[0].split(' ').collect();
        assert_eq!(first[0], "leasehold");
        match first[..] {
            [_, group, verb] => {
                told.insert(group.to_owned());
                let verbs: BTreeSet<_> = std::iter::once(verb)
                    .chain(names[1..].iter().copied())
                    .map(str::to_owned)
                    .collect();
                assert_eq!(verbs, commands(&[group]), "{group}");
            }
            _ => {
                told.insert(first[1].to_owned());
                told.extend(names[1..].iter().map(|name| (*name).to_owned()));
            }
        }
    }
    assert_eq!(told, commands(&[]));
}

/// The keys of a configuration file, those in comments too.
fn keys(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

/// The keys that the program knows: whoever writes an unknown one is told the others.
fn known(section: &str, into: &mut BTreeSet<String>) {
    let folder = TempDir::new();
    let file = folder.path().join("c.toml");
    let head = match section {
        "" => String::new(),
        section => format!("[{section}]\n"),
    };
    std::fs::write(&file, format!("{head}unheard = 1\n")).unwrap();
    let output = leasehold()
        .args(["server", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let (_, expected) = told.split_once(", expected ").unwrap();
    for key in code(expected) {
        match section {
            "" => known(key, into),
            // The only section within another.
            "server" if key == "tls" => known("server.tls", into),
            section => {
                into.insert(format!("{section}.{key}"));
            }
        }
    }
}

#[test]
fn the_settings_are_those_of_the_configuration_file() {
    let table = between(README, "| key | default | variable |", "\n\n");
    let mut told = BTreeSet::new();
    for row in table.lines().skip(2).map(cells) {
        let (keys, variables) = (code(row[0]), code(row[2]));
        assert_eq!(keys.len(), variables.len(), "{row:?}");
        for (key, variable) in keys.iter().zip(variables) {
            let spelled = format!("LEASEHOLD__{}", key.replace('.', "__").to_uppercase());
            assert_eq!(variable, spelled);
            assert!(told.insert((*key).to_owned()), "{key} twice");
        }
    }
    let mut real = BTreeSet::new();
    known("", &mut real);
    assert_eq!(told, real);
    assert_eq!(keys("config/leasehold.toml"), real);
    assert!(keys("config/development.toml").is_subset(&told));
}
