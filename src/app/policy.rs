//! `leasehold policy validate` and `leasehold policy test`: policies looked at without a vault.

use std::process::ExitCode;

use serde_json::json;

use super::{
    policy_cases::{self, Outcome},
    process::{self, Failure},
};
use crate::{
    authz::{Fault, Layer, Policies, PolicySet, Snapshot, Source},
    cli::{PolicyLayer, PolicySourceArgs, PolicyTestArgs},
    config::policies,
    domain::id::WorkspaceId,
};

/// Exit codes: 0 where all is well, 1 where something is wrong with the policies or a case fails, or cannot be read.
fn finish(outcome: Result<bool, Failure>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => process::fail(&error),
    }
}

fn read(args: &PolicySourceArgs) -> Result<Result<PolicySet, Vec<Fault>>, Failure> {
    let sources: Vec<_> = policies::load_sources(&args.paths)?
        .into_iter()
        .map(|(name, text)| Source { name, text })
        .collect();
    let layer = match args.scope {
        PolicyLayer::Workspace => Layer::Workspace,
        PolicyLayer::Organisation => Layer::Organisation,
    };
    Ok(PolicySet::parse(layer, &sources))
}

pub(super) fn validate(args: &PolicySourceArgs, as_json: bool) -> ExitCode {
    finish(told(args, as_json))
}

fn told(args: &PolicySourceArgs, as_json: bool) -> Result<bool, Failure> {
    let (errors, warnings, policies) = match read(args)? {
        Ok(set) => (Vec::new(), set.warnings().to_vec(), set.len()),
        Err(faults) => (faults, Vec::new(), 0),
    };
    let valid = errors.is_empty();
    if as_json {
        let faults = |faults: &[Fault]| -> Vec<_> {
            let fault = |fault: &Fault| json!({"file": fault.source, "line": fault.line, "column": fault.column, "reason": fault.reason});
            faults.iter().map(fault).collect()
        };
        let data =
            json!({"valid": valid, "errors": faults(&errors), "warnings": faults(&warnings)});
        process::say(&json!({"status": "success", "data": data}).to_string())?;
        return Ok(valid);
    }
    let mut lines: Vec<_> = errors
        .iter()
        .map(|fault| format!("error: {fault}"))
        .collect();
    lines.extend(warnings.iter().map(|fault| format!("warning: {fault}")));
    if valid {
        lines.push(format!("{policies} policies are valid"));
    }
    process::say(&lines.join("\n"))?;
    Ok(valid)
}

pub(super) fn test(args: &PolicyTestArgs, as_json: bool) -> ExitCode {
    finish(tested(args, as_json))
}

/// The built-in policies with the given ones on top.
fn rules(args: &PolicySourceArgs) -> Result<Snapshot, Failure> {
    let set = read(args)?.map_err(|faults| {
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        told.join("\n")
    })?;
    let none = Policies::default().snapshot();
    Ok(match args.scope {
        PolicyLayer::Organisation => none.with_organisation(set),
        PolicyLayer::Workspace => none.with_workspace(WorkspaceId::SYSTEM, set),
    })
}

fn tested(args: &PolicyTestArgs, as_json: bool) -> Result<bool, Failure> {
    let rules = rules(&args.sources)?;
    let mut lines = Vec::new();
    let mut shown = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for (file, text) in policies::load_cases(&args.cases)? {
        let file = file.display().to_string();
        for (name, outcome) in policy_cases::run(&rules, &file, &text)? {
            let Outcome { found, fault } = outcome;
            match &fault {
                None => passed += 1,
                Some(_) => failed += 1,
            }
            lines.push(match &fault {
                None => format!("ok    {file}: {name}: {found}"),
                Some(fault) => format!("FAIL  {file}: {name}: {fault}"),
            });
            shown.push(json!({"file": file, "name": name, "passed": fault.is_none(), "found": found, "fault": fault}));
        }
    }
    if passed + failed == 0 {
        return Err(format!("{}: there are no cases", args.cases.display()).into());
    }
    if as_json {
        let data = json!({"passed": passed, "failed": failed, "cases": shown});
        process::say(&json!({"status": "success", "data": data}).to_string())?;
    } else {
        lines.push(format!("{passed} passed, {failed} failed"));
        process::say(&lines.join("\n"))?;
    }
    Ok(failed == 0)
}
