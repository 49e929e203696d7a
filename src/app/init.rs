//! `leasehold init`: makes a vault, its first workspace, and the keys to go on with.

use std::sync::Arc;

use serde::Serialize;

use super::{
    process::{self, Failure},
    running::{open, unseal},
    unseal::new_root_key,
};
use crate::{
    authn::DEFAULT_WORKSPACE,
    authz::PolicySet,
    cli::{InitArgs, Output},
    clock::SystemTime,
    config::{Config, Log, RootSource, policies},
    crypto::entropy::OsEntropy,
    domain::{
        id::WorkspaceId,
        name::{IdentityName, WorkspaceName},
        principal::{IdentityType, RateLimit, Reach},
        scope::Role,
        secret::SecretText,
    },
    engine::{Engine, NewIdentity, NewKey, Opened},
};

/// The name of the first administrator.
pub(super) const ADMIN: &str = "admin";

#[derive(Serialize)]
struct Made {
    data_dir: String,
    workspaces: Vec<String>,
    admin_key: String,
    agents: Vec<MadeAgent>,
}

#[derive(Serialize)]
struct MadeAgent {
    workspace: String,
    name: String,
    key: String,
}

pub(super) async fn run(args: InitArgs) -> Result<(), Failure> {
    let mut workspaces = vec![WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?];
    for name in &args.workspaces {
        let name = WorkspaceName::parse(name, "--workspace-name")?;
        if !workspaces.contains(&name) {
            workspaces.push(name);
        }
    }
    let agents = args
        .agents
        .iter()
        .map(|agent| parse_agent(agent, &workspaces))
        .collect::<Result<Vec<_>, Failure>>()?;
    let config = Config::development(args.data_dir.clone());
    process::log(&Log {
        filter: "warn".to_owned(),
        ..config.log.clone()
    })?;
    let source = match (args.key_file, args.passphrase_file) {
        (Some(path), _) => RootSource::KeyFile(path),
        (None, Some(path)) => RootSource::PassphraseFile(path),
        (None, None) => RootSource::PassphrasePrompt,
    };
    let Opened::Empty(vault) = Opened::read(open(&config)?)? else {
        return Err(format!(
            "the data folder `{}` holds a vault already",
            args.data_dir.display()
        )
        .into());
    };
    let (root, how) = new_root_key(&source, &OsEntropy)?;
    let vault = vault.initialise(&root, how, Arc::new(OsEntropy), &SystemTime)?;
    let engine = unseal(
        vault,
        &root,
        policies::built_in()?,
        PolicySet::default(),
        &config,
    )
    .await?;
    engine.note_initialised().await?;
    let mut made = Made {
        data_dir: args.data_dir.display().to_string(),
        workspaces: workspaces.iter().map(ToString::to_string).collect(),
        admin_key: String::new(),
        agents: Vec::new(),
    };
    let mut ids = Vec::new();
    for name in &workspaces {
        ids.push((name, engine.create_workspace(name).await?));
    }
    let default = ids
        .first()
        .map(|(_, id)| *id)
        .ok_or("no workspace was made")?;
    let admin = create_admin(&engine, default, RateLimit::Default).await?;
    // The one time that these keys are shown is now.
    made.admin_key = admin.expose().to_owned();
    for (workspace, name) in agents {
        let id = ids
            .iter()
            .find(|(known, _)| **known == workspace)
            .map(|(_, id)| *id)
            .ok_or("no such workspace")?;
        let key = create_agent(&engine, id, &name, RateLimit::Default).await?;
        made.agents.push(MadeAgent {
            workspace: workspace.to_string(),
            name: name.to_string(),
            key: key.expose().to_owned(),
        });
    }
    engine.shut_down().await?;
    process::say(&match args.output {
        Output::Json => serde_json::to_string(&made)?,
        Output::Text => describe(&made, &source),
    })
}

fn parse_agent(
    text: &str,
    workspaces: &[WorkspaceName],
) -> Result<(WorkspaceName, IdentityName), Failure> {
    let (workspace, name) = text.split_once('/').unwrap_or((DEFAULT_WORKSPACE, text));
    let workspace = WorkspaceName::parse(workspace, "--agent")?;
    if !workspaces.contains(&workspace) {
        return Err(format!(
            "--agent `{text}`: add `--workspace-name {workspace}` to make that workspace"
        )
        .into());
    }
    Ok((workspace, IdentityName::parse(name, "--agent")?))
}

/// Makes the first administrator, whose key reaches every workspace.
pub(super) async fn create_admin(
    engine: &Engine,
    home: WorkspaceId,
    rate_limit: RateLimit,
) -> Result<SecretText, Failure> {
    let name = IdentityName::parse(ADMIN, "name")?;
    let identity = engine
        .create_identity(
            home,
            NewIdentity {
                name,
                kind: IdentityType::Human,
                role: Role::Owner,
            },
        )
        .await?;
    let key = NewKey {
        name: "first administrator".to_owned(),
        identity,
        home,
        role: Role::Owner,
        reach: Reach::Organisation,
        rate_limit,
        expires_in: None,
    };
    Ok(engine.create_key(key).await?)
}

/// Makes an agent with a key for its own workspace.
pub(super) async fn create_agent(
    engine: &Engine,
    workspace: WorkspaceId,
    name: &IdentityName,
    rate_limit: RateLimit,
) -> Result<SecretText, Failure> {
    let new = NewIdentity {
        name: name.clone(),
        kind: IdentityType::Agent,
        role: Role::Agent,
    };
    let identity = engine.create_identity(workspace, new).await?;
    let key = NewKey {
        name: format!("agent {name}"),
        identity,
        home: workspace,
        role: Role::Agent,
        reach: Reach::Workspace(workspace),
        rate_limit,
        expires_in: None,
    };
    Ok(engine.create_key(key).await?)
}

fn describe(made: &Made, source: &RootSource) -> String {
    let mut text = format!(
        "A vault was made in {}.\n\nWorkspaces: {}\n\nShown once; keep them safe:\n  admin key   {}\n",
        made.data_dir,
        made.workspaces.join(", "),
        made.admin_key
    );
    for agent in &made.agents {
        text.push_str(&format!(
            "  agent key   {}   ({}/{})\n",
            agent.key, agent.workspace, agent.name
        ));
    }
    let (root, variable) = match source {
        RootSource::KeyFile(path) => (
            format!(
                "The root key is in {}. Keep a copy of it elsewhere: without it nothing can be read.",
                path.display()
            ),
            format!("LEASEHOLD__ROOT__KEY_FILE={} ", path.display()),
        ),
        RootSource::PassphraseFile(path) => (
            "Without the passphrase nothing can be read: keep it where you will find it."
                .to_owned(),
            format!("LEASEHOLD__ROOT__PASSPHRASE_FILE={} ", path.display()),
        ),
        RootSource::PassphrasePrompt => (
            "Without the passphrase nothing can be read: keep it where you will find it."
                .to_owned(),
            String::new(),
        ),
    };
    format!(
        "{text}\n{root}\nNext, to serve on loopback: {variable}leasehold server --data-dir {}\n\
         A commented configuration for production is in config/leasehold.toml.",
        made.data_dir
    )
}
