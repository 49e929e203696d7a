use super::*;

fn source(text: &str) -> Source {
    Source {
        name: "x.cedar".to_owned(),
        text: text.to_owned(),
    }
}

fn parse(text: &str) -> Result<PolicySet, Vec<Fault>> {
    PolicySet::parse(Layer::Workspace, &[source(text)])
}

fn refusal(text: &str) -> String {
    let faults = parse(text).expect_err(text);
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_fault_has_its_line_column_and_reason() {
    for (text, expected) in [
        ("\n  forbid (principal, action resource);", "x.cedar:2:29: "),
        ("// why\nforbid (principal, action, resource)", "x.cedar:2:"),
        (
            "forbid (principal, action == Action::\"lease:take\", resource);",
            "x.cedar:1:30: ",
        ),
        (
            "forbid (principal, action, resource)\nwhen { context.ttl_seconds > 5 };",
            "x.cedar:2:8: ",
        ),
        (
            "forbid (principal, action == Action::\"lease:create\", resource)\nwhen { resource.getTag(\"a\") == \"b\" };",
            "x.cedar:2:8: ",
        ),
        (
            "forbid (principal, action == Action::\"lease:create\", resource)\nwhen { context.ttl_seconds > \"1h\" };",
            "x.cedar:2:30: ",
        ),
        (
            "permit (principal == ?principal, action, resource);",
            "x.cedar:1:1: templates",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource);\n\n@id(\"a\")\nforbid (principal, action, resource);",
            "x.cedar:3:1: the id `a` is used twice",
        ),
        (
            "forbid (principal, action, resource);\n@id(\"é\") forbid (principal, action, resource);",
            "x.cedar:2:1: the id `é` must match",
        ),
        (
            "@validation(\"\") forbid (principal, action, resource);",
            "x.cedar:1:1: `@validation` must say",
        ),
    ] {
        let told = refusal(text);
        assert!(told.starts_with(expected), "{text}\n{told}");
    }
}

#[test]
fn no_policy_may_shadow_one_of_the_vaults_own() {
    for id in [
        "role:agent",
        "role:owner",
        "scope:missing",
        "holder:only",
        "own:lease",
        "credential:allowed_identities",
        "organisation:x",
        "ROLE:agent",
        "rоle:agent",
        "role\u{200b}:agent",
        "",
        " role",
        "../role",
    ] {
        let told = refusal(&format!(
            "@id({id:?}) permit (principal, action, resource);"
        ));
        assert!(
            told.contains("is refused") || told.contains("must match"),
            "{id}: {told}"
        );
    }
}

#[test]
fn policies_are_named_after_their_layer_and_their_file() {
    let text = "@id(\"hours\") forbid (principal, action, resource);\nforbid (principal, action, resource);";
    let set = parse(text).unwrap();
    assert_eq!(set.ids(), ["workspace:hours", "workspace:x.1"]);
    assert_eq!(set.len(), 2);
    let twelve = "forbid (principal, action, resource);".repeat(12);
    let set = parse(&twelve).unwrap();
    assert!(set.ids().contains(&"workspace:x.11".to_owned()));
    assert!(parse("").unwrap().is_empty() && parse("// nothing").unwrap().is_empty());
}

#[test]
fn what_is_probably_not_meant_is_told() {
    let set = parse("\npermit (principal, action, resource);").unwrap();
    assert_eq!(set.warnings().len(), 1);
    assert!(
        set.warnings()[0]
            .to_string()
            .starts_with("x.cedar:2:1: a permit gives nothing")
    );
    let never = "forbid (principal, action, resource is Lease) when { resource is Key };";
    assert!(!parse(never).unwrap().warnings().is_empty());
    assert!(
        parse("forbid (principal, action, resource);")
            .unwrap()
            .warnings()
            .is_empty()
    );
}

#[test]
fn what_the_action_is_never_done_to_is_refused() {
    for (action, kind) in [
        ("lease:create", "Lease"),
        ("token:create", "Identity"),
        ("key:rotate", "Identity"),
        ("issuer:read", "Vault"),
    ] {
        let text =
            format!("\nforbid (principal, action == Action::\"{action}\", resource is {kind});");
        let told = refusal(&text);
        assert!(told.starts_with("x.cedar:2:"), "{text}\n{told}");
    }
    for (action, kind) in [
        ("key:create", "Identity"),
        ("issuer:write", "Vault"),
        ("key:*", "Identity"),
    ] {
        let text =
            format!("forbid (principal, action in Action::\"{action}\", resource is {kind});");
        assert!(parse(&text).unwrap().warnings().is_empty(), "{text}");
    }
}

#[test]
fn a_set_is_bounded() {
    let one = "forbid (principal, action == Action::\"audit:read\", resource);\n";
    assert_eq!(
        parse(&one.repeat(MAX_POLICIES)).unwrap().len(),
        MAX_POLICIES
    );
    assert!(refusal(&one.repeat(MAX_POLICIES + 1)).contains("more than 1000"));
    let long = format!("{one}//{}", "x".repeat(MAX_SET_BYTES));
    assert!(refusal(&long).contains("longer than"));
}

#[test]
fn depth_is_refused_before_it_is_parsed() {
    let condition = |text: &str| format!("forbid (principal, action, resource) when {{ {text} }};");
    for deep in [
        format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{}true{}", "[".repeat(1_000), "]".repeat(1_000)),
        format!("{}true", "!".repeat(100_000)),
        format!("{}1 == 1", "-".repeat(100_000)),
        "true || ".repeat(20_000) + "true",
        "1 + ".repeat(20_000) + "1 == 1",
        format!("principal{} == 1", ".name".repeat(20_000)),
        "if true then ".repeat(20_000) + "true",
    ] {
        assert!(refusal(&condition(&deep)).contains("nests deeper"));
    }
    // What is in comments and strings is no depth, and a policy's end is the end of its own.
    let many = condition("true || ".repeat(200).trim_end_matches(" || "));
    assert!(parse(&many.repeat(30)).is_ok());
    assert!(parse(&format!("// {}\n{}", "(".repeat(1000), condition("true"))).is_ok());
    let quoted = format!("principal.name == \"{}\\\"((\"", "(".repeat(1000));
    assert!(parse(&condition(&quoted)).is_ok());
}
